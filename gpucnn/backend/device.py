"""Devices by name: "cpu", "cuda", "cuda:1", and "auto", which says what it took and why; and arrays that go from one to another."""

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import cuda
from gpucnn.backend.arrays import Array, beside, xp_of
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


class ChosenDevice(NamedTuple):
    """A device that works, and why it was taken."""

    device: Device
    reason: str

    def __str__(self) -> str:
        return f"device: {self.device} ({self.reason})"


CPU = Device()


def current(device: Device) -> AbstractContextManager[Any]:
    """Inside, new arrays of `device.xp` are made on `device`, and work is done there; afterwards CuPy's current device is as before."""
    return nullcontext() if device.kind == "cpu" else cuda.cupy().cuda.Device(device.index)


def choose_device(name: "str | Device" = "auto") -> ChosenDevice:
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
        return ChosenDevice(CPU, "asked for")
    if text == "auto":
        problem = cuda.find_problem()
        if problem is not None:
            return ChosenDevice(CPU, f"no GPU: {problem.cause}")
        return ChosenDevice(Device("cuda", 0), "a GPU that works was found")
    match = re.fullmatch(r"cuda(?::(\d+))?", text)
    if match is None:
        raise ArgumentError(f'unknown device {text!r}; expected "auto", "cpu", "cuda" or "cuda:N", e.g. "cuda:1"')
    problem = cuda.find_problem()
    if problem is not None:
        raise DeviceError(f'device "{text}" cannot be used: {problem.cause}; fix: {problem.fix}')
    index, count = int(match[1] or 0), cuda.device_count()
    if index >= count:
        raise DeviceError(f'device "{text}" is not there: {count} GPU(s) present; fix: use "cuda:{count - 1}" or lower')
    return ChosenDevice(Device("cuda", index), "asked for")


def device_of(array: Array) -> Device:
    """The device on which `array` lives."""
    return CPU if xp_of(array) is np else Device("cuda", int(array.device.id))


def to_device(array: Array, device: Device) -> Array:
    """`array` on `device`: itself if it is there, else a copy."""
    if device_of(array) == device:
        return array
    if device.kind == "cpu":
        return to_host(array)
    with current(device):
        return device.xp.asarray(to_host(array))  # from one GPU to another by way of the host


def overwrite(array: Array, values: np.ndarray) -> None:
    """Put host `values`, of the same shape and dtype, into an array on any device. Does not wait for the device."""
    if xp_of(array) is np:
        array[...] = values
    else:
        with beside(array):
            array.set(values)


def to_host(array: Array) -> np.ndarray:
    """`array` as a numpy.ndarray. Waits for the device if it lives on one."""
    if xp_of(array) is np:
        return np.asarray(array)
    with beside(array):
        host: np.ndarray = array.get()
    return host
