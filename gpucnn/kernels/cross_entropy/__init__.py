"""Softmax and cross-entropy together, and their gradient.

The target of class j is weight[j] * (smoothing / classes + (1 - smoothing) * [j is the label]), over the normalizer: the
sum of the labels' weights, or the number of images. The loss is minus the sum of targets times log-probabilities.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels import ways
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.cross_entropy import loops as cross_entropy_loops
from gpucnn.kernels.cross_entropy.log_softmax import log_softmax
from gpucnn.kernels.launch import Kernel, accepts, launch

SOURCE = Path(__file__).with_name("cross_entropy.cu")
_TARGETS = "const int* labels, const T* class_weights = null, const T* normalizer = null"
CROSS_ENTROPY = Kernel(
    SOURCE,
    "cross_entropy",
    f"const T* logits, {_TARGETS}, T* losses, T* saved, long long images, int classes, T smoothing",
)
CROSS_ENTROPY_GRADIENT = Kernel(
    SOURCE,
    "cross_entropy_gradient",
    f"const T* logits, {_TARGETS}, const T* saved, const T* upstream, T* gradient, long long images, int classes, T smoothing",
)
LANES = 32
WORK = 4 * ELEMENT
"""What a logit takes on a CPU: its exponential is like four passes."""


class Targets(NamedTuple):
    """What the logits (N, classes) should be: int32 labels (N,), class weights (classes,) or None, and smoothing."""

    labels: Array
    class_weights: Array | None
    smoothing: float


def cross_entropy(logits: Array, targets: Targets) -> tuple[Array, tuple[Array, ...]]:
    """The mean loss of logits (N, classes), of shape (), and the arrays that `cross_entropy_gradient` needs.

    On a GPU a label that is no class makes the loss a NaN; elsewhere the caller has looked at the labels.
    """
    xp = xp_of(logits)
    count, classes = logits.shape
    labels, class_weights, smoothing = targets
    normalizer = None if class_weights is None else class_weights[labels].sum()
    if accepts(logits):
        logits = xp.ascontiguousarray(logits)
        losses, saved = xp.empty(count, logits.dtype), xp.empty((2, count), logits.dtype)
        options = (count, classes, logits.dtype.type(smoothing))
        launch(CROSS_ENTROPY, count * LANES, logits, labels, class_weights, normalizer, losses, saved, *options)
        return channel_sums(losses.reshape(count, 1, 1)).reshape(()), (logits, normalizer, saved)
    if class_weights is None and ways.compiles(logits):
        return _compiled_cross_entropy(logits, targets)
    log_probabilities = log_softmax(logits, axis=1)
    shares = xp.full((count, classes), smoothing / classes, logits.dtype)
    shares[xp.arange(count), labels] += 1 - smoothing
    if class_weights is not None:
        shares *= class_weights
    shares /= count if normalizer is None else normalizer
    # A class without a target does not count, even where its log-probability is minus infinity.
    loss = -(shares * xp.where(shares == 0, 0, log_probabilities)).sum()
    return loss, (log_probabilities, shares)


def cross_entropy_gradient(upstream: Array, targets: Targets, saved: tuple[Array, ...]) -> Array:
    """The gradient of the logits (N, classes), from `upstream`, that of the loss, and what `cross_entropy` gave."""
    xp = xp_of(upstream)
    if accepts(upstream):
        logits, normalizer, sums = saved
        gradient = xp.empty(logits.shape, logits.dtype)
        labels, class_weights, smoothing = targets
        options = (*logits.shape, logits.dtype.type(smoothing))
        launch(
            CROSS_ENTROPY_GRADIENT,
            gradient.size,
            logits,
            labels,
            class_weights,
            normalizer,
            sums,
            upstream,
            gradient,
            *options,
        )
        return gradient
    if len(saved) == 1:  # what compiled loops leave
        return _compiled_gradient(upstream, targets, saved[0])
    log_probabilities, shares = saved
    return upstream * (xp.exp(log_probabilities) * shares.sum(axis=1, keepdims=True) - shares)


def _compiled_cross_entropy(logits: Array, targets: Targets) -> tuple[Array, tuple[Array, ...]]:
    count, classes = logits.shape
    probabilities = np.empty(logits.shape, logits.dtype)
    sums, targeted = np.empty((2, count), logits.dtype)
    arrays = [np.ascontiguousarray(logits), _contiguous(targets), np.array([targets.smoothing], logits.dtype)]
    parts = cut(count, classes * WORK)
    loop.run(cross_entropy_loops.forward(classes), count, [*arrays, probabilities, sums, targeted], parts)
    losses = np.log(sums, out=sums)
    losses -= targeted
    return losses.mean(), (probabilities,)


def _compiled_gradient(upstream: Array, targets: Targets, probabilities: Array) -> Array:
    count, classes = probabilities.shape
    scale, smoothing = float(upstream) / count, targets.smoothing
    settings = np.array([scale, scale * (smoothing / classes), scale * (1 - smoothing)], probabilities.dtype)
    gradient = np.empty(probabilities.shape, probabilities.dtype)
    arrays = [probabilities, _contiguous(targets), settings, gradient]
    loop.run(cross_entropy_loops.gradient(classes), count, arrays, cut(count, classes * ELEMENT))
    return gradient


def _contiguous(targets: Targets) -> Array:
    return np.ascontiguousarray(targets.labels, np.int32)
