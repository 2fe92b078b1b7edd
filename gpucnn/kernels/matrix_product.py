"""The product of two matrices, on all threads of the CPU."""

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import cut, parallel


def matrix_product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N): (M, N), in `out` if it is given.

    On a CPU rows of `a` are multiplied side by side, each part on one thread: a BLAS of many threads would keep them
    spinning when the next operation wants them.
    """
    xp = xp_of(a, b)
    if xp is not np:
        return xp.matmul(a, b, out=out)
    rows, columns = a.shape[0], b.shape[1]
    product = empty((rows, columns), a.dtype) if out is None else out
    parts = cut(rows, a.shape[1] * columns)
    parallel(lambda number: np.matmul(a[parts[number]], b, out=product[parts[number]]), len(parts))
    return product
