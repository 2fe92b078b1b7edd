"""Whether an array was written to between the forward pass, which saved it, and the backward pass, which needs it as it was.

All writes are numbered and kept, by the memory that they went to, in one log; an operation on the tape knows the number of the last
one before it. The library logs its own writes: an optimizer's step, `assign`, `load_state_dict`. What a program writes into
`tensor.data` is logged by the array itself, a `WatchedArray`. CuPy has no such arrays: on a GPU `tensor.data[...] = x` is not seen.
"""

import threading
from contextlib import suppress
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np

from gpucnn.backend import Array, arrays
from gpucnn.errors import GradientError
from gpucnn.text import shape_text

Place: TypeAlias = tuple[int, int]
"""Where memory begins and ends."""
MOST_PLACES = 1000
"""Of more of them the older half is taken for one that holds them all."""


class Log:
    """What was written to."""

    def __init__(self) -> None:
        self.count = 0
        """The number of the last write."""
        self._lock = threading.Lock()  # a count that two threads set would hide a write
        self._places: dict[Place, tuple[int, str]] = {}
        """Of each stretch of memory the last write, and what did it."""

    def note(self, by: str, place: Place) -> None:
        """A write, done by what messages call `by`."""
        with self._lock:
            self._note(by, place)

    def _note(self, by: str, place: Place) -> None:
        self.count += 1
        if len(self._places) >= MOST_PLACES:
            # Of the older half alone: what a pass that is under way has saved would else be taken for written to.
            known = sorted(self._places.items(), key=lambda one: one[1])
            older, newer = known[: MOST_PLACES // 2], known[MOST_PLACES // 2 :]
            starts, stops = zip(*(where for where, _ in older), strict=True)
            self._places = {(min(starts), max(stops)): older[-1][1], **dict(newer)}
        self._places[place] = self.count, by

    def since(self, number: int, array: Array) -> str:
        """What has written to an array after the write of this number; empty if nothing has."""
        start, stop = place_of(array)
        found = (
            (when, by)
            for (its_start, its_stop), (when, by) in list(self._places.items())
            if start < its_stop and its_start < stop
        )
        return next((by for when, by in found if when > number), "")


log = Log()


def place_of(array: Array) -> Place:
    """Where the memory of an array begins and ends."""
    if isinstance(array, np.ndarray):
        low, high = np.lib.array_utils.byte_bounds(array)
        return int(low), int(high)
    return int(array.data.ptr), int(array.data.ptr + array.nbytes)


def changed(node: Any) -> GradientError | None:
    """The error for an array that a node has saved and that was written to since, with its name; None if there is none."""
    for array in arrays_saved_by(node.backward):
        if by := log.since(node.writes_before, array):
            name = _path_of(array, node) or f"an array {shape_text(array.shape)}"
            return GradientError(
                f"{name} was changed between the forward pass and backward(), by {by}, and the gradient of {node.label} needs it "
                f"as it was; change it after backward(), or have a copy changed: tensor.clone()"
            )
    return None


def _path_of(array: Array, node: Any) -> str:
    """The path of the parameter, an input of the node, that has the array; empty if none has."""
    start, stop = place_of(array)
    for source in node.inputs:
        leaf: Any = getattr(getattr(source, "backward", None), "__self__", None)
        if getattr(leaf, "path", "") and leaf._data is not None:
            its_start, its_stop = place_of(leaf._data)
            if start < its_stop and its_start < stop:
                return str(leaf.path)
    return ""


class WatchedArray(np.ndarray):
    """The array of a tensor, as programs see it: to be read and written as any other, and its writes are logged.

    It is marked as read-only, so that what would write past the log, e.g. `np.asarray(tensor.data)[0] = 1`, fails.
    """

    @classmethod
    def of(cls, array: np.ndarray) -> "WatchedArray":
        """A view of `array`, whose writes are logged."""
        watched = array.view(cls)
        watched.flags.writeable = False
        return watched

    def _to_write(self) -> np.ndarray:
        """The array to write to, once that is logged. An array of its own memory, e.g. a copy, is nobody else's."""
        plain = self.unwatched()
        if plain.flags.writeable and not self.flags.owndata:
            log.note("an assignment to elements of its data", place_of(plain))
        return plain

    def looks_at(self, array: np.ndarray) -> bool:
        """Whether this is all of `array`."""
        mine, other = self.__array_interface__, array.__array_interface__
        return (
            all(mine[key] == other[key] for key in ("shape", "strides", "typestr"))
            and mine["data"][0] == other["data"][0]
        )

    def unwatched(self) -> np.ndarray:
        """The array itself, for a tensor to have; read-only if it is so without us."""
        plain = self.view(np.ndarray)
        with suppress(ValueError):
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
