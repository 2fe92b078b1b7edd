"""Memory for arrays on the CPU that is used again: pages that are fresh from the system cost more than arithmetic on them.

A span of memory goes back to the pool when the last array that looks at it is gone, so no array that anybody can still see
is ever overwritten.
"""

import math
import mmap
import os
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn.backend.arrays import Array, xp_of
from gpucnn.checks import Shape

LEAST_BYTES = 128 << 10
"""Smaller arrays come from the system's own allocator, which keeps them, too. Measured by `gpucnn bench`."""

PAGE = 4096
"""Sizes are rounded up to whole pages."""

LEAST_REGION = 2 << 20
"""Bytes of a huge page, which costs one fault instead of 512."""

UNUSED_AFTER = 4096
"""A region is given back to the system once this number of spans was handed out without it."""


def empty(shape: Shape, dtype: Any) -> np.ndarray:
    """A new array (numpy.ndarray), contiguous, with anything in it. Like `numpy.empty`, but its memory may be that of earlier arrays."""
    dtype = np.dtype(dtype)
    nbytes, pool = int(math.prod(shape)) * dtype.itemsize, _here.get()
    if pool is None or nbytes < pool.least_bytes:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, np.asarray(pool.take(_rounded(nbytes))).data)


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
    with _from(None):
        yield


@contextmanager
def own_memory(memory: "OwnMemory") -> Iterator[None]:
    """Inside, this thread's new arrays lie in `memory`, which is used again for them alone."""
    with _from(memory):
        yield


@contextmanager
def _from(pool: "_Pool | None") -> Iterator[None]:
    token = _here.set(pool)
    try:
        yield
    finally:
        _here.reset(token)


class _Lease:
    """A span of memory while arrays look at it: they keep it alive, and with the last of them it ends."""

    __slots__ = ("__array_interface__", "_memory", "_pool", "_span")

    def __init__(self, pool: "_Pool", span: "_Span", memory: np.ndarray, interface: dict[str, Any]) -> None:
        self._pool, self._span, self._memory, self.__array_interface__ = pool, span, memory, interface

    def __del__(self) -> None:
        self._pool.returned.append((self._span, self._memory, self.__array_interface__))


_Parts: TypeAlias = "tuple[_Span, np.ndarray, dict[str, Any]]"
"""What a lease is made of: the span, its memory, and how NumPy finds it."""


class _Span(NamedTuple):
    """A part of a region, free or handed out. Spans sort by size."""

    size: int
    region: int
    start: int


class _Pool:
    """Regions of memory, cut into spans. A span is taken from the smallest free one that holds it; neighbours are joined.

    Regions together take no more than was once in use at a time, as far as those go that are free as a whole: for a new
    one they go, the one first that is free the longest.
    """

    least_bytes = LEAST_BYTES

    def __init__(self) -> None:
        self.returned: deque[_Parts] = deque()
        """What leases that ended were made of. The collector of garbage may append some at any moment, also in `take`."""
        self._waiting: dict[int, list[_Parts]] = {}
        """The same by size, since spans were joined last."""
        self._lock = threading.Lock()
        self._regions: dict[int, np.ndarray] = {}
        self._idle_since: dict[int, int] = {}
        """The number of the hand-out after which nothing of a region was in use any more."""
        self._free: list[_Span] = []
        self._by_start: dict[tuple[int, int], _Span] = {}
        self._by_end: dict[tuple[int, int], _Span] = {}
        self._handed_out = self._region_number = 0
        self._used_bytes = self._most_used_bytes = self._region_bytes = 0

    def take(self, size: int) -> _Lease:
        with self._lock:
            self._handed_out += 1
            if self._handed_out % UNUSED_AFTER == 0:
                self._settle()
                self._drop_unused()
            self._collect()
            if waiting := self._waiting.get(size):  # a step that is repeated asks for the same sizes again
                return _Lease(self, *waiting.pop())
            self._settle()
            self._used_bytes += size
            self._most_used_bytes = max(self._most_used_bytes, self._used_bytes)
            place = bisect_left(self._free, (size,))
            free = self._free[place] if place < len(self._free) else self._grow(size)
            self._remove(free)
            if free.size > size:
                self._insert(_Span(free.size - size, free.region, free.start + size))
            memory = self._regions[free.region][free.start : free.start + size]
            return _Lease(self, _Span(size, free.region, free.start), memory, memory.__array_interface__)

    def clear(self) -> None:
        """Give up all regions that are free as a whole."""
        with self._lock:
            self._settle()
            for number in self._idle_regions():
                self._drop(number)
            self._most_used_bytes = self._used_bytes

    def free_bytes(self) -> int:
        """What is there and not in use."""
        with self._lock:
            self._settle()
            return self._region_bytes - self._used_bytes

    def begin_anew(self) -> None:
        """In a forked child, where the thread that may have held the lock is gone."""
        self._lock = threading.Lock()

    def _settle(self) -> None:
        """Join spans that came back with free neighbours."""
        self._collect()
        for waiting in self._waiting.values():
            for span, *_ in waiting:
                self._join(span)
        self._waiting.clear()

    def _collect(self) -> None:
        while self.returned:
            parts = self.returned.popleft()
            self._waiting.setdefault(parts[0].size, []).append(parts)

    def _join(self, span: _Span) -> None:
        size, region, start = span
        self._used_bytes -= size
        before, after = self._by_end.get((region, start)), self._by_start.get((region, start + size))
        if before is not None:
            self._remove(before)
            start, size = before.start, size + before.size
        if after is not None:
            self._remove(after)
            size += after.size
        self._insert(_Span(size, region, start))
        if size == self._regions[region].size:
            self._idle_since[region] = self._handed_out

    def _grow(self, size: int) -> _Span:
        """A new region, for a span of `size` at least, after idle ones are given back to the system as far as needed."""
        size = max(size, LEAST_REGION)
        for number in self._idle_regions():
            if self._region_bytes + size <= self._most_used_bytes:
                break
            self._drop(number)
        self._region_number += 1
        self._regions[self._region_number], self._idle_since[self._region_number] = _fresh(size), 0
        self._region_bytes += size
        span = _Span(size, self._region_number, 0)
        self._insert(span)
        return span

    def _drop_unused(self) -> None:
        for number in self._idle_regions():
            if self._idle_since[number] < self._handed_out - UNUSED_AFTER:
                self._drop(number)
        self._most_used_bytes = self._used_bytes

    def _idle_regions(self) -> list[int]:
        """The regions that are free as a whole, those first that are so the longest."""
        whole = [span.region for span in self._free if span.size == self._regions[span.region].size]
        return sorted(whole, key=self._idle_since.__getitem__)

    def _drop(self, number: int) -> None:
        size = self._regions.pop(number).size
        del self._idle_since[number]
        self._region_bytes -= size
        self._remove(_Span(size, number, 0))

    def _insert(self, span: _Span) -> None:
        insort(self._free, span)
        self._by_start[span.region, span.start] = span
        self._by_end[span.region, span.start + span.size] = span

    def _remove(self, span: _Span) -> None:
        del self._free[bisect_left(self._free, span)]
        del self._by_start[span.region, span.start]
        del self._by_end[span.region, span.start + span.size]


class OwnMemory(_Pool):
    """The memory of a recorded step: of every array in it, however small, and none goes back while this is alive.

    What replays the step finds each array where it was. Arrays that are gone make room for later ones of the same step:
    a replay uses the memory in the same order.
    """

    least_bytes = 1

    def spans(self) -> list[np.ndarray]:
        """All of it, as arrays of bytes."""
        return list(self._regions.values())

    def _idle_regions(self) -> list[int]:
        return []


def _fresh(size: int) -> np.ndarray:
    """A region from the system: a mapping of its own, which ends with it and leaves no holes behind."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.empty(size, np.uint8)
    try:
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"Unable to allocate {size:,} bytes ({error.strerror})") from None
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system without huge pages
            mapping.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapping, np.uint8)


def _rounded(nbytes: int) -> int:
    return -(-nbytes // PAGE) * PAGE


_pool = _Pool()
_here: ContextVar[_Pool | None] = ContextVar("pool", default=_pool)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.begin_anew)
