"""Memory on the CPU for what an operation needs only while it runs."""

import math
import threading

import numpy as np

from gpucnn.checks import Shape

LARGEST_KEPT = 4 << 20
"""Bytes that a thread keeps for the next call; more are given back. Measured by `gpucnn bench`."""

_kept = threading.local()


def workspace(shape: Shape, like: np.ndarray) -> np.ndarray:
    """An array of `shape` and the dtype of `like`, with anything in it, until this thread's next call.

    It lies in the same memory each time: pages that are fresh from the system cost more than arithmetic on them. Not for
    arrays that a caller may keep, nor for two at a time.
    """
    size = math.prod(shape) * like.itemsize
    if size > LARGEST_KEPT:
        return np.empty(shape, like.dtype)
    memory: np.ndarray | None = getattr(_kept, "memory", None)
    if memory is None or memory.size < size:
        memory = _kept.memory = np.empty(size, np.uint8)
    return memory[:size].view(like.dtype).reshape(shape)
