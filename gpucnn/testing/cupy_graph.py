"""The stand-in's streams, events and graphs: what a stream is asked for in a capture is noted, and done when the graph is launched.

Work is done when it is asked for, one stream after another, so a missing event shows nowhere but in a capture. What does
show: memory of a graph that the graph does not write itself, as it is poisoned before each launch; what CUDA and CuPy refuse
in a capture, in their words; and, as an error of our own, memory that is not there any more when the graph is launched.
"""

import itertools
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import numpy as np

from gpucnn.errors import KernelError
from gpucnn.testing.cupy_array import poison
from gpucnn.testing.cupy_memory import Allocation, Books, CUDARuntimeError
from gpucnn.testing.operation_log import Kind

ILLEGAL = "cudaErrorIllegalState: the operation cannot be performed in the present state"
UNSUPPORTED = "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
INVALIDATED = "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture"
UNJOINED = "cudaErrorStreamCaptureUnjoined: capturing stream has unjoined work"
ISOLATION = "cudaErrorStreamCaptureIsolation: dependency created on uncaptured work in another stream"
IMPLICIT = (
    "cudaErrorStreamCaptureImplicit: operation would make the legacy stream depend on a capturing blocking stream"
)
CAPTURED_EVENT = "cudaErrorCapturedEvent: operation not permitted on an event last recorded in a capturing stream"

_LAG = 2
"""So many launches of graphs later what a device was asked for is done, if nobody waits for it before."""


class Capture:
    """What one stream, and those that wait for it, are asked for from `begin_capture` to `end_capture`."""

    def __init__(self, cupy: Any, origin: "Stream") -> None:
        self.cupy, self.origin = cupy, origin
        self.streams = [origin]
        self.unjoined: dict[Stream, int] = {}
        """Streams whose work the first one does not wait for, and how many pieces of work there were then."""
        self.work: list[Callable[[], object]] = []
        self.names: list[str] = []
        self.memory: list[np.ndarray] = []
        self.pools: list[Books] = []
        self.inputs: dict[int, weakref.ref[Allocation]] = {}
        self.valid = True

    def ask(self, kind: Kind, name: str) -> None:
        """Note an operation; or refuse it, as CuPy does."""
        if kind in ("upload", "download"):
            direction = "H2D" if kind == "upload" else "D2H"
            raise RuntimeError(f"the current stream is capturing, so {direction} transfers are disallowed")
        if kind == "synchronize":
            self.fail(UNSUPPORTED)
        self.names.append(name)

    def fail(self, message: str) -> None:
        """Refuse, as CUDA does, whose capture cannot go on after that."""
        self.valid = False
        raise CUDARuntimeError(message)

    def note(self, stream: "Stream", work: Callable[[], object]) -> None:
        """`work` is to be done at each launch."""
        self.work.append(work)
        if stream is not self.origin:
            self.unjoined[stream] = len(self.work)

    def adopt(self, hidden: np.ndarray, books: Books) -> None:
        """The memory of an array that was made in the capture. Zeros until its end: indices that will be found there are in bounds."""
        if books is self.cupy._pool._books:
            raise KernelError(
                f"an array of {hidden.nbytes} bytes was made in a capture from the default pool, which gives its memory to others "
                "as soon as the array is gone; capture inside cupy.cuda.using_allocator(pool.malloc), with a pool of the graph's own"
            )
        hidden.fill(0)
        self.memory.append(hidden)
        if books not in self.pools:
            self.pools.append(books)

    def touch(self, block: Allocation) -> None:
        """Work will be done on this memory: if it is not the graph's own it must be there at each launch."""
        if block.books not in self.pools:
            self.inputs[id(block)] = weakref.ref(block)

    def end(self) -> None:
        """The streams are as before."""
        self.cupy._captures.remove(self)
        for stream in self.streams:
            stream._capture = None
        for hidden in self.memory:
            hidden.fill(poison(hidden.dtype))


class Graph:
    """`cupy.cuda.Graph`."""

    _captured: Capture

    def __init__(self) -> None:
        raise NotImplementedError(
            "currently this class cannot be initiated by the user and must be created via stream capture"
        )

    @classmethod
    def _of(cls, capture: Capture) -> Self:
        graph = cls.__new__(cls)
        graph._captured = capture
        return graph

    def launch(self, stream: "Stream | None" = None) -> None:
        cupy = self._captured.cupy
        cupy._ask("launch", "graph", (len(self._captured.names),))
        cupy._do(self._run)
        cupy._copies.launched()

    def upload(self, stream: "Stream | None" = None) -> None:
        """Nothing is gained by it here."""

    def _run(self) -> None:
        captured = self._captured
        if any(books.closed for books in captured.pools):
            raise KernelError(
                "a graph was launched whose memory pool is gone, and with it the memory it works on; "
                "keep the pool as long as the graph"
            )
        if any(block() is None for block in captured.inputs.values()):
            raise KernelError(
                "a graph was launched that works on an array from before the capture, and that array is gone; "
                "keep it as long as the graph"
            )
        for hidden in captured.memory:
            hidden.fill(poison(hidden.dtype))
        with np.errstate(all="ignore"):
            for work in captured.work:
                work()


class Event:
    """`cupy.cuda.Event`."""

    _cupy: ClassVar[Any]

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._seconds: float | None = None
        self._timed = not disable_timing
        self._device = self._cupy._current.index
        self._recorded: int | None = None
        """How many graphs had been launched then; None if it was not recorded."""
        self._captured: tuple[Capture, Stream, int] | None = None

    def record(self, stream: "Stream | None" = None) -> None:
        if self._device != self._cupy._current.index:  # a stream of another device, which CUDA refuses
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
        stream = self._cupy._stream() if stream is None else stream
        capture = stream._capture
        self._captured = None if capture is None else (capture, stream, len(capture.work))
        self._seconds = time.perf_counter() if self._timed and capture is None else None
        self._recorded = self._cupy._copies.launches

    @property
    def done(self) -> bool:
        if self._captured is not None:
            return False
        return self._recorded is None or self._cupy._copies.launches - self._recorded >= _LAG

    def synchronize(self) -> None:
        if self._captured is not None:
            raise CUDARuntimeError(CAPTURED_EVENT)
        self._cupy.operation_log.add("synchronize", "Event.synchronize")
        if self._recorded is not None:
            self._cupy._copies.arrived(self._recorded)
            self._recorded = None


def elapsed_time(start_event: Event, end_event: Event) -> float:
    """`cupy.cuda.get_elapsed_time`."""
    if start_event._seconds is None or end_event._seconds is None:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
    return (end_event._seconds - start_event._seconds) * 1000


class Stream:
    """`cupy.cuda.Stream`. All work is done when a call returns, or, in a capture, noted."""

    _cupy: ClassVar[Any]
    null: ClassVar["Stream"]
    _numbers = itertools.count(1)

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        self.ptr = 0 if null else next(self._numbers) << 12
        self.device_id = -1 if null else self._cupy._current.index
        self.is_non_blocking = non_blocking and not null
        self._capture: Capture | None = None

    def __enter__(self) -> Self:
        current, device = self._cupy._current, self._own_device()
        current.streams_before.append((device, self._cupy._stream()))
        current.streams[device] = self
        return self

    def __exit__(self, *_: object) -> None:
        device, before = self._cupy._current.streams_before.pop()
        self._cupy._current.streams[device] = before

    def use(self) -> Self:
        self._cupy._current.streams[self._own_device()] = self
        return self

    def _own_device(self) -> int:
        index: int = self._cupy._current.index
        if self.device_id not in (-1, index):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device ({index})"
            )
        return index

    def synchronize(self) -> None:
        self._in_capture_fail(UNSUPPORTED)
        self._cupy.operation_log.add("synchronize", "Stream.synchronize")
        self._cupy._copies.arrived()

    @property
    def done(self) -> bool:
        if self._capture is not None:
            self._capture.valid = False
        return self._capture is None

    def record(self, event: Event | None = None) -> Event:
        event = self._cupy.cuda.Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Of interest in a capture alone: it goes on in a stream that waits for it, and must end in the first one."""
        if event._captured is None:
            if self._capture is not None and event._recorded is not None:
                self._capture.fail(ISOLATION)
            return
        capture, stream, when = event._captured
        if self._capture is None:
            self._capture = capture
            capture.streams.append(self)
        if capture.unjoined.get(stream, when + 1) <= when:
            del capture.unjoined[stream]
            if self is not capture.origin:
                capture.unjoined[self] = when

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self._capture is not None:
            raise CUDARuntimeError(ILLEGAL)
        self._capture = Capture(self._cupy, self)
        self._cupy._captures.append(self._capture)

    def end_capture(self) -> Graph:
        capture = self._capture
        if capture is None or capture.origin is not self:
            raise CUDARuntimeError(ILLEGAL)
        capture.end()
        if not capture.valid:
            raise CUDARuntimeError(INVALIDATED)
        if capture.unjoined:
            raise CUDARuntimeError(UNJOINED)
        graph: Graph = self._cupy.cuda.Graph._of(capture)
        return graph

    def is_capturing(self) -> bool:
        if self._capture is not None and not self._capture.valid:
            raise RuntimeError("the stream was capturing, but an error has invalidated the capture sequence")
        return self._capture is not None

    def _in_capture_fail(self, message: str) -> None:
        """The legacy default stream cannot wait for a stream that captures, unless that is a non-blocking one."""
        if self._capture is not None:
            self._capture.fail(message)
        for capture in self._cupy._captures if self.ptr == 0 else ():
            if not capture.origin.is_non_blocking and capture.origin.device_id == self._cupy._current.index:
                capture.fail(IMPLICIT)

    def _asked(self) -> Capture | None:
        """The capture that gets what this stream is asked for; None if the device does it at once."""
        if self._capture is None:
            self._in_capture_fail(UNSUPPORTED)
        elif not self._capture.valid:
            raise CUDARuntimeError(INVALIDATED)
        return self._capture

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __repr__(self) -> str:
        return f"<Stream {self.ptr} (device {self.device_id})>"


class PinnedCopies:
    """Copies from pinned memory that may be under way: what they read must stay as it is until they have arrived."""

    def __init__(self) -> None:
        self.launches = 0
        """How many graphs were launched so far."""
        self._pinned: list[weakref.ref[np.ndarray]] = []
        self._under_way: list[tuple[int, np.ndarray, np.ndarray]] = []

    def allocate(self, size: int) -> np.ndarray:
        """`cupy.cuda.alloc_pinned_memory`: bytes, as far as `np.frombuffer` can tell."""
        memory = np.full(size, 0xAA, np.uint8)
        self._pinned = [*self._living(), weakref.ref(memory)]
        return memory

    def _living(self) -> Iterator[weakref.ref[np.ndarray]]:
        return (pinned for pinned in self._pinned if pinned() is not None)

    def begin(self, source: np.ndarray) -> None:
        """A copy from `source` begins. One from other memory has been made when the call returns."""
        if any(np.may_share_memory(pinned(), source) for pinned in self._living()):
            self._under_way.append((self.launches, source, source.copy()))
        self._check()

    def launched(self) -> None:
        """A graph was launched."""
        self.launches += 1
        self._check()
        self._under_way = [copy for copy in self._under_way if self.launches - copy[0] < _LAG]

    def arrived(self, launches: int | None = None) -> None:
        """All copies, or those up to that launch, have arrived: somebody has waited for them."""
        self._check()
        self._under_way = [copy for copy in self._under_way if launches is not None and copy[0] > launches]

    def _check(self) -> None:
        changed = [copy for copy in self._under_way if copy[1].tobytes() != copy[2].tobytes()]
        if changed:
            self._under_way = [
                copy for copy in self._under_way if copy[1].tobytes() == copy[2].tobytes()
            ]  # each is told once
            raise KernelError(
                "pinned memory was written to while a copy from it may be under way; "
                "wait for an event that was recorded after the copy, or take other memory"
            )
