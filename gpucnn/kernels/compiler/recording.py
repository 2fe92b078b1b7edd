"""A step on the CPU that is recorded once, and replayed by one call from Python.

Where all of a step is compiled loops, it is a list of calls: which function, on which addresses, in which parts. To record it
is to run it while `loop.run` notes each call; a replay goes through the list in machine code (see `dispatch`).

    calls, loss = CallList.record(step, state)      state is as before, and loss holds no values yet
    calls.replay()                                  the step is done, and loss holds them

What is not a compiled loop would be left out, silently. So it is looked for in three ways: `ways.choose` refuses other ways;
a loop must not read, and an operation must not give, memory that nothing known has filled; and the list is tried out on
other numbers, in memory without meaning, where it must give what the step gives, to the bit.
"""

import copy
import threading
from array import array as machine_array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gpucnn.backend import Array, Device
from gpucnn.backend.feeds import collecting
from gpucnn.backend.host_memory import OwnMemory, own_memory
from gpucnn.backend.threads import Parts
from gpucnn.errors import CaptureError

T = TypeVar("T")

MEANINGLESS = 0xFF
"""A byte: floats of it are NaN, integers -1."""


CALL_SIZE = 4
"""Integers of a call in the list: the function, its table of addresses, the parts' bounds, and how many parts there are."""


class _Fed(NamedTuple):
    """An array that is filled before each replay."""

    array: np.ndarray
    values: Callable[[], np.ndarray]

    def fill(self) -> None:
        """Put there what `values` gives now."""
        values, array = np.asarray(self.values()), self.array
        if (values.dtype, values.shape) != (array.dtype, array.shape):
            raise CaptureError(
                f"a recorded step is fed {values.dtype} {values.shape} where it was fed {array.dtype} {array.shape}; "
                f"record it anew"
            )
        array[...] = values


class Call(NamedTuple):
    """A call of a loop: of which, the function's address, the table of addresses, the parts, and floats of scratch memory."""

    name: str
    function: int
    table: "machine_array[int]"
    parts: Parts
    scratch: int


class Pause(NamedTuple):
    """A place in the list where Python does something in each replay."""

    place: int
    action: Callable[[], None]


class Use(NamedTuple):
    """An array that a call works on: as what, where it lies, and whether it is written."""

    name: str
    array: np.ndarray
    address: int
    written: bool


class CallList:
    """The calls of a step, the memory that they work on, and what they are fed."""

    def __init__(self, recorder: "Recorder") -> None:
        self.recorder = recorder  # with all memory whose addresses stand in the tables
        self._calls = machine_array("q", recorder.calls)
        self._pauses = recorder.pauses
        self._most_parts, self._fed = recorder.most_parts, recorder.fed
        self._scratch = np.empty(max(1, recorder.scratch), np.float32)

    @classmethod
    def record(cls, step: Callable[[], T], state: Iterable[Array]) -> "tuple[CallList, T]":
        """The calls that `step()` makes, and what it returned: arrays, or tensors, that hold its values after each replay.

        `state`: the arrays that it finds and changes, or is given anew before a replay: parameters, what an optimizer
        remembers, images, labels. They are as before afterwards. Raises CaptureError, which names the operation, for a step
        that is more than compiled loops, or has numbers in it that are not finite.
        """
        state = list(state)
        before = [array.copy() for array in state]
        recorder = Recorder(state)
        try:
            _shift(state)
            with recorder.at_work():
                result = step()
            found = [*state, *_arrays_in(result)]
            recorder.check_results(found[len(state) :])
            expected = [array.copy() for array in found]
            _restore(state, before)
            _shift(state)
            recorder.spoil()
            calls = cls(recorder)
            calls._replay([])
            _compare(found, expected)
        finally:
            _restore(state, before)
        recorder.spoil()
        return calls, result

    def replay(self) -> None:
        """Do the step, with what it is fed now. Ctrl-C comes out when it is done, or at a pause."""
        self._replay(self._pauses)

    def _replay(self, pauses: "Sequence[Pause]") -> None:
        from gpucnn.kernels.compiler.dispatch import dispatcher  # which imports llvmlite

        for fed in self._fed:
            fed.fill()
        start = 0
        for pause in pauses:
            if start < pause.place:
                dispatcher().go_through(self._calls[start : pause.place], self._most_parts, self._scratch)
            start = pause.place
            pause.action()
        rest = self._calls[start:] if start else self._calls
        dispatcher().go_through(rest, self._most_parts, self._scratch)

    def calling(self, function: int) -> "CallList":
        """The same list, but each call is one of `function`. One that does nothing shows what a replay takes beside its loops."""
        other = copy.copy(self)
        other._calls = self._calls[:]
        other._calls[::CALL_SIZE] = machine_array("q", [function] * (len(self._calls) // CALL_SIZE))
        return other


class Recorder:
    """What a step that is being recorded has done so far."""

    def __init__(self, state: Sequence[np.ndarray]) -> None:
        self.calls: list[int] = []
        self.pauses: list[Pause] = []
        self.fed: list[_Fed] = []
        self.most_parts = self.scratch = 0
        self.memory = OwnMemory()
        self._kept: list[Any] = list(state)
        self._known = _Spans()
        self._own_arrays: list[np.ndarray] = []
        """Those that loops write beside the recording's own memory and the state."""
        for one in state:
            self._known.add(*_span(one))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Inside, this thread records."""
        with ExitStack() as stack:
            stack.enter_context(own_memory(self.memory))
            stack.enter_context(collecting(self))
            stack.callback(setattr, _here, "recorder", _here.recorder)
            _here.recorder = self
            yield

    def add(self, values: Callable[[], np.ndarray], device: Device) -> Array:
        """See `Feeds`."""
        if device.kind != "cpu":
            raise CaptureError(f"a step of compiled loops is fed on the CPU, got {device}; move the model to the CPU")
        fed = _Fed(np.array(values()), values)
        self.fed.append(fed)
        self._known.add(*_span(fed.array))
        return fed.array

    def pause(self, action: Callable[[], None]) -> None:
        """Have `action` done here in each replay, but not now, as what is recorded is no real step. It changes no array of it."""
        self.pauses.append(Pause(len(self.calls), action))

    def note(self, call: "Call", uses: "Iterable[Use]") -> None:
        """A call of a loop, and the arrays whose addresses stand in its table."""
        for name, one, address, written in uses:
            stop = address + one.nbytes
            if written:
                if not self._known.covers(address, stop) and not self._is_own(address):
                    self._own_arrays.append(one)
                self._known.add(address, stop)
            elif not (self._known.covers(address, stop) or _is_constant(one)):
                raise CaptureError(f"{call.name}: {name} was filled by no compiled loop, and is no part of the state")
            if not self._is_own(address):
                self._kept.append(one)
        self._kept.append(call)
        bounds = call.parts.bounds.buffer_info()[0]
        self.calls += [call.function, call.table.buffer_info()[0], bounds, len(call.parts)]
        self.most_parts, self.scratch = max(self.most_parts, len(call.parts)), max(self.scratch, call.scratch)

    def check(self, name: str, array: Array) -> None:
        """CaptureError, which begins with `name`, for an array that something else than compiled loops has filled."""
        if not isinstance(array, np.ndarray) or not (self._known.covers(*_span(array)) or _is_constant(array)):
            raise CaptureError(
                f"{name} is computed by NumPy here, not by a compiled loop; leave such steps as they are: graph=False (--no-graph)"
            )

    def check_results(self, arrays: Iterable[Array]) -> None:
        """The same for what the step returns."""
        for one in arrays:
            self.check("the step's result", one)

    def spoil(self) -> None:
        """Fill all memory but that of the state, and what is fed, with bytes that have no meaning."""
        for one in self.memory.spans():
            one.fill(MEANINGLESS)
        for one in self._own_arrays:
            one.reshape(-1).view(np.uint8).fill(MEANINGLESS)

    def _is_own(self, address: int) -> bool:
        return any(start <= address < stop for start, stop in map(_span, self.memory.spans()))


class _Here(threading.local):
    recorder: Recorder | None = None


_here = _Here()


def recorder() -> Recorder | None:
    """Who records this thread's step now; None if nobody does."""
    return _here.recorder


def check_recorded(name: str, *arrays: Array | None) -> None:
    """While a step is recorded: CaptureError, which begins with `name`, for what is not filled by compiled loops."""
    if _here.recorder is not None:
        for array in arrays:
            if array is not None:
                _here.recorder.check(name, array)


class _Spans:
    """Stretches of memory, joined where they touch."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """The bytes from `start` to below `stop`."""
        first = bisect_right(self._stops, start - 1)
        last = bisect_right(self._starts, stop)
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        self._starts[first:last], self._stops[first:last] = [start], [stop]

    def covers(self, start: int, stop: int) -> bool:
        """Whether all of these bytes are in one of the stretches."""
        place = bisect_right(self._starts, start) - 1
        return start == stop or (place >= 0 and stop <= self._stops[place])


def _span(array: np.ndarray) -> tuple[int, int]:
    """Where the memory of an array begins and ends."""
    low, high = np.lib.array_utils.byte_bounds(array)
    return int(low), int(high)


def _is_constant(array: np.ndarray) -> bool:
    """Whether nobody can write to it, nor to what it is a view of."""
    one: Any = array
    while isinstance(one, np.ndarray):
        if one.flags.writeable:
            return False
        one = one.base
    return True


def _arrays_in(result: Any) -> list[Array]:
    """The arrays that a step returned: one, or a tensor, or several."""
    if isinstance(result, list | tuple):
        return [array for one in result for array in _arrays_in(one)]
    array = result if isinstance(result, np.ndarray) else getattr(result, "data", None)
    return [] if array is None else [array]


def _shift(arrays: Iterable[np.ndarray]) -> None:
    """Move all floats a little away from zero: what is 0 now may hide a sum that is not in the list."""
    for array in arrays:
        if array.dtype.kind == "f":
            steps = 1 + np.arange(array.size, dtype=np.uint32).reshape(array.shape) * np.uint32(2654435769) / 2**32
            array += np.copysign(1e-3 * steps, array).astype(array.dtype)


def _restore(arrays: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> None:
    for array, value in zip(arrays, values, strict=True):
        array[...] = value


def _compare(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    for array, wanted in zip(found, expected, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(wanted).all():
            raise CaptureError("the step gives numbers that are not finite, so its recording cannot be tried out")
        if array.tobytes() != wanted.tobytes():
            raise CaptureError("a replay gives something else than the step: NumPy works there beside compiled loops")
