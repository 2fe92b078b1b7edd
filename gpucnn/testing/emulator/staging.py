"""Memory in which arrays lie far apart.

NumPy puts arrays side by side, so that an access beyond one may well hit another, which no check could hold against it.
In mode "check" a kernel therefore works on copies with a wide gap around each.
"""

import ctypes
import mmap
from collections.abc import Sequence

from gpucnn.testing.emulator.arguments import MemoryRange

GAP = 4 << 20
"""Bytes on either side of an array. They are addresses only: memory is used where there are arrays."""

_ALIGNMENT = 256


class Staging:
    """Copies of a launch's arrays. It is used again and again: one launch at a time."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._start = self._size = 0

    def copy_in(self, ranges: Sequence[MemoryRange]) -> list[MemoryRange]:
        """Copies the arrays; returns where the copies lie. Alignment stays what it was."""
        self._reserve(sum(item.size for item in ranges) + (len(ranges) + 1) * (GAP + 2 * _ALIGNMENT))
        staged = []
        free = self._start + GAP
        for item in ranges:
            address = -(-free // _ALIGNMENT) * _ALIGNMENT + item.address % _ALIGNMENT
            ctypes.memmove(address, item.address, item.size)
            staged.append(item._replace(address=address))
            free = address + item.size + GAP
        return staged

    def copy_out(self, ranges: Sequence[MemoryRange], staged: Sequence[MemoryRange]) -> None:
        """Copies back what the kernel may have written."""
        for item, copy in zip(ranges, staged, strict=True):
            if not item.is_const:
                ctypes.memmove(item.address, copy.address, item.size)

    def _reserve(self, size: int) -> None:
        if size > self._size:
            size = max(size, 2 * self._size)
            self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
            self._size = size
