"""The one checked entry to compiled code, which works on raw addresses."""

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend.threads import parallel
from gpucnn.checks import Shape, shape_text
from gpucnn.errors import LaunchError
from gpucnn.kernels.jit.builder import Builder
from gpucnn.kernels.jit.compiler import compiled
from gpucnn.kernels.workspace import workspace

EACH, PARTS = -1, -2
"""In an argument's shape: as many as the call has items, and parts."""


class Argument(NamedTuple):
    """An array that a kernel works on: contiguous, of just this shape (EACH for the call's count) and dtype."""

    name: str
    shape: Shape
    dtype: str = "float32"
    written: bool = False


class Kernel(NamedTuple):
    """Code for one set of sizes, to be compiled when it is first called.

    The function's parameters are `first`, `last` and `part`, the arguments' addresses, and that of `scratch` floats of the
    thread's own: it works on the items from `first` to below `last`, which are part number `part`.
    """

    name: str
    sizes: tuple[Any, ...]
    arguments: tuple[Argument, ...]
    write: Callable[[Builder], None]
    scratch: int = 0


def run(kernel: Kernel, count: int, arrays: Sequence[np.ndarray | None], parts: Sequence[slice] | None = None) -> None:
    """Call `kernel` for `count` items, in `parts`, on the threads there are; by default the kernel runs once for all.

    Raises LaunchError, which names kernel and argument, for arrays that are not what the kernel was made for: nothing
    would stop it from writing past their ends.
    """
    pieces = [slice(0, count)] if parts is None else list(parts)
    if any(not 0 <= part.start <= part.stop <= count for part in pieces):
        raise LaunchError(f"{kernel.name}: the parts {pieces} are not within {count} items")
    if len(arrays) != len(kernel.arguments):
        names = ", ".join(argument.name for argument in kernel.arguments)
        raise LaunchError(f"{kernel.name}: takes {len(kernel.arguments)} arrays ({names}), got {len(arrays)}")
    sizes = {EACH: count, PARTS: len(pieces)}
    addresses = [_address(kernel, *pair, sizes) for pair in zip(kernel.arguments, arrays, strict=True)]
    function = _function(kernel)

    def call(number: int) -> None:
        scratch = workspace((kernel.scratch,), _FLOATS)  # held by its name: a large one is kept by nobody else
        function(pieces[number].start, pieces[number].stop, number, *addresses, scratch.ctypes.data)

    parallel(call, len(pieces))


_FLOATS = np.empty(0, np.float32)


def _address(kernel: Kernel, argument: Argument, array: np.ndarray | None, sizes: dict[int, int]) -> int:
    shape = tuple(sizes.get(size, size) for size in argument.shape)
    if not isinstance(array, np.ndarray) or array.dtype != argument.dtype or array.shape != shape:
        got = f"{array.dtype} {shape_text(array.shape)}" if isinstance(array, np.ndarray) else repr(array)
        raise LaunchError(
            f"{kernel.name}: {argument.name} must be a {argument.dtype} array {shape_text(shape)}, got {got}"
        )
    if not array.flags.c_contiguous or not array.flags.aligned or (argument.written and not array.flags.writeable):
        needed = "contiguous and writeable" if argument.written else "contiguous"
        raise LaunchError(f"{kernel.name}: {argument.name} must be {needed}; copy it with numpy.ascontiguousarray")
    return int(array.ctypes.data)


_functions: dict[tuple[str, tuple[Any, ...]], Callable[..., None]] = {}
_compiling = threading.Lock()


def _function(kernel: Kernel) -> Callable[..., None]:
    """The compiled function, which runs without Python's lock."""
    key = kernel.name, kernel.sizes
    if key not in _functions:
        with _compiling:
            if key not in _functions:
                parameters = ["first", "last", "part", *(argument.name for argument in kernel.arguments), "scratch"]

                def write(machine: Any) -> Any:
                    builder = Builder(kernel.name, parameters, machine.lanes)
                    kernel.write(builder)
                    return builder.finish()

                address = compiled(kernel.name, kernel.sizes, write)
                _functions[key] = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(parameters))(address)
    return _functions[key]


def _begin_anew() -> None:
    """In a forked child, where the thread that may have been compiling is gone."""
    global _compiling
    _compiling = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
