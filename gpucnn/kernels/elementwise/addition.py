"""The sum of two arrays: residual connections, and gradients that meet."""

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut, parallel
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.elementwise import addition_loops
from gpucnn.kernels.elementwise.bias_relu import rectify
from gpucnn.kernels.elementwise.bias_relu import relu as rectified


def add(a: Array, b: Array, relu: bool = False) -> Array:
    """a + b, broadcast, and with `relu` 0 where that is negative.

    On a CPU, where both are alike, by all threads into memory that is used again.
    """
    if not _are_alike(a, b):
        return rectified(a + b) if relu else a + b
    total = empty_like(a)
    flat = [array.reshape(-1) for array in (a, b, total)]
    parts = cut(a.size, ELEMENT)
    if ways.compiles(a):
        loop.run(addition_loops.add(relu), a.size, flat, parts)
        return total

    def add_part(number: int) -> None:
        first, second, sums = (array[parts[number]] for array in flat)
        np.add(first, second, out=sums)
        if relu:
            rectify(sums, sums)

    parallel(add_part, len(parts))
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
