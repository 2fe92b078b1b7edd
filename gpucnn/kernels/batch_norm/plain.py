"""Batch normalisation in the plain way, on any array module: what the other ways must equal, to rounding."""

from typing import NamedTuple

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.elementwise import plain as elementwise
from gpucnn.kernels.ways import Way


class Running(NamedTuple):
    """Running statistics (C,), which move in place towards those of a batch, by a share of the way; None for one that is not kept."""

    mean: Array | None
    variance: Array | None
    share: float | Array
    """A number, or an array ()."""


class Statistics(NamedTuple):
    """Of every channel the mean, the biased variance, and 1 / sqrt(variance + eps), each (C,)."""

    mean: Array
    variance: Array
    inverse: Array
    way: Way
    """Which way found them: the gradients take the same."""
    table: Array | None = None
    """These and two more, (5, C), where compiled loops or a GPU found them."""


class Gradients(NamedTuple):
    """Contiguous arrays to be overwritten with gradients; None for one that nobody needs."""

    weight: Array | None = None
    bias: Array | None = None
    """Both (C,)."""
    residual: Array | None = None
    """(N, C, P): what of the gradient passed ReLU. Without ReLU it is the gradient itself, and nobody asks for it."""


def batch_norm(
    values: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    relu: bool,
    residual: Array | None,
    running: Running | None,
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
    if residual is not None:
        output += residual
    if running is not None:
        move(running, mean, variance, unbiased(values))
    return xp.maximum(output, 0) if relu else output, Statistics(mean, variance, inverse, Way.PLAIN)


def batch_norm_gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    found: Gradients,
    output: Array | None,
    added: bool,
) -> Array:
    """See `batch_norm_gradients` of this folder. A value also moves its channel's mean and variance."""
    if output is not None:
        gradient = elementwise.relu_gradient(gradient, output)
    if found.residual is not None:
        found.residual[...] = gradient
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


def unbiased(values: Array) -> float:
    """What makes the variance of a batch (N, C, P) that of a sample: n / (n - 1), for n values a channel."""
    count = values.shape[0] * values.shape[2]
    return count / (count - 1) if count > 1 else 1.0


def move(running: Running, mean: Array, variance: Array, factor: float) -> None:
    """Move running statistics, in place, towards those of a batch, whose variance is multiplied by `factor`."""
    for statistics, fresh in ((running.mean, mean), (running.variance, variance * factor)):
        if statistics is not None:
            fresh = fresh.astype(statistics.dtype, copy=False)
            statistics[...] = (1 - running.share) * statistics + running.share * fresh


def next_share(count: Array) -> Array:
    """See `next_share` of this folder."""
    count[...] += 1
    share: Array = 1 / count
    return share
