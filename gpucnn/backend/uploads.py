"""Bytes on their way to a GPU while it computes: in a stream of their own, from memory of the host that the GPU reads itself."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import cuda
from gpucnn.backend.arrays import Array
from gpucnn.backend.device import Device, current

PLACES = 3
"""One is filled, one is under way, and one is read: the host is so far ahead at most."""


class _Place(NamedTuple):
    """Memory for one upload, here and there."""

    here: np.ndarray
    there: Array
    arrived: Any
    """The event that `here` may be written to."""
    read: Any
    """The event that `there` may be written to."""


class Uploads:
    """Uploads to `device`, in turns from `PLACES` places, which are as large as the largest that was asked for."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._places: list[_Place] = []
        there = current(device)
        with there:
            self._stream = cuda.cupy().cuda.Stream(non_blocking=True)
        weakref.finalize(self, _wait, self._places, there)

    @contextmanager
    def sent(self, size: int, fill: Callable[[np.ndarray], None]) -> Iterator[Array]:
        """`size` bytes on the device, uint8, that `fill` writes into what it is given. They hold until the end of the block.

        Waits for the GPU only where the host is `PLACES` uploads ahead of it. What is asked of the GPU inside, in the current
        stream, comes after the upload.
        """
        with current(self.device):
            if not self._places or self._places[0].here.size < size:
                self._make(max(size, 1))
            place = self._places.pop(0)
            self._places.append(place)
            if not place.arrived.done:
                place.arrived.synchronize()
            fill(place.here[:size])
            own, outer = self._stream, cuda.cupy().cuda.get_current_stream()
            own.wait_event(place.read)
            with own:
                place.there[:size].set(place.here[:size])
            outer.wait_event(own.record(place.arrived))
            try:
                yield place.there[:size]
            finally:
                outer.record(place.read)

    def _make(self, size: int) -> None:
        """Places that are large enough, when nobody needs the old ones any more. On the device, which is the current one."""
        _wait(self._places, current(self.device))
        cupy = cuda.cupy()
        self._places[:] = [
            _Place(
                np.frombuffer(cupy.cuda.alloc_pinned_memory(size), np.uint8, size),
                cupy.empty(size, np.uint8),
                cupy.cuda.Event(disable_timing=True),
                cupy.cuda.Event(disable_timing=True),
            )
            for _ in range(PLACES)
        ]
        for place in self._places:
            place.read.record()  # memory of the pool may still be read, in this stream, by who had it before


def _wait(places: list[_Place], there: AbstractContextManager[Any]) -> None:
    """Until nothing reads the memory of these places, or writes to it; inside `there`, their device is the current one."""
    with there:
        for place in places:
            place.arrived.synchronize()
            place.read.synchronize()
