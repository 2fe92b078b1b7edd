"""Memory for arrays on the CPU that is used again: pages that are fresh from the system cost more than arithmetic on them.

A block of memory goes back to the pool when the last array that looks at it is gone, so no array that anybody can still see
is ever overwritten.
"""

import math
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import numpy as np

from gpucnn.backend.array_module import Array, xp_of
from gpucnn.checks import Shape

LEAST_BYTES = 128 << 10
"""Smaller arrays come from the system's own allocator, which keeps them, too."""

PAGE = 4096
"""Sizes are rounded up to whole pages, so that blocks fit again for arrays that differ by little."""

LEAST_MAPPED = 2 << 20
"""Bytes of a huge page, which costs one fault instead of 512."""

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


def empty_beside(like: Array, shape: Shape) -> Array:
    """An array of `shape` where `like` lives, of its dtype; on a GPU from CuPy's own pool."""
    xp = xp_of(like)
    return empty(shape, like.dtype) if xp is np else xp.empty(shape, like.dtype)


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
    """Free blocks by their size, each with the number of the hand-out after which it became free.

    All blocks together, free or in use, take no more than was once in use at a time: for a new one others go.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a garbage collection within `take` may call `give_back`
        self._free: dict[int, list[tuple[int, np.ndarray]]] = {}
        self._handed_out = 0
        self._free_bytes = self._used_bytes = self._most_used_bytes = 0

    def take(self, size: int) -> np.ndarray:
        with self._lock:
            self._handed_out += 1
            if self._handed_out % UNUSED_AFTER == 0:
                self._drop_unused()
            self._used_bytes += size
            self._most_used_bytes = max(self._most_used_bytes, self._used_bytes)
            blocks = self._free.get(size)
            if blocks:
                self._free_bytes -= size
                return blocks.pop()[1]
            self._make_room()
        return _fresh(size)

    def give_back(self, block: np.ndarray) -> None:
        with self._lock:
            self._used_bytes -= block.size
            self._free_bytes += block.size
            self._free.setdefault(block.size, []).append((self._handed_out, block))

    def clear(self) -> None:
        with self._lock:
            self._free.clear()
            self._free_bytes, self._most_used_bytes = 0, self._used_bytes

    def begin_anew(self) -> None:
        """In a forked child, where the thread that may have held the lock is gone."""
        self._lock = threading.RLock()

    def _make_room(self) -> None:
        """Drop free blocks, those first that are free the longest, until all together are few enough."""
        while self._free_bytes and self._used_bytes + self._free_bytes > self._most_used_bytes:
            size = min((size for size, blocks in self._free.items() if blocks), key=lambda size: self._free[size][0][0])
            self._free[size].pop(0)
            self._free_bytes -= size

    def _drop_unused(self) -> None:
        oldest = self._handed_out - UNUSED_AFTER
        for size, blocks in list(self._free.items()):
            self._free[size] = [one for one in blocks if one[0] >= oldest]
        self._free_bytes = sum(size * len(blocks) for size, blocks in self._free.items())
        self._most_used_bytes = self._used_bytes


def _fresh(size: int) -> np.ndarray:
    """A block from the system. A large one is a mapping of its own: it ends with the block, and leaves no holes behind."""
    if size < LEAST_MAPPED or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.empty(size, np.uint8)
    mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system without huge pages
            mapping.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapping, np.uint8)


def _rounded(nbytes: int) -> int:
    return -(-nbytes // PAGE) * PAGE


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.begin_anew)
