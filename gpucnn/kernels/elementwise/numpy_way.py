"""NumPy on all threads, into memory that is used again."""

import functools

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut, parallel
from gpucnn.kernels.elementwise.masked import mask_into
from gpucnn.kernels.tiling import TILED_PARTS, for_tiles


def relu(x: Array) -> Array:
    """See `relu` of this folder, as for the functions below."""
    output = empty_like(x)
    values, result = np.ascontiguousarray(x).reshape(-1), output.reshape(-1)
    parts = cut(x.size, ELEMENT)
    parallel(lambda number: rectify(values[parts[number]], result[parts[number]]), len(parts))
    return output


def relu_gradient(gradient: Array, output: Array) -> Array:
    """Tile after tile, so that the mask stays in the cache."""
    passed = empty_like(gradient)
    values, kept = (np.ascontiguousarray(array).reshape(-1) for array in (gradient, output))
    result, parts = passed.reshape(-1), cut(gradient.size, ELEMENT, TILED_PARTS)
    for_tiles(parts, gradient.itemsize, lambda tile: mask_into(values[tile], kept[tile] != 0, result[tile]))
    return passed


def add_bias(values: Array, bias: Array | None, relu: bool) -> Array:
    """In place, on one thread: it follows a product of as many parts as there are threads."""
    if bias is not None:
        values += bias.reshape(-1, *[1] * (values.ndim - 2))
    if relu:
        rectify(values, values)
    return values


def add(a: Array, b: Array, relu: bool) -> Array:
    """Of arrays that are alike, and contiguous."""
    total = empty_like(a)
    arrays = [array.reshape(-1) for array in (a, b, total)]
    parts = cut(a.size, ELEMENT)

    def add_part(number: int) -> None:
        first, second, sums = (array[parts[number]] for array in arrays)
        np.add(first, second, out=sums)
        if relu:
            rectify(sums, sums)

    parallel(add_part, len(parts))
    return total


def rectify(values: np.ndarray, out: np.ndarray) -> None:
    """max(0, values) in `out`, of one shape, which may be `values`. A NaN stays one.

    NumPy has vectors for the maximum of two arrays, but not of an array and a number.
    """
    if not (values.flags.c_contiguous and out.flags.c_contiguous):
        np.maximum(values, 0, out=out)
        return
    zeros, (line, result) = _zeros(values.dtype), (values.reshape(-1), out.reshape(-1))
    rows = line.size // len(zeros)
    whole = rows * len(zeros)
    np.maximum(line[:whole].reshape(rows, len(zeros)), zeros, out=result[:whole].reshape(rows, len(zeros)))
    np.maximum(line[whole:], zeros[: line.size - whole], out=result[whole:])


@functools.cache
def _zeros(dtype: np.dtype) -> np.ndarray:
    return np.zeros(2048, dtype)
