"""Batch normalisation in the plain way, on any array module: what the other ways must equal, to rounding."""

from typing import NamedTuple

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.ways import Way


class Statistics(NamedTuple):
    """Of every channel the mean, the biased variance, and 1 / sqrt(variance + eps), each (C,)."""

    mean: Array
    variance: Array
    inverse: Array
    way: Way
    """Which way found them: the gradients take the same."""
    table: Array | None = None
    """These and two more, (5, C), where compiled loops found them."""


class Gradients(NamedTuple):
    """Contiguous arrays (C,) to be overwritten with the gradients of weight and bias; None for one that nobody needs."""

    weight: Array | None = None
    bias: Array | None = None


def batch_norm(
    values: Array, weight: Array | None, bias: Array | None, eps: float, relu: bool
) -> tuple[Array, Statistics]:
    """See `batch_norm` of this folder."""
    xp = xp_of(values)
    mean = values.mean(axis=(0, 2))
    centred = values - mean[:, None]
    centred -= centred.mean(axis=(0, 2))[:, None]  # what the mean lost when it was rounded
    variance = (centred * centred).mean(axis=(0, 2))
    inverse = 1 / xp.sqrt(variance + eps)
    output = centred * (inverse if weight is None else inverse * weight)[:, None]
    if bias is not None:
        output += bias[:, None]
    return xp.maximum(output, 0) if relu else output, Statistics(mean, variance, inverse, Way.PLAIN)


def batch_norm_gradients(
    gradient: Array, values: Array, weight: Array | None, statistics: Statistics, found: Gradients, output: Array | None
) -> Array:
    """See `batch_norm_gradients` of this folder; `output` is None. A value also moves its channel's mean and variance."""
    count, inverse = values.shape[0] * values.shape[2], statistics.inverse[:, None]
    normalized = (values - statistics.mean[:, None]) * inverse
    total, product = gradient.sum(axis=(0, 2)), (gradient * normalized).sum(axis=(0, 2))
    if found.weight is not None:
        found.weight[...] = product
    if found.bias is not None:
        found.bias[...] = total
    through_statistics = (total[:, None] + product[:, None] * normalized) / count
    result: Array = (gradient - through_statistics) * (inverse if weight is None else inverse * weight[:, None])
    return result
