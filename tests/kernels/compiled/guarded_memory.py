"""Memory for arrays that shows what goes on beyond their ends: a border with a pattern, or pages that nobody may touch."""

import ctypes
import math
import mmap
from typing import Literal, Protocol

import numpy as np

from gpucnn.checks import Shape

PATTERN = 0x7FE5C3E1
"""As a float it is NaN, as an integer larger than every index: what is read there, or was never written, shows."""

BORDER = 4097
"""Numbers before and after an array. They are not even, so that no array is aligned to more than its elements."""


class Guarded(Protocol):
    """Hands out arrays full of `PATTERN`, and knows afterwards whether anything was written beside them."""

    def place(self, shape: Shape, dtype: str) -> np.ndarray:
        """An array of 4-byte elements."""

    def damage(self) -> list[str]:
        """What was written beside the arrays; empty if all is well."""


class Borders:
    """Arrays in the middle of larger ones."""

    def __init__(self) -> None:
        self._buffers: list[tuple[np.ndarray, int]] = []

    def place(self, shape: Shape, dtype: str) -> np.ndarray:
        size = math.prod(shape)
        buffer = np.full(size + 2 * BORDER, PATTERN, np.uint32)
        self._buffers.append((buffer, size))
        return buffer[BORDER : BORDER + size].view(dtype).reshape(shape)

    def damage(self) -> list[str]:
        found = []
        for number, (buffer, size) in enumerate(self._buffers):
            changed = np.flatnonzero(buffer != PATTERN) - BORDER
            outside = [int(place) for place in changed if not 0 <= place < size]
            if outside:
                found.append(f"buffer {number} of {size} numbers was written at {outside[:5]}")
        return found


class Pages:
    """Arrays between two pages that end the process when touched; they lie at the "start" or "end" of what is between."""

    def __init__(self, side: Literal["start", "end"]) -> None:
        self.side = side
        self._spare: list[np.ndarray] = []

    def place(self, shape: Shape, dtype: str) -> np.ndarray:
        size = math.prod(shape)
        inner = max(1, -(-4 * size // mmap.PAGESIZE)) * mmap.PAGESIZE
        memory = mmap.mmap(-1, inner + 2 * mmap.PAGESIZE)
        whole = np.frombuffer(memory, np.uint32)
        whole[...] = PATTERN
        for page in (0, mmap.PAGESIZE + inner):
            _forbid(int(whole.ctypes.data) + page)
        between = whole[mmap.PAGESIZE // 4 : (mmap.PAGESIZE + inner) // 4]
        first = 0 if self.side == "start" else len(between) - size
        self._spare += [between[:first], between[first + size :]]
        return between[first : first + size].view(dtype).reshape(shape)

    def damage(self) -> list[str]:
        return ["the rest of a page was written" for spare in self._spare if (spare != PATTERN).any()]


def _forbid(page: int) -> None:
    """Let every access to the page at this address end the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
