"""The one checked entry to compiled code, which works on raw addresses."""

import ctypes
import functools
import os
import threading
from array import array as machine_array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, cast

import numpy as np

from gpucnn.backend.threads import Parts, cut
from gpucnn.checks import Shape
from gpucnn.errors import LaunchError
from gpucnn.kernels.compiler import PARAMETERS
from gpucnn.kernels.compiler.machine_code import compiled
from gpucnn.kernels.compiler.processor import Processor
from gpucnn.kernels.compiler.recording import Call, Use, recorder
from gpucnn.kernels.workspace import workspace
from gpucnn.text import shape_text

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder
    from gpucnn.kernels.compiler.dispatch import Dispatcher

Sizes = ParamSpec("Sizes")

EACH, PARTS, FREE = -1, -2, -3
"""An argument's first size: as many as the call has items, or parts, or any, but the same in all arguments that have it."""


class Argument(NamedTuple):
    """An array that a loop works on: contiguous, of just this shape and dtype; see EACH for its first size."""

    name: str
    shape: Shape
    dtype: str = "float32"
    written: bool = False


class Loop(NamedTuple):
    """Code for one set of sizes, to be compiled when it is first called.

    The function works on the items from `first` to below `last`, which are part number `part`, with `scratch` floats of
    the thread's own.
    """

    name: str
    sizes: tuple[Any, ...]
    arguments: tuple[Argument, ...]
    write: "Callable[[Builder], None]"
    scratch: int = 0


def run(loop: Loop, count: int, arrays: Sequence[np.ndarray | None], parts: Sequence[slice] | None = None) -> None:
    """Call `loop` for `count` items, in `parts`, on the threads there are; by default it runs once for all.

    Raises LaunchError, which names loop and argument, for arrays that are not what the loop was made for: nothing
    would stop it from writing past their ends.
    """
    if parts is None:
        parts = cut(count, 0)
    elif not isinstance(parts, Parts):
        parts = Parts(parts)
    if not 0 <= parts.stop <= count:
        raise LaunchError(f"{loop.name}: the parts {list(parts)} are not within {count} items")
    if len(arrays) != len(loop.arguments):
        names = ", ".join(argument.name for argument in loop.arguments)
        raise LaunchError(f"{loop.name}: takes {len(loop.arguments)} arrays ({names}), got {len(arrays)}")
    sizes = {EACH: count, PARTS: len(parts)}
    table = machine_array("q", [_address(loop, *pair, sizes) for pair in zip(loop.arguments, arrays, strict=True)])
    table.append(sizes.get(FREE, 0))
    address, function = _function(loop)
    if (noting := recorder()) is not None:
        noting.note(Call(loop.name, address, table, parts, loop.scratch), _uses(loop, arrays, table))
    if len(parts) > 1 and _dispatcher().run(address, table, parts.bounds, loop.scratch):
        return
    # `scratch` is held here, as nobody else keeps a large one.
    scratch = workspace((loop.scratch,), _FLOATS) if loop.scratch else _FLOATS
    places = table.buffer_info()[0], ctypes.addressof(_from_buffer(scratch))
    for number, part in enumerate(parts):
        function(part.start, part.stop, number, *places)


def _uses(loop: Loop, arrays: Sequence[np.ndarray | None], table: "machine_array[int]") -> Iterator[Use]:
    for argument, array, address in zip(loop.arguments, arrays, table, strict=False):
        assert array is not None
        yield Use(argument.name, array, address, argument.written)


def cached(make: Callable[Sizes, Loop]) -> Callable[Sizes, Loop]:
    """`make`, called once for each set of sizes. Unlike `functools.cache` it keeps the parameters' types."""
    return cast("Callable[Sizes, Loop]", functools.cache(make))


def _dispatcher() -> "Dispatcher":
    from gpucnn.kernels.compiler.dispatch import dispatcher  # which imports llvmlite

    return dispatcher()


_FLOATS = np.empty(1, np.float32)
_from_buffer: Any = ctypes.c_char.from_buffer
_DTYPES = {name: (np.dtype(name), np.dtype(name).itemsize) for name in ("float32", "int32")}


def _address(loop: Loop, argument: Argument, array: np.ndarray | None, sizes: dict[int, int]) -> int:
    shape, kind = argument.shape, argument.dtype
    if shape and shape[0] < 0:
        if shape[0] == FREE:
            sizes.setdefault(FREE, len(array) if isinstance(array, np.ndarray) and array.ndim else 0)
        shape = (sizes[shape[0]], *shape[1:])
    dtype, itemsize = _DTYPES[kind]
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {shape_text(array.shape)}" if isinstance(array, np.ndarray) else repr(array)
        raise LaunchError(f"{loop.name}: {argument.name} must be a {kind} array {shape_text(shape)}, got {got}")
    try:  # refuses what is not contiguous, and takes a quarter of the time of asking `array.flags`, and `array.ctypes`
        address = ctypes.addressof(_from_buffer(array))
    except (TypeError, ValueError):  # or is empty, or must not be written
        return _readable_address(loop, argument, array)
    return address if address % itemsize == 0 else _readable_address(loop, argument, array)


def _readable_address(loop: Loop, argument: Argument, array: np.ndarray) -> int:
    flags = array.flags
    if not flags.c_contiguous or not flags.aligned or (argument.written and not flags.writeable):
        needed = "contiguous and writeable" if argument.written else "contiguous"
        raise LaunchError(f"{loop.name}: {argument.name} must be {needed}; copy it with numpy.ascontiguousarray")
    return int(array.ctypes.data)


_functions: dict[tuple[str, tuple[Any, ...]], tuple[int, Callable[..., None]]] = {}
_compiling = threading.Lock()


def _function(loop: Loop) -> tuple[int, Callable[..., None]]:
    """The compiled function: its address, and a way to call it, without Python's lock."""
    key = loop.name, loop.sizes
    if key not in _functions:
        with _compiling:
            if key not in _functions:
                _functions[key] = _compile(loop)
    return _functions[key]


def _compile(loop: Loop) -> tuple[int, Callable[..., None]]:
    def write(machine: Processor) -> Any:
        from gpucnn.kernels.compiler.builder import Builder

        builder = Builder(loop.name, [argument.name for argument in loop.arguments], machine.lanes)
        loop.write(builder)
        return builder.finish()

    address = compiled(loop.name, loop.sizes, write)
    return address, ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(PARAMETERS))(address)


def nothing() -> int:
    """The address of a loop that does nothing."""
    return _function(Loop("nothing", (), (), lambda _: None))[0]


def loaded() -> int:
    """How many loops this process has compiled, or read from the cache."""
    return len(_functions)


def _new_lock_in_child() -> None:
    """In a forked child, where the thread that may have been compiling is gone."""
    global _compiling
    _compiling = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_in_child)
