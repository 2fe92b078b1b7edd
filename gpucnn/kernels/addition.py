"""The sum of two arrays: residual connections, and gradients that meet."""

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut, parallel


def add(a: Array, b: Array) -> Array:
    """a + b, broadcast; on a CPU, where both are alike, by all threads into memory that is used again."""
    if not _are_alike(a, b):
        return a + b
    total = empty_like(a)
    flat = [array.reshape(-1) for array in (a, b, total)]
    parts = cut(a.size, ELEMENT)
    parallel(
        lambda number: np.add(flat[0][parts[number]], flat[1][parts[number]], out=flat[2][parts[number]]), len(parts)
    )
    return total


def _are_alike(a: Array, b: Array) -> bool:
    arrays = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
    return (
        arrays
        and a.ndim > 0
        and a.shape == b.shape
        and a.dtype == b.dtype
        and a.flags.c_contiguous
        and b.flags.c_contiguous
    )
