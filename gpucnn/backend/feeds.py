"""Numbers that change from step to step: a learning rate, a dropout's counter, how far a mean has moved.

A step that is recorded, see `gpucnn.backend.graph`, repeats its operations on the same memory. What the host has to say
anew in every step stands in one block of that memory, which is written before each replay.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from gpucnn.backend.arrays import Array
from gpucnn.backend.device import Device, to_device


class Feeds(Protocol):
    """What a recording is fed."""

    def add(self, values: Callable[[], np.ndarray], device: Device) -> Array:
        """An array on `device` that holds `values()` in the recorded step, and in every replay what it gives then."""


class _Here(threading.local):
    feeds: Feeds | None = None


_here = _Here()


@contextmanager
def collecting(feeds: Feeds) -> Iterator[None]:
    """Inside, a step is being recorded: what `fed` is asked for goes to `feeds`."""
    before, _here.feeds = _here.feeds, feeds
    try:
        yield
    finally:
        _here.feeds = before


def recording() -> bool:
    """Whether a step is being recorded, so that its operations will be repeated on the same memory."""
    return _here.feeds is not None


def current_feeds() -> Feeds | None:
    """What the step is fed that is being recorded; None if none is."""
    return _here.feeds


def fed(values: Callable[[], np.ndarray], device: Device) -> Array:
    """`values()` as an array on `device`: copied there now, or, in a step that is recorded, before every replay."""
    return to_device(values(), device) if _here.feeds is None else _here.feeds.add(values, device)
