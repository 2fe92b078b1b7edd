"""Batch normalisation with the batch's own statistics, the running ones that follow them, and the gradients.

The way back needs the values and two numbers a channel, so the normalised values are not kept.
"""

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels import elementwise
from gpucnn.kernels.batch_norm import compiled, cuda, numpy_way, plain
from gpucnn.kernels.batch_norm.plain import Gradients as Gradients
from gpucnn.kernels.batch_norm.plain import Running as Running
from gpucnn.kernels.batch_norm.plain import Statistics as Statistics
from gpucnn.kernels.kernel import ARITHMETIC
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
NEXT_SHARE = {Way.COMPILED: compiled.next_share, Way.PLAIN: plain.next_share}
SUITS = {Way.COMPILED: compiled.suits}


def batch_norm(
    values: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    relu: bool = False,
    residual: Array | None = None,
    running: Running | None = None,
) -> tuple[Array, Statistics]:
    """(values - mean) / sqrt(variance + eps) * weight + bias, with `residual` added, or the ReLU of that; and the statistics.

    Values and residual are (N, C, P), contiguous, of a float dtype, or bfloat16 on a GPU, see `kernel.BF16`; weight and bias (C,) or None. The variance comes from
    differences from the mean, so that a large mean does not swallow it; float16 is computed in float32. `running` statistics,
    unless there are no values, move in place.
    """
    if values.dtype == np.float16:
        return _in_float32(values, weight, bias, eps, relu, residual, running)
    if values.size == 0:
        nothing = xp_of(values).zeros(values.shape[1], values.dtype)
        return values.copy(), Statistics(nothing, nothing, nothing, Way.PLAIN)
    way = choose(BATCH_NORM, values, weight, bias, task=values, suits=SUITS)
    own = running if running is None or _are_alike(running, values) else None
    output, statistics = BATCH_NORM[way](values, weight, bias, eps, relu, residual, own)
    if running is not None and own is None:
        plain.move(running, statistics.mean, statistics.variance, plain.unbiased(values))
    return output, statistics


def batch_norm_gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    found: Gradients,
    output: Array | None = None,
    added: bool = False,
) -> Array:
    """The gradient of the values (N, C, P), from that of the output, contiguous; the others that are asked for go into `found`.

    `values`, `weight` and `statistics` are those of `batch_norm`; `output` is what it gave with ReLU, None without; `added`
    says whether there was a residual.
    """
    if values.dtype == np.float16:
        return _gradients_in_float32(gradient, values, weight, statistics, found, output)
    if values.size == 0:
        for total in (found.weight, found.bias):
            if total is not None:
                total[...] = 0
        return gradient.copy()
    return GRADIENTS[statistics.way](gradient, values, weight, statistics, found, output, added)


def next_share(count: Array) -> Array:
    """Count one more batch in `count`, an array (), in place; what this one weighs in the mean of all, an array ()."""
    return NEXT_SHARE[choose(NEXT_SHARE, count)](count)


def _are_alike(running: Running, values: Array) -> bool:
    """Whether running statistics are what kernels can write to: contiguous, and of the dtype that values are computed in."""
    kept = (array for array in running[:2] if array is not None)
    dtype = ARITHMETIC.get(values.dtype, values.dtype)
    return all(array.dtype == dtype and array.flags.c_contiguous for array in kept)


def _in_float32(
    values: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    relu: bool,
    residual: Array | None,
    running: Running | None,
) -> tuple[Array, Statistics]:
    output, statistics = batch_norm(values.astype(np.float32), _widened(weight), _widened(bias), eps)
    output = output.astype(np.float16)
    if running is not None and values.size:
        plain.move(running, statistics.mean, statistics.variance, plain.unbiased(values))
    if residual is not None:
        return elementwise.add(output, residual, relu), statistics
    return elementwise.relu(output) if relu else output, statistics


def _gradients_in_float32(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    found: Gradients,
    output: Array | None,
) -> Array:
    xp = xp_of(values)
    if output is not None:
        gradient = elementwise.relu_gradient(gradient, output)
    if found.residual is not None:
        found.residual[...] = gradient
    sums = (found.weight, found.bias)
    wide = Gradients(*(None if total is None else xp.empty(total.shape, np.float32) for total in sums))
    gradient, values = gradient.astype(np.float32), values.astype(np.float32)
    result = batch_norm_gradients(gradient, values, _widened(weight), statistics, wide)
    for total, wide_total in zip(sums, wide[:2], strict=True):
        if total is not None:
            total[...] = wide_total
    return result.astype(np.float16)


def _widened(array: Array | None) -> Array | None:
    return None if array is None else array.astype(np.float32)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
