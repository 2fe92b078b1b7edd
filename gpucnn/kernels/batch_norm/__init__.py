"""Batch normalisation with the batch's own statistics, and its gradients.

The way back needs the values and two numbers a channel, so the normalised values are not kept.
"""

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.batch_norm import compiled, cuda, numpy_way, plain
from gpucnn.kernels.batch_norm.plain import Gradients as Gradients
from gpucnn.kernels.batch_norm.plain import Statistics as Statistics
from gpucnn.kernels.elementwise import relu as rectified
from gpucnn.kernels.elementwise import relu_gradient
from gpucnn.kernels.ways import Way, choose

BATCH_NORM = {
    Way.CUDA: cuda.batch_norm,
    Way.COMPILED: compiled.batch_norm,
    Way.NUMPY: numpy_way.batch_norm,
    Way.PLAIN: plain.batch_norm,
}
GRADIENTS = {
    Way.CUDA: cuda.batch_norm_gradients,
    Way.COMPILED: compiled.batch_norm_gradients,
    Way.NUMPY: numpy_way.batch_norm_gradients,
    Way.PLAIN: plain.batch_norm_gradients,
}
FUSES_RELU = {Way.COMPILED, Way.NUMPY}
"""The others get a gradient that has passed ReLU already."""

SUITS = {Way.COMPILED: compiled.suits}


def batch_norm(
    values: Array, weight: Array | None, bias: Array | None, eps: float, relu: bool = False
) -> tuple[Array, Statistics]:
    """(values - mean) / sqrt(variance + eps) * weight + bias, or its ReLU, and the statistics that it took.

    Values are (N, C, P), contiguous, of a float dtype, weight and bias (C,) or None. The variance comes from differences
    from the mean, so that a large mean does not swallow it; float16 is computed in float32.
    """
    if values.dtype == np.float16:
        return _in_float32(values, weight, bias, eps, relu)
    if values.size == 0:
        nothing = xp_of(values).zeros(values.shape[1], values.dtype)
        return values.copy(), Statistics(nothing, nothing, nothing, Way.PLAIN)
    way = choose(BATCH_NORM, values, weight, bias, task=values, suits=SUITS)
    return BATCH_NORM[way](values, weight, bias, eps, relu)


def batch_norm_gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    found: Gradients,
    output: Array | None = None,
) -> Array:
    """The gradient of the values (N, C, P), from that of the output, contiguous; those of weight and bias go into `found`.

    `values`, `weight` and `statistics` are those of `batch_norm`; `output` is what it gave with ReLU, None without.
    """
    if output is not None and (statistics.way not in FUSES_RELU or values.dtype == np.float16):
        gradient, output = relu_gradient(gradient, output), None
    if values.dtype == np.float16:
        return _gradients_in_float32(gradient, values, weight, statistics, found)
    if values.size == 0:
        for total in found:
            if total is not None:
                total[...] = 0
        return gradient.copy()
    return GRADIENTS[statistics.way](gradient, values, weight, statistics, found, output)


def _in_float32(
    values: Array, weight: Array | None, bias: Array | None, eps: float, relu: bool
) -> tuple[Array, Statistics]:
    output, statistics = batch_norm(values.astype(np.float32), _widened(weight), _widened(bias), eps)
    output = output.astype(np.float16)
    return rectified(output) if relu else output, statistics


def _gradients_in_float32(
    gradient: Array, values: Array, weight: Array | None, statistics: Statistics, found: Gradients
) -> Array:
    xp = xp_of(values)
    wide = Gradients(*(None if total is None else xp.empty(total.shape, np.float32) for total in found))
    gradient, values = gradient.astype(np.float32), values.astype(np.float32)
    result = batch_norm_gradients(gradient, values, _widened(weight), statistics, wide)
    for total, wide_total in zip(found, wide, strict=True):
        if total is not None:
            total[...] = wide_total
    return result.astype(np.float16)


def _widened(array: Array | None) -> Array | None:
    return None if array is None else array.astype(np.float32)
