"""Whether an array was written to between the forward pass, which saved it, and the backward pass, which needs it as it was.

Each tensor that the tape saves the array of has a counter of writes, shared with all tensors that look at the same array. The
library counts its own writes: an optimizer's step, `assign`, `load_state_dict`. What a program writes into `tensor.data` is
counted by the array itself, a `WatchedArray`. CuPy has no such arrays: on a GPU `tensor.data[...] = x` is not seen.
"""

from collections.abc import Sequence
from contextlib import suppress
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import Array, arrays
from gpucnn.errors import GradientError
from gpucnn.text import shape_text


class Writes:
    """How often an array was written to, and what did so last."""

    __slots__ = ("by", "count")

    def __init__(self) -> None:
        self.count, self.by = 0, ""

    def note(self, by: str) -> None:
        """Count one, done by what messages call `by`."""
        self.count += 1
        self.by = by


class Saved(NamedTuple):
    """An array that an operation has saved for the way back."""

    writes: Writes
    count: int
    """How many there had been then."""
    source: Any
    """Whose it is: a leaf, or the node of the operation that made it; None for the one that saves it."""

    def check(self, node: Any) -> None:
        """GradientError, which names the array and the operation of `node`, if it has been written to since."""
        if self.writes.count == self.count:
            return
        source = node if self.source is None else self.source
        path, made_by = getattr(source, "path", ""), getattr(source, "label", "")
        name = path or (f"the output of {made_by}" if made_by else f"a tensor {shape_text(source.shape)}")
        raise GradientError(
            f"{name} was changed between the forward pass and backward(), by {self.writes.by}, and the gradient of "
            f"{node.label} needs it as it was; change it after backward(), or have a copy changed: tensor.clone()"
        )


class WatchedArray(np.ndarray):
    """The array of a tensor, as programs see it: to be read and written as any other, and its writes are counted.

    It is marked as read-only, so that what would write past the counter, e.g. `np.asarray(tensor.data)[0] = 1`, fails.
    """

    writes: Writes | None = None

    @classmethod
    def of(cls, array: np.ndarray, writes: Writes) -> "WatchedArray":
        """A view of `array`, which counts."""
        watched = array.view(cls)
        watched.flags.writeable, watched.writes = False, writes
        return watched

    def __array_finalize__(self, source: Any) -> None:
        self.writes = getattr(source, "writes", None)

    def _to_write(self) -> np.ndarray:
        """The array to write to, once that is counted. An array of its own memory, e.g. a copy, is nobody else's."""
        plain = self.view(np.ndarray)
        if self.writes is not None and not self.flags.owndata:
            plain.flags.writeable = True
            self.writes.note("an assignment to elements of its data")
        return plain

    def looks_at(self, array: np.ndarray) -> bool:
        """Whether this is all of `array`."""
        mine, other = self.__array_interface__, array.__array_interface__
        return all(mine[key] == other[key] for key in ("shape", "strides", "typestr")) and mine["data"][0] == other["data"][0]

    def uncounted(self) -> np.ndarray:
        """The array itself, for a tensor to have."""
        plain = self.view(np.ndarray)
        plain.flags.writeable = True
        return plain

    def __setitem__(self, index: Any, value: Any) -> None:
        self._to_write()[index] = value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        given = [_plain(one) for one in inputs]
        if method == "at" and isinstance(inputs[0], WatchedArray):
            given[0] = inputs[0]._to_write()
        if out is not None:
            options["out"] = tuple(one._to_write() if isinstance(one, WatchedArray) else one for one in out)
        result = getattr(ufunc, method)(*given, **options)
        return result if out is None else out[0] if len(out) == 1 else out

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function.__name__ in WRITING and args and isinstance(args[0], WatchedArray):
            args = (args[0]._to_write(), *args[1:])
        if isinstance(kwargs.get("out"), WatchedArray):
            kwargs = {**kwargs, "out": kwargs["out"]._to_write()}
        return super().__array_function__(function, types, args, kwargs)

    def fill(self, value: Any) -> None:
        self._to_write().fill(value)

    def sort(self, *args: Any, **kwargs: Any) -> None:
        self._to_write().sort(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(self.view(np.ndarray))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> np.ndarray:
        return np.array(self)


WRITING = frozenset(("copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"))
"""NumPy's functions that write to their first argument."""


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, WatchedArray) else value


def watch(result: Any, inputs: Sequence[Any], backward: Any = None) -> list[Saved]:
    """What an operation's `backward` has saved of its inputs and its `result`, all tensors; they count their writes from now on.

    A result that looks at an input's array, as that of a reshape does, has its counter.
    """
    array = result._data
    base = array.base
    for tensor in inputs:
        own = tensor._data
        if own is array or (base is not None and own is not None and (base is own or base is own.base) and _overlap(own, array)):
            result.writes = tensor.writes = tensor.writes or Writes()
    found = arrays_saved_by(backward)
    saved = []
    for tensor in (*inputs, result) if found else ():
        if tensor._data is not None and _is_among(tensor._data, found):
            writes = tensor.writes = tensor.writes or Writes()
            saved.append(Saved(writes, writes.count, None if tensor is result else tensor.node or tensor))
    return saved


def arrays_saved_by(function: Any) -> list[Array]:
    """The arrays that a backward function holds in its variables, in lists of them, and in those of functions that it calls."""
    found: list[Array] = []
    waiting = _variables(function)
    for value in waiting:  # which grows
        kind = _kind_of(type(value))
        if kind is np.ndarray:
            found.append(value)
        elif kind is list:
            waiting.extend(value)
        elif kind is FunctionType and value is not function:
            waiting.extend(_variables(value))
    return found


def _variables(function: Any) -> list[Any]:
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # a variable that has no value yet
            found.append(cell.cell_contents)
    return found


_kinds: dict[type, type | None] = {}


def _kind_of(own: type) -> type | None:
    """Of a class of values: np.ndarray for arrays, CuPy's, too; list for sequences, FunctionType for functions, None for others."""
    if own not in _kinds:
        of_arrays = (np.ndarray, getattr(arrays.loaded(), "ndarray", np.ndarray))
        kinds: tuple[tuple[Any, type], ...] = (of_arrays, np.ndarray), ((list, tuple), list), (FunctionType, FunctionType)
        _kinds[own] = next((kind for types, kind in kinds if issubclass(own, types)), None)
    return _kinds[own]


def _is_among(array: Array, others: Sequence[Array]) -> bool:
    """Whether one of the others is `array`, or looks at its memory."""
    for other in others:
        if other is array:
            return True
    owner = _owner(array)
    return any(_owner(other) is owner and _overlap(array, other) for other in others)


def _owner(array: Array) -> Any:
    """The array whose memory `array` is a view of, or itself."""
    while (base := getattr(array, "base", None)) is not None and hasattr(base, "dtype"):
        array = base
    return array


def _overlap(a: Array, b: Array) -> bool:
    return not isinstance(a, np.ndarray) or bool(np.may_share_memory(a, b))
