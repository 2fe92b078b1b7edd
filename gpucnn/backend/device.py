"""Devices by name: "cpu", "cuda", "cuda:1", and "auto", which says what it took and why."""

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import cuda
from gpucnn.errors import ArgumentError, DeviceError
from gpucnn.text import value_text


@dataclass(frozen=True, slots=True)
class Device:
    """One place where arrays live."""

    kind: str = "cpu"
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"

    @property
    def xp(self) -> ModuleType:
        """The array module of this device: numpy or cupy."""
        return np if self.kind == "cpu" else cuda.cupy()


class Choice(NamedTuple):
    """A device that works, and why it was taken."""

    device: Device
    reason: str

    def __str__(self) -> str:
        return f"device: {self.device} ({self.reason})"


CPU = Device()
_HERE = nullcontext()


def current(device: Device) -> AbstractContextManager[Any]:
    """Inside, new arrays of `device.xp` are made on `device`, and work is done there; afterwards CuPy's current device is as before."""
    return nullcontext() if device.kind == "cpu" else cuda.cupy().cuda.Device(device.index)


def beside(array: Any) -> AbstractContextManager[Any]:
    """`current` for the device of an array, numpy's or cupy's. Costs next to nothing where that is current already."""
    if isinstance(array, np.ndarray | np.generic):
        return _HERE
    index, cupy_cuda = array.data.device_id, cuda.cupy().cuda
    return _HERE if cupy_cuda.runtime.getDevice() == index else cupy_cuda.Device(index)


def choose_device(name: "str | Device" = "auto") -> Choice:
    """The device called `name`, with the reason for the choice. Which device is current in CuPy stays as it is.

    - "cpu": the host.
    - "cuda" or "cuda:1": that GPU, or DeviceError with the cause and the fix. Never the CPU instead.
    - "auto": the first GPU if one works, else the CPU.

    Raises ArgumentError for any other name.
    """
    if not isinstance(name, str | Device):
        raise ArgumentError(f'a device is "auto", "cpu", "cuda" or "cuda:N", e.g. "cuda:1", got {value_text(name)}')
    text = str(name)
    if text == "cpu":
        return Choice(CPU, "asked for")
    if text == "auto":
        problem = cuda.find_problem()
        if problem is not None:
            return Choice(CPU, f"no GPU: {problem.cause}")
        return Choice(Device("cuda", 0), "a GPU that works was found")
    match = re.fullmatch(r"cuda(?::(\d+))?", text)
    if match is None:
        raise ArgumentError(f'unknown device {text!r}; expected "auto", "cpu", "cuda" or "cuda:N", e.g. "cuda:1"')
    problem = cuda.find_problem()
    if problem is not None:
        raise DeviceError(f'device "{text}" cannot be used: {problem.cause}; fix: {problem.fix}')
    index, count = int(match[1] or 0), cuda.device_count()
    if index >= count:
        raise DeviceError(f'device "{text}" is not there: {count} GPU(s) present; fix: use "cuda:{count - 1}" or lower')
    return Choice(Device("cuda", index), "asked for")
