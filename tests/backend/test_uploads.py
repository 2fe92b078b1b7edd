"""Uploads beside a GPU's work: what arrives, what waits for what, and that nobody waits for more."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn.backend import choose_device
from gpucnn.backend.uploads import PLACES, Uploads
from gpucnn.testing.cupy_array import DeviceArray
from tests.backends import Backend, emulated_cupy, host

HOST = "host"


class Times:
    """What has happened before what: how far the host and each stream know of one another (vector clocks).

    Two accesses to the same memory, of which one writes, must be in an order that events make, whatever a GPU does first.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[Any, dict[Any, int]] = defaultdict(lambda: defaultdict(int))
        self.events: dict[int, dict[Any, int]] = {}
        self.accesses: dict[int, list[tuple[Any, int, bool]]] = defaultdict(list)
        self.waits = 0
        cuda, empty, times = emulated_cupy().cuda, emulated_cupy().empty, self
        wait_event, record, synchronize, put = (
            cuda.Stream.wait_event, cuda.Event.record, cuda.Event.synchronize, DeviceArray.set
        )  # fmt: skip

        def noted_wait(stream: Any, event: Any) -> None:
            times.learn(stream.ptr, times.events.get(id(event), {}))
            wait_event(stream, event)

        def noted_record(event: Any, stream: Any = None) -> None:
            record(event, stream)
            there = cuda.get_current_stream() if stream is None else stream
            times.learn(there.ptr, times.known[HOST])
            times.events[id(event)] = dict(times.known[there.ptr])

        def noted_synchronize(event: Any) -> None:
            times.waits += 1
            times.learn(HOST, times.events.get(id(event), {}))
            synchronize(event)

        def noted_set(array: Any, values: np.ndarray) -> None:
            stream = cuda.get_current_stream().ptr
            times.access(stream, values, writes=False)
            times.access(stream, array._hidden, writes=True)
            put(array, values)

        def noted_empty(*arguments: Any) -> Any:
            """Memory of a pool: who had it before may still write to it, in this stream."""
            array = empty(*arguments)
            times.access(cuda.get_current_stream().ptr, array._hidden, writes=True)
            return array

        monkeypatch.setattr(emulated_cupy(), "empty", noted_empty)
        monkeypatch.setattr(cuda.Stream, "wait_event", noted_wait)
        monkeypatch.setattr(cuda.Event, "record", noted_record)
        monkeypatch.setattr(cuda.Event, "synchronize", noted_synchronize)
        monkeypatch.setattr(cuda.Event, "done", property(lambda event: id(event) not in times.events))
        monkeypatch.setattr(DeviceArray, "set", noted_set)

    def learn(self, who: Any, others: dict[Any, int]) -> None:
        for other, time in list(others.items()):
            self.known[who][other] = max(self.known[who][other], time)

    def access(self, who: Any, array: np.ndarray, writes: bool) -> None:
        """AssertionError if one that must come before may come after."""
        if who != HOST:
            self.learn(who, self.known[HOST])
        own = self.known[who]
        own[who] += 1
        before = self.accesses[array.__array_interface__["data"][0]]
        for other, time, wrote in before:
            assert not (writes or wrote) or own[other] >= time, (
                f"{who} may {'write' if writes else 'read'} before {other} is done"
            )
        before.append((who, own[who], writes))


def filled(times: Times, number: int) -> Callable[[np.ndarray], None]:
    def fill(place: np.ndarray) -> None:
        times.access(HOST, place, writes=True)
        place[:] = number

    return fill


def test_what_must_come_before_comes_before(gpu: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    if gpu.name != "emulated":
        pytest.skip("only the stand-in can be looked into")
    times, uploads = Times(monkeypatch), Uploads(choose_device("cuda").device)
    stream = emulated_cupy().cuda.Stream(non_blocking=True)
    for number, size in enumerate([5, 5, 5, 5, 5, 5, 3, 5, 9, 9, 9, 9, 2]):
        before = times.waits
        with stream, uploads.sent(size, filled(times, number)) as there:
            times.access(stream.ptr, there._hidden, writes=False)
            assert host(there).tolist() == [number] * size
        known = number % 8 >= PLACES  # before, nothing is under way from that place; a larger one is a new beginning
        assert times.waits - before == (2 * PLACES if size == 9 and number == 8 else known)
    assert len(times.accesses) >= 2 * PLACES, "of three places, here and there"


def test_nothing_is_waited_for_when_it_goes(gpu: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what may still be written to: the last uploads, and who reads them."""
    if gpu.name != "emulated":
        pytest.skip("only the stand-in can be looked into")
    times = Times(monkeypatch)
    uploads = Uploads(choose_device("cuda").device)
    with uploads.sent(4, filled(times, 1)):
        pass
    assert times.waits == 0
    del uploads
    assert times.waits == 2 * PLACES


def test_an_upload_that_fails_leaves_the_others(gpu: Backend) -> None:
    uploads = Uploads(choose_device(gpu.device_name).device)

    def fails(place: np.ndarray) -> None:
        raise ValueError("no such image")

    for number in range(2 * PLACES):
        with pytest.raises(ValueError, match="no such image"), uploads.sent(3, fails):
            pass
        with uploads.sent(3, lambda place, number=number: place.fill(number)) as there:
            assert host(there).tolist() == [number] * 3


def test_nothing_can_be_sent(gpu: Backend) -> None:
    uploads = Uploads(choose_device(gpu.device_name).device)
    for size in (0, 2, 0):
        with uploads.sent(size, lambda place: place.fill(7)) as there:
            assert host(there).tolist() == [7] * size
