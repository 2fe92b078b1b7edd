"""The plain way: log-softmax, times the target of every class."""

from typing import NamedTuple

from gpucnn.backend import Array, xp_of


class Targets(NamedTuple):
    """What the logits (N, classes) should be: labels (N,), int32, or on a GPU int64, class weights (classes,) or None, and smoothing."""

    labels: Array
    class_weights: Array | None
    smoothing: float


def log_softmax(logits: Array, axis: int | tuple[int, ...]) -> Array:
    """logits - log(sum(exp(logits))) along `axis`, or several together, of the same shape.

    The largest logit is taken off first, so that no exponential overflows.
    """
    xp = xp_of(logits)
    shifted = logits - logits.max(axis=axis, keepdims=True)
    shifted -= xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))
    return shifted


def cross_entropy(logits: Array, targets: Targets) -> tuple[Array, tuple[Array, ...]]:
    """The loss; kept are the log-probabilities, and the targets as shares in the mean."""
    xp, (count, classes) = xp_of(logits), logits.shape
    labels, class_weights, smoothing = targets
    shares = xp.full((count, classes), smoothing / classes, logits.dtype)
    shares[xp.arange(count), labels] += 1 - smoothing
    if class_weights is None:
        shares /= count
    else:
        shares *= class_weights
        shares /= class_weights[labels].sum()
    log_probabilities = log_softmax(logits, axis=1)
    # A class without a target does not count, even where its log-probability is minus infinity.
    loss = -(shares * xp.where(shares == 0, 0, log_probabilities)).sum()
    return loss, (log_probabilities, shares)


def cross_entropy_gradient(upstream: Array, targets: Targets, kept: tuple[Array, ...]) -> Array:
    """The gradient of the logits: probability less target, each image weighted as in the loss."""
    log_probabilities, shares = kept
    return upstream * (xp_of(upstream).exp(log_probabilities) * shares.sum(axis=1, keepdims=True) - shares)
