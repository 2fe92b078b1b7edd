"""Softmax and cross-entropy together, and their gradient.

The target of class j is weight[j] * (smoothing / classes + (1 - smoothing) * [j is the label]), over the normalizer: the
sum of the labels' weights, or the number of images. The loss is minus the sum of targets times log-probabilities.
"""

from typing import NamedTuple

from gpucnn.backend import Array
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels.cross_entropy import compiled, cuda, plain
from gpucnn.kernels.cross_entropy.plain import Targets as Targets
from gpucnn.kernels.cross_entropy.plain import log_softmax as log_softmax
from gpucnn.kernels.ways import Way, choose

CROSS_ENTROPY = {
    Way.CUDA: cuda.cross_entropy,
    Way.COMPILED: compiled.cross_entropy,
    Way.PLAIN: plain.cross_entropy,
}
CROSS_ENTROPY_GRADIENT = {
    Way.CUDA: cuda.cross_entropy_gradient,
    Way.COMPILED: compiled.cross_entropy_gradient,
    Way.PLAIN: plain.cross_entropy_gradient,
}
SUITS = {Way.COMPILED: compiled.suits}


class Saved(NamedTuple):
    """What the gradient needs: the way that computed the loss, and what it kept."""

    way: Way
    kept: tuple[Array, ...]


def cross_entropy(logits: Array, targets: Targets) -> tuple[Array, Saved]:
    """The mean loss of logits (N, classes), of shape (), and what `cross_entropy_gradient` needs.

    On a GPU a label that is no class makes the loss a NaN; elsewhere the caller has looked at the labels.
    """
    way = choose(CROSS_ENTROPY, logits, task=targets, suits=SUITS)
    loss, kept = CROSS_ENTROPY[way](logits, targets)
    return loss, Saved(way, kept)


def cross_entropy_gradient(upstream: Array, targets: Targets, saved: Saved) -> Array:
    """The gradient of the logits (N, classes), from `upstream`, that of the loss, and what `cross_entropy` gave."""
    return CROSS_ENTROPY_GRADIENT[saved.way](upstream, targets, saved.kept)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
