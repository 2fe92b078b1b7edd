"""Memory for what a kernel needs only while it runs."""

import math
import threading

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape

LARGEST_KEPT = 4 << 20
"""Bytes that a thread keeps for the next call; larger ones are given back."""

_kept = threading.local()


def workspace(shape: Shape, like: Array) -> Array:
    """An array of `shape`, of the dtype and on the device of `like`, with anything in it, until the next call.

    On a CPU it lies in the same memory each time: pages that are fresh from the system cost more than arithmetic on them.
    CuPy keeps a pool of its own. Not for arrays that a caller may keep, nor for two at a time.
    """
    size = math.prod(shape) * like.itemsize
    if not isinstance(like, np.ndarray) or size > LARGEST_KEPT:
        return xp_of(like).empty(shape, like.dtype)
    memory: np.ndarray | None = getattr(_kept, "memory", None)
    if memory is None or memory.size < size:
        memory = _kept.memory = np.empty(size, np.uint8)
    return memory[:size].view(like.dtype).reshape(shape)
