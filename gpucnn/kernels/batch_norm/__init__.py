"""Batch normalisation with the batch's own statistics, and its gradients.

The way back needs the values and two numbers a channel, so the normalised values are not kept.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.blas import matmul
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut, parallel
from gpucnn.kernels import ways
from gpucnn.kernels.batch_norm import loops as batch_norm_loops
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.elementwise.bias_relu import rectify, relu_gradient
from gpucnn.kernels.elementwise.bias_relu import relu as rectified
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.launch import Kernel, accepts, launch
from gpucnn.kernels.tiling import PASS_PARTS, passes
from gpucnn.kernels.workspace import workspace

SOURCE = Path(__file__).with_name("batch_norm.cu")
_SHAPE = "int elements, int channels, int positions, int parts, int length"
STATISTICS = Kernel(SOURCE, "batch_norm_statistics", f"const T* values, T* means, T* squares, {_SHAPE}")
NORMALIZE = Kernel(
    SOURCE,
    "batch_norm",
    "const T* values, const T* means, const T* squares, const T* weight = null, const T* bias = null, T* output, T* mean, "
    f"T* variance, T* inverse, {_SHAPE}, T eps",
)
SUMS = Kernel(
    SOURCE,
    "batch_norm_sums",
    f"const T* gradient, const T* values, const T* mean, const T* inverse, T* sums, T* products, {_SHAPE}",
)
GRADIENT = Kernel(
    SOURCE,
    "batch_norm_gradient",
    "const T* gradient, const T* values, const T* mean, const T* inverse, const T* weight = null, const T* sums, "
    f"const T* products, T* values_gradient, T* weight_gradient = null, T* bias_gradient = null, {_SHAPE}",
)

ELEMENTS_PER_BLOCK = 4096
"""Above so many elements a channel is cut into parts, one a block, as one block alone would keep the GPU waiting."""

MOST_PARTS = 64
"""Every block adds up its channel's parts."""

LONGEST_SPREAD = 4096
"""Up to so many positions NumPy works faster on a channel's number if it stands at each of them."""


LEAST_POSITIONS = 16
"""Planes of fewer positions leave vectors empty; NumPy's own loops are faster."""


class Statistics(NamedTuple):
    """Of every channel the mean, the biased variance, and 1 / sqrt(variance + eps), each (C,)."""

    mean: Array
    variance: Array
    inverse: Array
    table: Array | None = None
    """These and two more, (5, C), where compiled loops found them: what they need on the way back."""


def batch_norm(
    values: Array, weight: Array | None, bias: Array | None, eps: float, relu: bool = False
) -> tuple[Array, Statistics]:
    """(values - mean) / sqrt(variance + eps) * weight + bias, or its ReLU, and the statistics that it took.

    Values are (N, C, P), contiguous, of a float dtype, weight and bias (C,) or None. The variance comes from differences
    from the mean, so that a large mean does not swallow it; float16 is computed in float32.
    """
    if ways.compiles(values, weight, bias) and values.size and values.shape[2] >= LEAST_POSITIONS:
        return _compiled_batch_norm(values, weight, bias, eps, relu)
    xp = xp_of(values)
    on_gpu = accepts(values)
    if relu and (on_gpu or values.dtype == np.float16):
        output, statistics = batch_norm(values, weight, bias, eps)
        return rectified(output), statistics
    if values.dtype == np.float16:
        output, statistics = batch_norm(values.astype(np.float32), _widened(weight), _widened(bias), eps)
        return output.astype(np.float16), statistics
    if values.size == 0:
        channels = values.shape[1]
        return values.copy(), Statistics(*(xp.zeros(channels, values.dtype) for _ in range(3)))
    if on_gpu:
        return _launch_batch_norm(values, weight, bias, eps)
    return _normalize(values, weight, bias, eps, relu)


def batch_norm_gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    weight_gradient: Array | None = None,
    bias_gradient: Array | None = None,
    relu_output: Array | None = None,
) -> Array:
    """The gradient of the values (N, C, P), from that of the output, contiguous.

    `values`, `weight` and `statistics` are those of `batch_norm`, `relu_output` its output with ReLU. `weight_gradient`,
    `bias_gradient`: contiguous arrays (C,) that are overwritten with theirs; None for one that nobody needs.
    """
    if ways.compiles(gradient, values, weight) and statistics.table is not None:
        filled = (weight_gradient, bias_gradient)
        return _compiled_gradients(gradient, values, weight, statistics.table, *filled, relu_output is not None)
    xp = xp_of(gradient, values)
    if relu_output is not None and (accepts(gradient) or values.dtype == np.float16):
        gradient, relu_output = relu_gradient(gradient, relu_output), None
    if values.dtype == np.float16:
        own = [
            None if array is None else xp.empty(array.shape, np.float32) for array in (weight_gradient, bias_gradient)
        ]
        wide = (gradient.astype(np.float32), values.astype(np.float32), _widened(weight))
        values_gradient = batch_norm_gradients(*wide, statistics, *own)
        for narrow, total in zip((weight_gradient, bias_gradient), own, strict=True):
            if narrow is not None:
                narrow[...] = total
        return values_gradient.astype(np.float16)
    if values.size == 0:
        for total in (weight_gradient, bias_gradient):
            if total is not None:
                total[...] = 0
        return gradient.copy()
    if accepts(gradient):
        return _launch_gradients(gradient, values, weight, statistics, weight_gradient, bias_gradient)
    return _gradients(gradient, values, weight, statistics, weight_gradient, bias_gradient, relu_output)


def _compiled_batch_norm(
    values: Array, weight: Array | None, bias: Array | None, eps: float, relu: bool
) -> tuple[Array, Statistics]:
    batch, channels, positions = values.shape
    parts = cut(batch, channels * positions * ELEMENT)
    moments, numbers = np.empty((batch, 2, channels), values.dtype), np.empty((5, channels), values.dtype)
    loop.run(batch_norm_loops.moments(channels, positions), batch, [values, moments], parts)
    affine = [np.ascontiguousarray(array) for array in (weight, bias) if array is not None]
    combine = batch_norm_loops.statistics(channels, positions, weight is not None, bias is not None, eps)
    loop.run(combine, channels, [moments, *affine, numbers])
    output = empty_like(values)
    loop.run(batch_norm_loops.normalize(channels, positions, relu), batch, [values, numbers, output], parts)
    mean, variance, inverse = numbers[:3]
    return output, Statistics(mean, variance, inverse, numbers)


def _compiled_gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Array,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
    relu: bool,
) -> Array:
    batch, channels, positions = values.shape
    parts = cut(batch, channels * positions * ELEMENT)
    sums, numbers = np.empty((batch, 2, channels), values.dtype), np.empty((3, channels), values.dtype)
    arrays = [gradient, values, statistics, sums]
    loop.run(batch_norm_loops.products(channels, positions, relu), batch, arrays, parts)
    own = [np.empty(channels, values.dtype) if array is None else array for array in (weight_gradient, bias_gradient)]
    known = [statistics, *([] if weight is None else [np.ascontiguousarray(weight)])]
    combine = batch_norm_loops.coefficients(channels, positions, weight is not None)
    loop.run(combine, channels, [sums, *known, numbers, *own])
    result = empty_like(values)
    arrays = [gradient, values, statistics, numbers, result]
    loop.run(batch_norm_loops.gradient(channels, positions, relu), batch, arrays, parts)
    return result


def _normalize(
    values: Array, weight: Array | None, bias: Array | None, eps: float, relu: bool
) -> tuple[Array, Statistics]:
    batch, _, positions = values.shape
    count = batch * positions
    near = (_sum_of_passes(values, lambda piece: _channel_sums(values[piece])) / count).astype(values.dtype)
    output, spread = empty_like(values), _spread(near, positions)

    def centre(piece: slice) -> Array:
        centred = np.subtract(values[piece], spread, out=output[piece])
        return np.stack((_channel_sums(centred), _channel_products(centred, centred)))

    # The differences from the mean itself would add up to 0; these tell how far it is off through rounding.
    rest, square = _sum_of_passes(values, centre) / count
    variance = np.maximum(square - rest * rest, 0)
    inverse = 1 / np.sqrt(variance + eps)
    factor = inverse if weight is None else inverse * weight
    shift = -rest * factor if bias is None else bias - rest * factor
    factors, shifts = (_spread(vector.astype(values.dtype), positions) for vector in (factor, shift))

    def scale(piece: slice) -> None:
        centred = output[piece]
        centred *= factors
        centred += shifts
        if relu:
            rectify(centred, centred)

    _for_passes(values, scale)
    return output, Statistics(*(vector.astype(values.dtype) for vector in (near + rest, variance, inverse)))


def _gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
    relu_output: Array | None,
) -> Array:
    batch, _, positions = values.shape
    count, dtype = batch * positions, values.dtype
    result, spread = empty_like(values), _spread(statistics.mean, positions)
    slopes = gradient if relu_output is None else result

    def add_up(piece: slice) -> Array:
        if relu_output is not None:
            masked(gradient[piece], relu_output[piece] != 0, out=slopes[piece])
        centred = np.subtract(values[piece], spread, out=workspace(values[piece].shape, values))
        return np.stack((_channel_sums(slopes[piece]), _channel_products(slopes[piece], centred)))

    sums, products = _sum_of_passes(values, add_up)
    products *= statistics.inverse
    if weight_gradient is not None:
        weight_gradient[...] = products
    if bias_gradient is not None:
        bias_gradient[...] = sums
    factor = statistics.inverse if weight is None else statistics.inverse * weight
    of_centred, shift = -factor * statistics.inverse * products / count, -factor * sums / count
    spreads = [_spread(vector.astype(dtype), positions) for vector in (of_centred, shift, factor)]

    def fill(piece: slice) -> None:
        centred = np.subtract(values[piece], spread, out=workspace(values[piece].shape, values))
        centred *= spreads[0]
        centred += spreads[1]
        scaled = np.multiply(slopes[piece], spreads[2], out=result[piece])
        scaled += centred

    _for_passes(values, fill)
    return result


def _for_passes(values: Array, task: Callable[[slice], object]) -> None:
    """`task` for slices of the batch that cover it, on all threads."""
    parts = _parts(values)

    def work(number: int) -> None:
        for piece in passes(parts[number], values[0].nbytes):
            task(piece)

    parallel(work, len(parts))


def _sum_of_passes(values: Array, task: Callable[[slice], Array]) -> Array:
    """The sum of what `task` finds for slices of the batch that cover it, the same for any number of threads."""
    parts = _parts(values)
    found: list[Any] = [None] * len(parts)

    def work(number: int) -> None:
        found[number] = functools.reduce(np.add, map(task, passes(parts[number], values[0].nbytes)))

    parallel(work, len(parts))
    return functools.reduce(np.add, found)


def _parts(values: Array) -> tuple[slice, ...]:
    return cut(len(values), values[0].size * ELEMENT, PASS_PARTS)


def _channel_sums(values: Array) -> Array:
    """The sums (C,) of values (N, C, P), in float64 from one image to the next."""
    sums: Array = matmul(values, np.ones(values.shape[2], values.dtype)).sum(axis=0, dtype=np.float64)
    return sums


def _channel_products(first: Array, second: Array) -> Array:
    """The sums (C,) of products, likewise: BLAS has vectors for them, which `einsum` has not."""
    products = matmul(first[:, :, None, :], second[:, :, :, None])
    sums: Array = products.reshape(first.shape[:2]).sum(axis=0, dtype=np.float64)
    return sums


def _spread(vector: Array, positions: int) -> Array:
    """A number a channel, laid out for an operation with values (N, C, P)."""
    if positions > LONGEST_SPREAD:
        return vector[:, None]
    return np.repeat(vector, positions).reshape(len(vector), positions)


def _launch_batch_norm(values: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Statistics]:
    xp, dtype = xp_of(values), values.dtype
    output, (threads, parts, sizes) = xp.empty(values.shape, dtype), _work(values)
    means, squares = (xp.empty(parts, dtype) for _ in range(2))
    launch(STATISTICS, threads, values, means, squares, *sizes)
    statistics = Statistics(*(xp.empty(values.shape[1], dtype) for _ in range(3)))
    affine = (_contiguous(weight), _contiguous(bias))
    launch(NORMALIZE, threads, values, means, squares, *affine, output, *statistics[:3], *sizes, dtype.type(eps))
    return output, statistics


def _launch_gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
) -> Array:
    xp, dtype = xp_of(values), values.dtype
    result, (threads, parts, sizes) = xp.empty(values.shape, dtype), _work(values)
    sums, products = (xp.empty(parts, dtype) for _ in range(2))
    known = (gradient, values, statistics.mean, statistics.inverse)
    launch(SUMS, threads, *known, sums, products, *sizes)
    own = (result, weight_gradient, bias_gradient)
    launch(GRADIENT, threads, *known, _contiguous(weight), sums, products, *own, *sizes)
    return result


def _work(values: Array) -> tuple[int, tuple[int, int], tuple[int, ...]]:
    """How many threads there should be, the shape of an array of parts, and the sizes that all the kernels take."""
    batch, channels, positions = values.shape
    elements = batch * positions
    length = max(ELEMENTS_PER_BLOCK, -(-elements // MOST_PARTS))
    parts = -(-elements // length)
    return channels * parts * STATISTICS.block, (channels, parts), (elements, channels, positions, parts, length)


def _contiguous(array: Array | None) -> Array | None:
    return None if array is None else xp_of(array).ascontiguousarray(array)


def _widened(array: Array | None) -> Array | None:
    return None if array is None else array.astype(np.float32)
