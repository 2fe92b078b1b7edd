"""A compiled .cu file, and its kernels, which can be called."""

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from gpucnn.errors import ArgumentError, KernelError
from gpucnn.testing.emulator.arguments import KernelParameter, MemoryRange, bind, check_sizes
from gpucnn.testing.emulator.build import KernelRow, Library, locate
from gpucnn.testing.emulator.staging import Staging

# As in `emulator::Order` and `emulator::RegionKind` of runtime/launch.h.
ORDERS = ("forward", "reverse", "random")
_WRITABLE, _READ_ONLY, _SHARED = range(3)

# One launch at a time: the runtime's state is global.
_launching = threading.Lock()
_staging = Staging()


class Schedule(NamedTuple):
    """In which order blocks and the threads of a block run; the seed is that of the order "random"."""

    order: str
    seed: int


class _Region(ctypes.Structure):
    """`emulator::Region` of runtime/launch.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("begin", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("element_bytes", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("alignment", ctypes.c_int),
    )


class _Launch(ctypes.Structure):
    """`emulator::Launch` of runtime/launch.h."""

    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("regions", ctypes.c_void_p),
        ("region_count", ctypes.c_int),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("find_races", ctypes.c_int),
    )


class EmulatedFunction:
    """A kernel of an `EmulatedModule`; call it to run it.

    Parameters
    ----------
    grid, block : tuple of one to three ints
        Blocks in the grid, threads in a block.
    args : tuple
        For a pointer a C-contiguous NumPy array or None, for a number a NumPy scalar of exactly its type.
    shared_mem : int
        Bytes of dynamic shared memory.
    racecheck : bool
        False if threads may access the same memory in no order: for the idiom in which the last block to finish reads
        what the others have written.

    Raises LaunchError if the arguments do not fit, before anything runs, and KernelError, naming kernel, line, block
    and thread, if the kernel does what a GPU does not forgive; the arrays then hold what it had written until then.
    """

    def __init__(
        self,
        row: KernelRow,
        parameters: tuple[KernelParameter, ...],
        library: Library,
        schedule: Callable[[], Schedule],
        constants: Mapping[str, int],
    ) -> None:
        self.name: str = row.name.decode()
        self._parameters = parameters
        self._library = library
        self._launch_bound: int = row.launch_bound
        self._schedule = schedule
        # What the runtime is given. It is made once; a call, under the lock, writes what is its own.
        self._values = [ctypes.create_string_buffer(max(8, parameter.size)) for parameter in parameters]
        self._pointers = (ctypes.c_void_p * max(1, len(parameters)))(*map(ctypes.addressof, self._values))
        self._variables = [
            _Region(f"__shared__ {name}".encode(), address, size, 4, _SHARED, alignment)
            if is_shared
            else _Region(f"variable {name}".encode(), address, size, 4, _WRITABLE)
            for name, is_shared, address, size, alignment in library.variables
        ]
        code = ctypes.CDLL(str(library.path))
        self._constants = [(ctypes.c_int.in_dll(code, name), value) for name, value in constants.items()]
        self._variables += [
            _Region(f"constant {name}".encode(), ctypes.addressof(place), 4, 4, _READ_ONLY)
            for name, (place, _) in zip(constants, self._constants, strict=True)
        ]
        self._launch = _Launch(kernel=ctypes.addressof(row), arguments=ctypes.addressof(self._pointers))

    @property
    def path(self) -> Path:
        """The compiled file. One serves for all values of a source's constants, see `constants_as_variables`."""
        return self._library.path

    @property
    def signature(self) -> tuple[tuple[str, str], ...]:
        """(name, C type) of every parameter, such as ("images", "const float*")."""
        return tuple((parameter.name, parameter.type) for parameter in self._parameters)

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        shared_mem: int = 0,
        racecheck: bool = True,
    ) -> None:
        whole_grid, whole_block = check_sizes(self.name, grid, block, shared_mem, self._launch_bound)
        values, memory = bind(self.name, self._parameters, args)
        schedule = self._schedule()
        with _launching:
            if self._library.checks_memory:
                staged = _staging.copy_in(memory)
                moved = {item.address: copy.address for item, copy in zip(memory, staged, strict=True)}
                values = [moved.get(value, value) if isinstance(value, int) else value for value in values]
            else:
                staged = memory
            regions = self._regions(staged, shared_mem)
            for buffer, value in zip(self._values, values, strict=True):
                data = value.to_bytes(8, "little") if isinstance(value, int) else value
                ctypes.memmove(buffer, data, len(data))
            for place, constant in self._constants:
                place.value = constant
            launch = self._launch
            launch.regions, launch.region_count = ctypes.addressof(regions), len(regions)
            launch.grid[:], launch.block[:] = whole_grid, whole_block
            launch.order, launch.seed = ORDERS.index(schedule.order), schedule.seed % 2**32
            launch.find_races = racecheck
            message: bytes | None = self._library.launch(ctypes.byref(launch))
            if self._library.checks_memory:
                _staging.copy_out(memory, staged)
        if message is not None:
            raise KernelError(f"{self.name}: {locate(self._library, message.decode(errors='replace'))}")

    def _regions(self, memory: Sequence[MemoryRange], shared_memory: int) -> "ctypes.Array[_Region]":
        """What the kernel may access: its arguments, its variables, its dynamic shared memory."""
        regions = [
            _Region(
                item.name.encode(),
                item.address,
                item.size,
                item.element_size,
                _READ_ONLY if item.is_const else _WRITABLE,
            )
            for item in memory
        ]
        regions += self._variables
        library = self._library
        if library.dynamic_alignment is not None:
            dynamic = (library.dynamic_shared, shared_memory, 4, _SHARED, library.dynamic_alignment)
            regions.append(_Region(b"dynamic shared memory", *dynamic))
        return (_Region * len(regions))(*regions)


class _ParameterRow(ctypes.Structure):
    """`emulator::Parameter` of runtime/interface.h."""

    _fields_ = (("type", ctypes.c_char_p), ("size", ctypes.c_int))


class EmulatedModule:
    """The kernels of one .cu file, as `Emulator.module` compiles it."""

    def __init__(
        self, library: Library, schedule: Callable[[], Schedule], constants: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self._functions = {
            name: EmulatedFunction(row, _parameters(row, library.parameters[name]), library, schedule, constants)
            for row in library.rows
            for name in [row.name.decode()]
        }

    def function(self, name: str) -> EmulatedFunction:
        """The kernel `name`, or the instance that a name expression named; ArgumentError if there is none."""
        if name not in self._functions:
            raise ArgumentError(f"there is no kernel {name!r} in this module, only {sorted(self._functions)}")
        return self._functions[name]


def _parameters(row: KernelRow, names: tuple[str, ...]) -> tuple[KernelParameter, ...]:
    described = (_ParameterRow * row.parameter_count).from_address(row.parameters)
    return tuple(
        KernelParameter.from_compiler(name, parameter.type.decode(), parameter.size)
        for name, parameter in zip(names, described, strict=True)
    )
