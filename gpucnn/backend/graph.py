"""A step on a GPU as one graph: recorded once, and then replayed by a single call, without Python for each operation.

    with graph.stream(device):              # where the step runs before it is recorded, too
        step(), step()                      # twice at least: what is made at first use is there then
    recorded, loss = graph.Graph.record(step, device)
    for _ in range(steps):
        recorded.replay()                   # now `loss` holds what this step gave, until the next replay

A CUDA graph repeats operations on the same memory. Arrays that a step makes come from a pool of its own, so that nobody
else gets their memory between two replays; those from before, parameters and inputs, must stay alive and in their place.
What the host has to say anew in every step is fed, see `gpucnn.backend.feeds`.
"""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from gpucnn.backend import cublas, cuda, memory
from gpucnn.backend.arrays import Array
from gpucnn.backend.device import Device, current
from gpucnn.backend.feeds import collecting
from gpucnn.errors import CaptureError, GpucnnError

T = TypeVar("T")

MOST_WORDS = 4096
"""What a step can be fed, in words of 8 bytes: far more than rates and the words of random streams take."""

_WORD = 8
_COPIES = 3
"""So many copies to a GPU may be under way before the host waits for the first: it is so far ahead at most."""


class _Lane(NamedTuple):
    stream: Any
    event: Any


class _Lanes(threading.local):
    """The stream of each device in which this thread records, by the device's index."""

    def __init__(self) -> None:
        self.module: ModuleType | None = None
        self.by_device: dict[int, _Lane] = {}

    def of(self, index: int) -> _Lane:
        """Made when first asked for, on the device, which is the current one."""
        cupy = cuda.cupy()
        if cupy is not self.module:  # a stand-in has taken CuPy's place, or left it
            self.module, self.by_device = cupy, {}
        if index not in self.by_device:
            lane = _Lane(cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event(disable_timing=True))
            self.by_device[index] = lane
        return self.by_device[index]


_lanes = _Lanes()


@contextmanager
def stream(device: Device) -> Iterator[None]:
    """Inside, what is done on `device` is done in the stream in which steps are recorded and replayed. Nothing on a CPU.

    It comes after all that was asked of the device before, and before all that is asked of it afterwards; no one waits.
    CUDA cannot record in its default stream. One that other threads' transfers would disturb cannot be used, either: they
    are made in the default stream, for which a blocking stream would wait, and that ends a recording.
    """
    if device.kind == "cpu":
        yield
        return
    with current(device):
        own, event = _lanes.of(device.index)
        outer = cuda.cupy().cuda.get_current_stream()
        if outer == own:
            yield
            return
        own.wait_event(outer.record(event))
        try:
            with own:
                yield
        finally:
            outer.wait_event(own.record(event))


class Graph:
    """A step that was recorded on one GPU. It keeps alive what it works on, but for arrays from before it was recorded."""

    def __init__(self, device: Device, captured: Any, pool: Any, feeds: "_Block", products: cublas.Handle) -> None:
        self.device, self._feeds = device, feeds
        self._kept = {"graph": captured, "pool": pool, "products": products}
        weakref.finalize(self, _drop, self._kept, feeds.copies, cuda.cupy().cuda.Device(device.index))

    @classmethod
    def record(cls, step: Callable[[], T], device: Device) -> tuple[Self, T]:
        """The recording of `step()`, and what it returned. Nothing is done yet: its arrays hold no values before a replay.

        Raises CaptureError, which says what stands against it and where, for a step that cannot be recorded: it reads what
        the GPU has computed, or brings numbers there that are not fed. What else `step` raises, if memory runs out as
        well, comes through. The device can be used as before then.
        """
        memory.release(device)  # what steps before have left: the recording gets memory of its own
        with stream(device):
            cupy = cuda.cupy()
            own, pool, feeds = cupy.cuda.get_current_stream(), cupy.cuda.MemoryPool(), _Block(device)
            products = cublas.prepare()
            collects = gc.isenabled()
            gc.disable()  # what happens to be collected now might wait for the device
            try:
                with _captured(own, device) as found, cupy.cuda.using_allocator(pool.malloc), collecting(feeds):
                    result = step()
            except BaseException:
                memory.drop(pool, cupy.cuda.Device(device.index))
                raise
            finally:
                if collects:
                    gc.enable()
        return cls(device, found[0], pool, feeds, products), result

    def replay(self) -> None:
        """Do the step once more, on what its inputs hold now, with what it is fed now. Does not wait for the GPU."""
        with stream(self.device):
            self._feeds.refresh()
            self._kept["graph"].launch()


@contextmanager
def _captured(own: Any, device: Device) -> Iterator[list[Any]]:
    """Captures what is done inside in the stream `own`; the list then holds CUDA's graph of it."""
    found: list[Any] = []
    own.begin_capture()
    try:
        try:
            yield found
        except BaseException:
            with suppress(Exception):  # whatever CUDA says of a capture that has failed
                own.end_capture()
            raise
        found.append(own.end_capture())
    except GpucnnError:
        raise
    except RuntimeError as error:
        if memory.is_out_of_memory(error):
            raise
        raise CaptureError(_what_failed(error, device)) from error


def _what_failed(error: RuntimeError, device: Device) -> str:
    place = next((f"{note} " for note in getattr(error, "__notes__", [])), "")
    step, line = error.__traceback__, ""
    while step is not None:  # the innermost line that is neither CuPy's nor of this folder
        if not step.tb_frame.f_globals.get("__name__", "").startswith(("cupy", "gpucnn.backend", "gpucnn.testing")):
            code = step.tb_frame.f_code
            line = f"{code.co_name}, {Path(code.co_filename).name}:{step.tb_lineno}"
        step = step.tb_next
    return (
        f"a step on {device} cannot be recorded: {error}; {place}({line}); "
        "read results after the step, give what changes from step to step to backend.fed, or train without a graph"
    )


def _drop(kept: dict[str, Any], copies: "list[_PinnedCopy]", there: Any) -> None:
    """Let go of a graph and then of the memory that it works on, once no copy to it is under way."""
    for copy in copies:
        copy.wait()
    del kept["graph"]
    memory.drop(kept.pop("pool"), there)


class _PinnedCopy(NamedTuple):
    """Memory of the host that the GPU reads itself, and the event that it has been read."""

    words: np.ndarray
    arrived: Any

    def wait(self) -> None:
        """Until it may be written to."""
        if not self.arrived.done:
            self.arrived.synchronize()


class _Block:
    """What a recording is fed: one array on the GPU, whose slices the step has, and copies of it on the host.

    Before a replay it is brought there by one asynchronous copy, if anything has changed. The copies lie in memory that
    the GPU reads itself, so that none may be written to while it is on its way: they take turns.
    """

    def __init__(self, device: Device) -> None:
        cupy = cuda.cupy()
        self._device, self._words, self._array = device, 0, cupy.empty(MOST_WORDS, np.uint64)
        self._parts: list[tuple[slice, np.dtype, tuple[int, ...], Callable[[], np.ndarray]]] = []
        self.copies = [
            _PinnedCopy(
                np.frombuffer(cupy.cuda.alloc_pinned_memory(MOST_WORDS * _WORD), np.uint64, MOST_WORDS),
                cupy.cuda.Event(disable_timing=True),
            )
            for _ in range(_COPIES)
        ]
        self._latest: np.ndarray | None = None

    def add(self, values: Callable[[], np.ndarray], device: Device) -> Array:
        """See `Feeds`. `values` is called now, for shape and dtype, and before every replay: it must change nothing."""
        host = np.asarray(values())
        words = -(-host.nbytes // _WORD)
        if device != self._device:
            raise CaptureError(
                f"a step that is recorded on {self._device} is fed an array on {device}; keep all of it on one device"
            )
        if self._words + words > MOST_WORDS:
            raise CaptureError(
                f"a step can be fed {MOST_WORDS * _WORD:,} bytes, and it has {self._words * _WORD:,} when {host.nbytes:,} "
                f"more are to come; give large arrays as inputs, which are written to before a replay"
            )
        place = slice(self._words, self._words + words)
        self._words += words
        self._parts.append((place, host.dtype, host.shape, values))
        return self._array[place].view(host.dtype)[: host.size].reshape(host.shape)

    def refresh(self) -> None:
        """Bring what the step is fed now, in the current stream."""
        if not self._parts:
            return
        fresh = np.zeros(self._words, np.uint64)
        for place, dtype, shape, values in self._parts:
            host = np.asarray(values())
            if (host.dtype, host.shape) != (dtype, shape):
                raise CaptureError(
                    f"a recorded step is fed {host.dtype} {host.shape} where it was fed {dtype} {shape}; record it anew"
                )
            fresh[place].view(dtype)[: host.size] = host.reshape(-1)
        if self._latest is not None and np.array_equal(fresh, self._latest):
            return
        copy = self.copies[0]
        copy.wait()
        copy.words[: self._words] = fresh
        self._array[: self._words].set(copy.words[: self._words])
        copy.arrived.record()
        self._latest = fresh
        self.copies.append(self.copies.pop(0))
