"""A kernel's parameters, and whether the arguments of a launch fit them.

CuPy hands over whatever it is given: an array's pointer whatever the array's dtype and strides, a Python float as the
eight bytes of a double. Here all of that is an error.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpucnn.checks import is_int
from gpucnn.errors import LaunchError
from gpucnn.text import shape_text

MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_BLOCK = (1024, 1024, 64)
MAX_THREADS = 1024
MAX_DYNAMIC_SHARED = 48 << 10

_DTYPES = {
    "bool": np.dtype(np.bool_),
    "char": np.dtype(np.int8),
    "signed char": np.dtype(np.int8),
    "unsigned char": np.dtype(np.uint8),
    "short": np.dtype(np.int16),
    "unsigned short": np.dtype(np.uint16),
    "BF16": np.dtype(np.uint16),  # as launched kernels have it, see kernels/kernel.py
    "int": np.dtype(np.int32),
    "unsigned int": np.dtype(np.uint32),
    "long": np.dtype(np.int64),
    "unsigned long": np.dtype(np.uint64),
    "long long": np.dtype(np.int64),
    "unsigned long long": np.dtype(np.uint64),
    "__half": np.dtype(np.float16),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
}
# How g++ writes what C writes shorter.
_SPELLINGS = {
    "short int": "short",
    "short unsigned int": "unsigned short",
    "long int": "long",
    "long unsigned int": "unsigned long",
    "long long int": "long long",
    "long long unsigned int": "unsigned long long",
}
_LONG_SPELLING = re.compile(r"\b(?:short|long)(?: (?:long|unsigned))* int\b")


class KernelParameter(NamedTuple):
    """One parameter of a kernel."""

    name: str
    type: str
    """As C writes it: "const float*", "int", "unsigned long long"."""
    size: int
    is_pointer: bool
    is_const: bool
    dtype: np.dtype[Any] | None
    """Of the number or of what the pointer points to; None for structs and void: those take any."""

    @classmethod
    def from_compiler(cls, name: str, described: str, size: int) -> "KernelParameter":
        """From the text that device/kernel_table.h gives, which holds "[with Type = const float*]"."""
        text = described.partition("Type = ")[2].removesuffix("]")
        text = _LONG_SPELLING.sub(lambda match: _SPELLINGS[match[0]], text)
        value = text.removesuffix("*")
        return cls(
            name, text, size, text.endswith("*"), value.startswith("const "), _DTYPES.get(value.removeprefix("const "))
        )


class MemoryRange(NamedTuple):
    """Memory of one array argument, or of several that are the same array."""

    name: str
    address: int
    size: int
    element_size: int
    is_const: bool


class BoundArguments(NamedTuple):
    """One value per parameter, an address for a pointer and else bytes, and the memory that the addresses point to."""

    values: list[int | bytes]
    memory: list[MemoryRange]


def bind(kernel: str, parameters: Sequence[KernelParameter], arguments: Sequence[Any]) -> BoundArguments:
    """Checks the arguments; LaunchError, which names the kernel and the argument, if one does not fit."""
    if len(arguments) != len(parameters):
        names = ", ".join(parameter.name for parameter in parameters)
        raise LaunchError(f"{kernel} takes {len(parameters)} arguments ({names}), got {len(arguments)}")
    values: list[int | bytes] = []
    memory: dict[int, MemoryRange] = {}
    for position, (parameter, argument) in enumerate(zip(parameters, arguments, strict=True)):
        problem = _pointer_problem if parameter.is_pointer else _scalar_problem
        if text := problem(parameter, argument):
            raise LaunchError(f"{kernel}: argument {position} '{parameter.name}' is {parameter.type}: {text}")
        if not parameter.is_pointer:
            values.append(argument.tobytes())
        elif argument is None:
            values.append(0)
        else:
            address: int = argument.__array_interface__["data"][0]
            values.append(address)
            if argument.nbytes:
                found = _memory_range(parameter, argument, address)
                known = memory.get(address)
                memory[address] = found if known is None else _merge(kernel, known, found)
    ranges = sorted(memory.values(), key=lambda item: item.address)
    for first, second in itertools.pairwise(ranges):
        if first.address + first.size > second.address:
            _refuse_overlap(kernel, first, second)
    return BoundArguments(values, ranges)


def check_sizes(
    kernel: str, grid: tuple[int, ...], block: tuple[int, ...], shared_memory: int, launch_bound: int
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Grid and block with three sizes each; LaunchError if a GPU would refuse them."""
    whole_grid = _three_sizes(kernel, "grid", grid, MAX_GRID)
    whole_block = _three_sizes(kernel, "block", block, MAX_BLOCK)
    threads = whole_block[0] * whole_block[1] * whole_block[2]
    if threads > MAX_THREADS:
        raise LaunchError(f"{kernel}: a block of {block} has {threads} threads, the limit is {MAX_THREADS}")
    if launch_bound and threads > launch_bound:
        raise LaunchError(
            f"{kernel}: a block of {block} has {threads} threads, but the kernel is declared "
            f"__launch_bounds__({launch_bound})"
        )
    if not is_int(shared_memory) or not 0 <= shared_memory <= MAX_DYNAMIC_SHARED:
        raise LaunchError(
            f"{kernel}: shared_mem must be an int from 0 to {MAX_DYNAMIC_SHARED} bytes, got {shared_memory!r}"
        )
    return whole_grid, whole_block


def _three_sizes(kernel: str, name: str, sizes: tuple[int, ...], limits: tuple[int, int, int]) -> tuple[int, int, int]:
    if not isinstance(sizes, tuple) or not 1 <= len(sizes) <= 3:
        raise LaunchError(f"{kernel}: {name} must be a tuple of one to three ints, got {sizes!r}")
    for size, limit in zip(sizes, limits, strict=False):
        if not is_int(size) or not 1 <= size <= limit:
            raise LaunchError(f"{kernel}: {name} must have ints from 1 to {limit} here, got {size!r} in {sizes}")
    x, y, z = (*(int(size) for size in sizes), 1, 1)[:3]
    return x, y, z


def _pointer_problem(parameter: KernelParameter, argument: Any) -> str | None:
    if argument is None:
        return None
    if not isinstance(argument, np.ndarray):
        return f"expected an array or None, got {_describe(argument)}"
    if parameter.dtype is not None and argument.dtype != parameter.dtype:
        return f"expected an array of {parameter.dtype}, got {argument.dtype}"
    if not argument.flags.c_contiguous:
        return (
            f"the array of shape {shape_text(argument.shape)} is not C-contiguous, and a kernel sees no strides; "
            "pass np.ascontiguousarray(...)"
        )
    if not parameter.is_const and not argument.flags.writeable:
        return "the kernel may write to it, but the array is read-only"
    return None


def _scalar_problem(parameter: KernelParameter, argument: Any) -> str | None:
    expected = parameter.dtype
    if expected is None:
        if isinstance(argument, np.generic) and argument.nbytes == parameter.size:
            return None
        return f"expected a NumPy scalar of {parameter.size} bytes, got {_describe(argument)}"
    if isinstance(argument, np.generic):
        return None if argument.dtype == expected else f"expected np.{expected}, got {_describe(argument)}"
    if isinstance(argument, (bool, int, float)):
        return (
            f"a Python {type(argument).__name__} would travel as {np.asarray(argument).dtype}; "
            f"pass np.{expected}({argument!r})"
        )
    return f"expected np.{expected}, got {_describe(argument)}"


def _describe(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        return f"an array {argument.dtype}{list(argument.shape)}"
    return f"np.{argument.dtype}" if isinstance(argument, np.generic) else type(argument).__name__


def _memory_range(parameter: KernelParameter, array: Any, address: int) -> MemoryRange:
    name = f"{parameter.name} {array.dtype}{list(array.shape)}"
    return MemoryRange(name, address, array.nbytes, array.itemsize, parameter.is_const)


def _merge(kernel: str, first: MemoryRange, second: MemoryRange) -> MemoryRange:
    """One array that is passed twice."""
    if first.size != second.size:
        _refuse_overlap(kernel, first, second)
    return first._replace(
        name=f"{first.name.partition(' ')[0]}={second.name}",
        element_size=min(first.element_size, second.element_size),
        is_const=first.is_const and second.is_const,
    )


def _refuse_overlap(kernel: str, first: MemoryRange, second: MemoryRange) -> None:
    raise LaunchError(f"{kernel}: arguments {first.name} and {second.name} overlap without being the same array")
