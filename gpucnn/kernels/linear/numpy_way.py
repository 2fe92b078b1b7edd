"""NumPy on all threads: each multiplies some rows, or some columns, by the whole other matrix."""

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import cut, parallel
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.elementwise import add_bias
from gpucnn.kernels.gemm import matmul

MOST_PARTS = 4
"""Each part goes through the whole smaller matrix, and a BLAS rearranges it anew. Measured, as is SHARE, by `gpucnn bench --operations`."""

SHARE = 10
"""A part for a BLAS has this many times the work of other kernels' parts."""


def linear(vectors: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    """A product, and bias and ReLU in place."""
    return add_bias(_product(vectors, weight.T), bias, relu)


def vectors_gradient(gradient: Array, weight: Array, relu_output: Array | None) -> tuple[Array, Array]:
    """A product."""
    return _product(gradient, weight), gradient


def weight_gradient(gradient: Array, vectors: Array, weight_gradient: Array, bias_gradient: Array | None) -> None:
    """A product, and sums over images."""
    _product(gradient.T, vectors, out=weight_gradient)
    if bias_gradient is not None:
        channel_sums(np.ascontiguousarray(gradient)[..., None], out=bias_gradient)


def _product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N): (M, N), in `out`, contiguous, if it is given.

    Each thread multiplies some rows of `a`, or some columns of `b`, whichever is larger: a BLAS of many threads would keep
    them spinning when the next operation wants them.
    """
    rows, inner = a.shape
    columns = b.shape[1]
    product: Array = empty((rows, columns), a.dtype) if out is None else out
    by_columns = columns > rows
    items, others = (columns, rows) if by_columns else (rows, columns)
    parts = cut(items, inner * others // SHARE, MOST_PARTS)

    def multiply(number: int) -> None:
        part = parts[number]
        if by_columns:
            matmul(a, b[:, part], out=product[:, part])
        else:
            matmul(a[part], b, out=product[part])

    parallel(multiply, len(parts))
    return product
