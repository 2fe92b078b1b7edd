"""The fully connected layer's products, and their gradients."""

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.blas import matmul
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import Parts, cut, parallel
from gpucnn.kernels import ways
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.compiler import loop, processor
from gpucnn.kernels.elementwise.bias_relu import add_bias, relu_gradient
from gpucnn.kernels.linear import loops as linear_loops

MOST_PARTS = 4
"""Each part goes through the whole smaller matrix, and a BLAS rearranges it anew."""

SHARE = 10
"""A part of a BLAS's should have so many times the work of other kernels' parts."""

ROWS_TOGETHER = 8
"""Parts of compiled loops are cut at multiples of so many rows, the most of a tile."""

LARGEST_WEIGHT = 4 << 20
"""Bytes of weights that compiled loops read again for each part; of more, a BLAS makes better use of the cache."""


def linear(vectors: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    """vectors (N, I) @ weight (O, I)^T + bias (O,), if there is one: (N, O). With `relu`, what is negative becomes 0."""
    if not _suits(vectors, weight, bias):
        return add_bias(_product(vectors, weight.T), bias, relu)
    outputs, inputs = weight.shape
    output = empty((len(vectors), outputs), vectors.dtype)
    arrays = [np.ascontiguousarray(vectors), np.ascontiguousarray(weight), output]
    if bias is not None:
        arrays.append(np.ascontiguousarray(bias))
    kernel = linear_loops.forward(inputs, outputs, bias is not None, relu, processor.processor())
    loop.run(kernel, len(vectors), arrays, _row_parts(len(vectors), weight.size))
    return output


def linear_gradients(
    gradient: Array,
    vectors: Array | None,
    weight: Array | None,
    relu_output: Array | None = None,
    weight_gradient: Array | None = None,
    bias_gradient: Array | None = None,
) -> Array | None:
    """The gradient of the vectors (N, I), from `gradient`, that of the output (N, O); None without `weight`.

    - `relu_output`: the output of a layer with ReLU; None without.
    - `weight_gradient`, `bias_gradient`: contiguous arrays (O, I) and (O,) that are overwritten; None for one that nobody
      needs. The former needs `vectors`.
    """
    if weight is not None and _suits(gradient, weight, relu_output):
        vectors_gradient, gradient = _compiled_vectors_gradient(gradient, weight, relu_output)
    else:
        if relu_output is not None:
            gradient = relu_gradient(gradient, relu_output)
        vectors_gradient = None if weight is None else _product(gradient, weight)
    if weight_gradient is not None and vectors is not None:
        if _suits(gradient, vectors, weight_gradient):
            _compiled_weight_gradient(gradient, vectors, weight_gradient, bias_gradient)
            return vectors_gradient
        _product(gradient.T, vectors, out=weight_gradient)
    if bias_gradient is not None:
        channel_sums(xp_of(gradient).ascontiguousarray(gradient)[..., None], out=bias_gradient)
    return vectors_gradient


def _suits(vectors: Array, *others: Array | None) -> bool:
    """Whether compiled loops make the product of some of these matrices."""
    arrays = [vectors, *(array for array in others if array is not None)]
    if not ways.compiles(*arrays):
        return False
    return all(array.size and array.nbytes <= LARGEST_WEIGHT for array in arrays)


def _compiled_vectors_gradient(gradient: Array, weight: Array, relu_output: Array | None) -> tuple[Array, Array]:
    """The gradient of the vectors, and what of that of the output has passed ReLU, if there is one."""
    outputs, inputs = weight.shape
    result = empty((len(gradient), inputs), gradient.dtype)
    arrays = [np.ascontiguousarray(gradient), np.ascontiguousarray(weight), result]
    if relu_output is not None:
        gradient = empty(gradient.shape, gradient.dtype)
        arrays += [np.ascontiguousarray(relu_output), gradient]
    kernel = linear_loops.vectors_gradient(inputs, outputs, relu_output is not None, processor.processor())
    loop.run(kernel, len(gradient), arrays, _row_parts(len(gradient), weight.size))
    return result, gradient


def _compiled_weight_gradient(
    gradient: Array, vectors: Array, weight_gradient: Array, bias_gradient: Array | None
) -> None:
    outputs, inputs = weight_gradient.shape
    arrays = [np.ascontiguousarray(gradient), np.ascontiguousarray(vectors), weight_gradient]
    if bias_gradient is not None:
        arrays.append(bias_gradient)
    kernel = linear_loops.weight_gradient(inputs, outputs, bias_gradient is not None, processor.processor())
    loop.run(kernel, outputs, arrays, _row_parts(outputs, vectors.size))


def _row_parts(rows: int, work: int) -> Parts:
    """`rows`, each of so much work, in parts that are whole tiles."""
    return cut(rows, work, MOST_PARTS, ROWS_TOGETHER)


def _product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a (M, K) @ b (K, N): (M, N), in `out`, contiguous, if it is given.

    On a CPU each thread multiplies some rows of `a`, or some columns of `b`, whichever is larger: a BLAS of many threads
    would keep them spinning when the next operation wants them.
    """
    if xp_of(a, b) is not np:
        return matmul(a, b, out=out)
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
