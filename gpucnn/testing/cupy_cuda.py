"""The stand-in's `cupy.cuda`, and the kernels of one's own: `cupy.RawModule` and `cupy.RawKernel`."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from gpucnn.testing.cupy_graph import UNSUPPORTED, Event, Graph, Stream, elapsed_time
from gpucnn.testing.cupy_memory import CUDARuntimeError, Memory, MemoryPool, OutOfMemoryError
from gpucnn.testing.nccl_stand_in import make_nccl


class LoadedSource(Protocol):
    """CUDA source, compiled."""

    def function(self, name: str) -> Callable[..., None]:
        """The kernel called `name`: `kernel(grid, block, arguments, shared_mem=0)` on NumPy arrays and scalars."""


class SourceLoader(Protocol):
    """What compiles and runs CUDA source on the CPU."""

    def module(self, source: str, options: Sequence[str], *, name_expressions: Sequence[str] = ()) -> LoadedSource:
        """Compile `source`."""


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
        self._cupy._ask("launch", self.name, grid)
        self._cupy._do(functools.partial(self._emulated, grid, block, arguments, shared_mem=shared_mem))

    def _lower(self, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, np.ndarray):  # a struct, by value: as it is now
            if value.size != 1:
                raise TypeError(
                    f"You are trying to pass a numpy.ndarray of shape {value.shape} as a kernel parameter. Only "
                    "numpy.ndarrays of size one can be passed by value. If you meant to pass a pointer to __global__ "
                    "memory, you need to pass a cupy.ndarray instead."
                )
            return value.copy().reshape(())[()]
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
        _wait_for_device(self._cupy, self.id, "Device.synchronize")

    @property
    def mem_info(self) -> tuple[int, int]:
        with self:
            memory: tuple[int, int] = self._cupy._memory.free_and_total()
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


def make_cuda(cupy: Any, devices: int) -> ModuleType:
    """`cupy.cuda` for one stand-in."""

    def set_device(device: int) -> None:
        if not 0 <= device < devices:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        cupy._current.index = device

    def properties(device: int) -> dict[str, Any]:
        return {
            "name": b"CuPy stand-in",
            "totalGlobalMem": cupy._memory.capacity,
            "major": 9,
            "minor": 0,
            "multiProcessorCount": 132,
            "warpSize": 32,
            "maxThreadsPerBlock": 1024,
            "sharedMemPerBlock": 48 << 10,
            "sharedMemPerBlockOptin": 227 << 10,
            "pciDomainID": 0,
            "pciBusID": device,
            "pciDeviceID": 0,
            "uuid": b"",
        }

    def bound(base: type) -> Any:
        return type(base.__name__, (base,), {"_cupy": cupy, "__module__": "cupy.cuda"})

    @contextmanager
    def using_allocator(allocator: Any) -> Iterator[None]:
        before, cupy._current.allocator = cupy._current.allocator, allocator
        try:
            yield
        finally:
            cupy._current.allocator = before

    def get_current_stream(device_id: int = -1) -> Any:
        return cupy._current.streams.get(cupy._current.index if device_id == -1 else device_id, stream.null)

    stream = bound(Stream)
    stream.null = stream(null=True)
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
            memGetInfo=cupy._memory.free_and_total,
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13000,
            deviceSynchronize=lambda: _wait_for_device(cupy, cupy._current.index, "deviceSynchronize"),
        ),
        memory=make_module("cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError),
        Memory=bound(Memory),
        Device=bound(Device),
        Event=bound(Event),
        Stream=stream,
        Graph=bound(Graph),
        MemoryPool=type("MemoryPool", (MemoryPool,), {"_memory": cupy._memory, "__module__": "cupy.cuda"}),
        alloc_pinned_memory=cupy._copies.allocate,
        get_current_stream=get_current_stream,
        get_elapsed_time=elapsed_time,
        using_allocator=using_allocator,
        nccl=make_nccl(cupy, make_module),
    )


def _wait_for_device(cupy: Any, device: int, name: str) -> None:
    captures = [capture for capture in cupy._captures if capture.origin.device_id == device]
    for capture in captures:
        capture.valid = False
    if captures:
        raise CUDARuntimeError(UNSUPPORTED)
    cupy.operation_log.add("synchronize", name)
    cupy._copies.arrived()


def make_module(name: str, **contents: Any) -> ModuleType:
    """A module with `contents`, and no more: another name is an AttributeError in Python's own words."""
    module = ModuleType(name)
    vars(module).update(contents)
    return module
