"""The stand-in's `cupy.cuda`, and the kernels of one's own: `cupy.RawModule` and `cupy.RawKernel`."""

import functools
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from gpucnn.testing.cupy_memory import OutOfMemoryError


class LoadedSource(Protocol):
    """CUDA source, compiled."""

    def function(self, name: str) -> Callable[..., None]:
        """The kernel called `name`: `kernel(grid, block, arguments, shared_mem=0)` on NumPy arrays and scalars."""


class SourceLoader(Protocol):
    """What compiles and runs CUDA source on the CPU."""

    def module(self, source: str, options: Sequence[str], *, name_expressions: Sequence[str] = ()) -> LoadedSource:
        """Compile `source`."""


class CUDARuntimeError(RuntimeError):
    """`cupy.cuda.runtime.CUDARuntimeError`."""


class RawModule:
    """`cupy.RawModule`: compiled when its first kernel is asked for."""

    def __init__(self, cupy: Any, code: str, options: tuple[str, ...], name_expressions: Sequence[str]) -> None:
        if not isinstance(options, tuple):
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")
        self._cupy, self._code, self._options, self._name_expressions = cupy, code, options, name_expressions

    @functools.cached_property
    def _emulated(self) -> LoadedSource:
        module: LoadedSource = self._cupy.emulator.module(
            self._code, self._options, name_expressions=self._name_expressions
        )
        return module

    def get_function(self, name: str) -> "RawKernel":
        """The kernel called `name`. Compiles the module if that has not been done."""
        kernel = RawKernel(self._cupy, self, name)
        kernel.compile()
        return kernel


class RawKernel:
    """`cupy.RawKernel`: hands hidden arrays to the emulator, and numbers as CuPy would pass them."""

    def __init__(self, cupy: Any, module: RawModule, name: str) -> None:
        self.name = name
        self._cupy, self._module = cupy, module

    @functools.cached_property
    def _emulated(self) -> Callable[..., None]:
        return self._module._emulated.function(self.name)

    def compile(self) -> None:
        """Compile now, not when it is first called."""
        self._emulated  # noqa: B018

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0,
        stream: Any = None,
    ) -> None:  # fmt: skip
        for name, value in {"grid": grid, "block": block}.items():
            if not isinstance(value, tuple):
                raise TypeError(f"Argument '{name}' has incorrect type (expected tuple, got {type(value).__name__})")
        arguments = tuple(map(self._lower, args))
        grid = tuple(max(1, size) for size in grid)  # CuPy launches one block where none is asked for
        self._cupy.operation_log.add("launch", self.name, grid)
        self._emulated(grid, block, arguments, shared_mem=shared_mem)

    def _lower(self, value: Any) -> Any:
        if value is None:
            return None
        lowered = self._cupy._operand(value)
        if isinstance(lowered, np.ndarray | np.generic):
            return lowered
        return np.asarray(lowered)[()]  # an int64, whatever the kernel takes; a float64 even where it takes a float


class Device:
    """`cupy.cuda.Device`."""

    _cupy: ClassVar[Any]

    def __init__(self, device: int | None = None) -> None:
        self.id = self._cupy._current.index if device is None else int(device)

    def use(self) -> None:
        self._cupy.cuda.runtime.setDevice(self.id)

    def __enter__(self) -> Self:
        before = self._cupy._current.index
        self.use()
        self._cupy._current.before.append(before)
        return self

    def __exit__(self, *_: object) -> None:
        self._cupy._current.index = self._cupy._current.before.pop()

    def synchronize(self) -> None:
        self._cupy.operation_log.add("synchronize", "Device.synchronize")

    @property
    def mem_info(self) -> tuple[int, int]:
        with self:
            memory: tuple[int, int] = self._cupy._pool._device_memory()
        return memory

    @property
    def compute_capability(self) -> str:
        return "90"

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Event:
    """`cupy.cuda.Event`."""

    _cupy: ClassVar[Any]

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self._seconds: float | None = None
        self._timed = not disable_timing
        self._device = self._cupy._current.index

    def record(self, stream: Any = None) -> None:
        if self._device != self._cupy._current.index:  # a stream of another device, which CUDA refuses
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
        self._seconds = time.perf_counter() if self._timed else None

    def synchronize(self) -> None:
        self._cupy.operation_log.add("synchronize", "Event.synchronize")


def _elapsed_time(start_event: Event, end_event: Event) -> float:
    if start_event._seconds is None or end_event._seconds is None:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
    return (end_event._seconds - start_event._seconds) * 1000


class Stream:
    """`cupy.cuda.Stream`, of which there is one: all work is done when a call returns."""

    _cupy: ClassVar[Any]
    null: ClassVar["Stream"]

    def synchronize(self) -> None:
        self._cupy.operation_log.add("synchronize", "Stream.synchronize")

    def record(self, event: Event | None = None) -> Event:
        event = self._cupy.cuda.Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Nothing is left to wait for."""


def make_cuda(cupy: Any, devices: int) -> ModuleType:
    """`cupy.cuda` for one stand-in."""

    def set_device(device: int) -> None:
        if not 0 <= device < devices:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        cupy._current.index = device

    def properties(device: int) -> dict[str, Any]:
        return {
            "name": b"CuPy stand-in",
            "totalGlobalMem": cupy._pool._capacity,
            "major": 9,
            "minor": 0,
            "multiProcessorCount": 132,
            "warpSize": 32,
            "maxThreadsPerBlock": 1024,
            "sharedMemPerBlock": 48 << 10,
            "sharedMemPerBlockOptin": 227 << 10,
        }

    def bound(base: type) -> Any:
        return type(base.__name__, (base,), {"_cupy": cupy, "__module__": "cupy.cuda"})

    stream = bound(Stream)
    stream.null = stream()
    return make_module(
        "cupy.cuda",
        is_available=lambda: True,
        runtime=make_module(
            "cupy.cuda.runtime",
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=lambda: devices,
            getDevice=lambda: cupy._current.index,
            setDevice=set_device,
            getDeviceProperties=properties,
            memGetInfo=cupy._pool._device_memory,
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13000,
            deviceSynchronize=lambda: cupy.operation_log.add("synchronize", "deviceSynchronize"),
        ),
        memory=make_module("cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError),
        Device=bound(Device),
        Event=bound(Event),
        Stream=stream,
        get_current_stream=lambda: stream.null,
        get_elapsed_time=_elapsed_time,
    )


def make_module(name: str, **contents: Any) -> ModuleType:
    """A module with `contents`, and no more: another name is an AttributeError in Python's own words."""
    module = ModuleType(name)
    vars(module).update(contents)
    return module
