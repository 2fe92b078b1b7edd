"""Memory for arrays on the CPU that is used again: pages that are fresh from the system cost more than arithmetic on them.

A block of memory goes back to the pool when the last array that looks at it is gone, so no array that anybody can still see
is ever overwritten.
"""

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from gpucnn.checks import Shape

LEAST_BYTES = 128 << 10
"""Smaller arrays come from the system's own allocator, which keeps them, too."""

CLASSES_PER_DOUBLING = 16
"""Sizes are rounded up to one of so many steps between a power of two and the next, so that blocks fit again."""

UNUSED_AFTER = 4096
"""A block that so many later blocks were handed out without is given back to the system."""


def empty(shape: Shape, dtype: Any) -> np.ndarray:
    """A new array (numpy.ndarray), contiguous, with anything in it. Like `numpy.empty`, but for where its memory is from."""
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < LEAST_BYTES or not _pooled.get():
        return np.empty(shape, dtype)
    flat = np.asarray(_Lease(_pool.take(_rounded(nbytes))))
    array: np.ndarray = flat[:nbytes].view(dtype).reshape(shape)
    return array


def empty_like(array: np.ndarray) -> np.ndarray:
    """An array of the shape and dtype of another."""
    return empty(array.shape, array.dtype)


def release_memory() -> None:
    """Give all memory that no array uses back to the system."""
    _pool.clear()


@contextmanager
def unpooled() -> Iterator[None]:
    """Inside, every array has memory of its own, so that who counts allocations counts arrays."""
    token = _pooled.set(False)
    try:
        yield
    finally:
        _pooled.reset(token)


_pooled = ContextVar("pooled", default=True)


class _Lease:
    """A block of memory while arrays look at it: they keep it alive, and with the last of them it ends."""

    __slots__ = ("__array_interface__", "_block")

    def __init__(self, block: np.ndarray) -> None:
        self._block = block
        self.__array_interface__ = block.__array_interface__

    def __del__(self) -> None:
        _pool.give_back(self._block)


class _Pool:
    """Free blocks by their size, each with the number of the hand-out after which it became free."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a garbage collection within `take` may call `give_back`
        self._free: dict[int, list[tuple[int, np.ndarray]]] = {}
        self._handed_out = 0

    def take(self, size: int) -> np.ndarray:
        with self._lock:
            self._handed_out += 1
            if self._handed_out % UNUSED_AFTER == 0:
                self._drop_unused()
            blocks = self._free.get(size)
            if blocks:
                return blocks.pop()[1]
        return np.empty(size, np.uint8)

    def give_back(self, block: np.ndarray) -> None:
        with self._lock:
            self._free.setdefault(block.size, []).append((self._handed_out, block))

    def clear(self) -> None:
        with self._lock:
            self._free.clear()

    def begin_anew(self) -> None:
        """In a forked child, where the thread that may have held the lock is gone."""
        self._lock = threading.RLock()

    def _drop_unused(self) -> None:
        oldest = self._handed_out - UNUSED_AFTER
        for size, blocks in list(self._free.items()):
            self._free[size] = [one for one in blocks if one[0] >= oldest]


def _rounded(nbytes: int) -> int:
    step = 1 << max(0, nbytes.bit_length() - 1 - CLASSES_PER_DOUBLING.bit_length() + 1)
    return -(-nbytes // step) * step


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.begin_anew)
