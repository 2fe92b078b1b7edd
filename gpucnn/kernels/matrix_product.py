"""The product of two matrices, on all threads of the CPU."""

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import cut, parallel

MOST_PARTS = 4
"""Each part has the smaller matrix rearranged anew by the BLAS."""

SHARE = 10
"""A part should have so many times the work of other kernels' parts."""


def matrix_product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N): (M, N), in `out`, contiguous, if it is given.

    On a CPU each thread multiplies some rows of `a`, or some columns of `b`, whichever is larger: a BLAS of many threads
    would keep them spinning when the next operation wants them.
    """
    xp = xp_of(a, b)
    if xp is not np:
        return xp.matmul(a, b, out=out)
    rows, inner = a.shape
    columns = b.shape[1]
    product: Array = empty((rows, columns), a.dtype) if out is None else out
    by_columns = columns > rows
    items, others = (columns, rows) if by_columns else (rows, columns)
    parts = cut(items, inner * others // SHARE, MOST_PARTS)

    def multiply(number: int) -> None:
        part = parts[number]
        if by_columns:
            np.matmul(a, b[:, part], out=product[:, part])
        else:
            np.matmul(a[part], b, out=product[part])

    parallel(multiply, len(parts))
    return product
