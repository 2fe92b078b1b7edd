"""Whether an array was written to between the forward pass, which saved it, and the backward pass, which needs it as it was.

Each tensor that the tape saves the array of has a counter of writes, shared with all tensors that look at the same array. The
library counts its own writes: an optimizer's step, `assign`, `load_state_dict`. What a program writes into `tensor.data` is
counted by the array itself, a `WatchedArray`. CuPy has no such arrays: on a GPU `tensor.data[...] = x` is not seen.
"""

from collections.abc import Sequence
from contextlib import suppress
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np

from gpucnn.backend import Array, arrays
from gpucnn.errors import GradientError
from gpucnn.text import shape_text

Place: TypeAlias = tuple[int, int]
"""Where memory begins and ends."""


class Writes:
    """How often an array, and all that look at its memory, were written to, where, and what did so last."""

    __slots__ = ("by", "count", "place")
    place: Place | None
    """A stretch that holds all that was written to; None if that is the whole array, where it is now."""

    def __init__(self) -> None:
        self.count, self.place = 0, None

    def note_all(self, by: str) -> None:
        """Count a write to the whole array, done by what messages call `by`."""
        self.count += 1
        self.by = by
        self.place = None

    def note(self, by: str, array: Array) -> None:
        """Count a write to `array`, done by what messages call `by`."""
        self.count += 1
        self.by = by
        start, stop = _place(array)
        if self.place is not None:
            start, stop = min(start, self.place[0]), max(stop, self.place[1])
        self.place = start, stop


Seen: TypeAlias = tuple[Writes, int, Any]
"""Of an operation's input or result: its counter, what that said then, and how to name it: see `name_of`."""


def watch(result: Any, inputs: Sequence[Any]) -> list[Seen]:
    """The inputs and the result of an operation, all tensors: they count their writes from now on.

    A result that looks at an input's array, as that of a reshape does, has its counter. Which of these arrays the way back
    needs is looked for when one was written to, see `changed`.
    """
    array = result._data
    base = array.base
    seen: list[Seen] = []
    for tensor in inputs:
        writes = tensor.writes
        if writes is None:
            writes = tensor.writes = Writes()
        if (own := tensor._data) is array or (base is not None and _is_view(array, own)):
            result.writes = writes
        source = tensor.node
        if source is None:
            source = tensor if tensor.requires_grad else tensor.shape
        seen.append((writes, writes.count, source))
    writes = result.writes
    if writes is None:
        writes = result.writes = Writes()
    seen.append((writes, writes.count, None))
    return seen


def changed(node: Any) -> GradientError | None:
    """The error for an array that a node has saved and that was written to since, with its name; None if there is none."""
    for writes, count, source in node.seen:
        if writes.count == count:
            continue
        start, stop = _place(source._data) if writes.place is None else writes.place
        held = [_place(array) for array in arrays_saved_by(node.backward)]
        if any(start < its_stop and its_start < stop for its_start, its_stop in held):
            return GradientError(
                f"{name_of(source, node)} was changed between the forward pass and backward(), by {writes.by}, and the gradient "
                f"of {node.label} needs it as it was; change it after backward(), or have a copy changed: tensor.clone()"
            )
    return None


def name_of(source: Any, node: Any) -> str:
    """What messages call a parameter, another leaf, the output of a node, or a tensor of which the shape alone is known."""
    if isinstance(source, tuple):
        return f"a tensor {shape_text(source)}"
    source = node if source is None else source
    path, made_by = getattr(source, "path", ""), getattr(source, "label", "")
    return path or (f"the output of {made_by}" if made_by else f"a tensor {shape_text(source.shape)}")


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
        plain = self.uncounted()
        if self.writes is not None and not self.flags.owndata:
            self.writes.note("an assignment to elements of its data", plain)
        return plain

    def looks_at(self, array: np.ndarray) -> bool:
        """Whether this is all of `array`."""
        mine, other = self.__array_interface__, array.__array_interface__
        return (
            all(mine[key] == other[key] for key in ("shape", "strides", "typestr"))
            and mine["data"][0] == other["data"][0]
        )

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

    def __copy__(self) -> np.ndarray:  # type: ignore[override]
        return np.array(self)

    def __deepcopy__(self, memo: Any) -> np.ndarray:  # type: ignore[override]
        return np.array(self)


WRITING = frozenset(("copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"))
"""NumPy's functions that write to their first argument."""


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, WatchedArray) else value


def arrays_saved_by(function: Any) -> list[Array]:
    """The arrays that a backward function holds in its variables, in what they hold, and in those of functions that it calls."""
    found: list[Array] = []
    try:
        waiting = [cell.cell_contents for cell in function.__closure__ or ()]
    except (AttributeError, ValueError):  # no function of Python's, or one with a variable that has no value yet
        waiting = _variables(function)
    for value in waiting:  # which grows
        own = type(value)
        kind = _kinds[own] if own in _kinds else _kind_of(own)
        if kind is None:
            continue
        if kind is np.ndarray:
            found.append(value)
        elif kind is list:
            waiting.extend(value)
        elif value is not function:
            waiting.extend(_variables(value))
    return found


def _variables(function: Any) -> list[Any]:
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):
            found.append(cell.cell_contents)
    return found


_kinds: dict[type, type | None] = {list: list, FunctionType: FunctionType, np.ndarray: np.ndarray}
"""Of classes of values: np.ndarray for arrays, list for what may hold some, FunctionType for functions, None for others."""


def _kind_of(own: type) -> type | None:
    """The same of a class that comes for the first time."""
    if issubclass(own, (np.ndarray, getattr(arrays.loaded(), "ndarray", np.ndarray))):
        _kinds[own] = np.ndarray
    elif issubclass(own, tuple):  # a named one tells whether it is only of numbers, as what describes a task is
        fields = [str(kind) for kind in getattr(own, "__annotations__", {}).values()]
        _kinds[own] = None if fields and not any("Any" in kind or "rray" in kind for kind in fields) else list
    else:
        _kinds[own] = None
    return _kinds[own]


def _place(array: Array) -> Place:
    if isinstance(array, np.ndarray):
        low, high = np.lib.array_utils.byte_bounds(array)
        return int(low), int(high)
    return int(array.data.ptr), int(array.data.ptr + array.nbytes)


def _is_view(view: Array, array: Array | None) -> bool:
    """Whether a view looks at memory of `array`."""
    base = view.base
    if array is None or not (base is array or base is array.base):
        return False
    return not isinstance(array, np.ndarray) or bool(np.may_share_memory(view, array))
