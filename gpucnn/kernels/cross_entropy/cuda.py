"""On a GPU: a warp for each image, and for the gradient a thread for each logit."""

from pathlib import Path

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.cross_entropy.plain import Targets
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import launch

SOURCE = Path(__file__).with_name("cross_entropy.cu")
_TARGETS = "const int* labels = null, const long long* wide_labels = null, const T* class_weights = null, const T* normalizer = null"
CROSS_ENTROPY = Kernel(
    SOURCE,
    "cross_entropy",
    f"const T* logits, {_TARGETS}, T* losses, T* saved, T* total = null, I images, int classes, T smoothing",
    block=512,
)
CROSS_ENTROPY_GRADIENT = Kernel(
    SOURCE,
    "cross_entropy_gradient",
    f"const T* logits, {_TARGETS}, const T* saved, const T* upstream, T* gradient, I images, Divisor classes, T smoothing",
)
LANES = 32
MOST_IN_ONE_BLOCK = 256
"""Images whose losses the block that made them adds up, in the same launch."""


def cross_entropy(logits: Array, targets: Targets) -> tuple[Array, tuple[Array, ...]]:
    """The loss; the logits, the sum of the labels' weights, and two sums of each image are kept."""
    xp, (count, classes) = xp_of(logits), logits.shape
    labels, class_weights, smoothing = targets
    normalizer = None if class_weights is None else class_weights[labels].sum()
    logits = xp.ascontiguousarray(logits)
    losses, sums = xp.empty(count, logits.dtype), xp.empty((2, count), logits.dtype)
    aims, options = (*_by_width(labels), class_weights, normalizer), (count, classes, logits.dtype.type(smoothing))
    if count <= MOST_IN_ONE_BLOCK:
        total = xp.empty((), logits.dtype)
        launch(CROSS_ENTROPY, CROSS_ENTROPY.block, logits, *aims, losses, sums, total, *options)
        return total, (logits, normalizer, sums)
    launch(CROSS_ENTROPY, count * LANES, logits, *aims, losses, sums, None, *options)
    return channel_sums(losses.reshape(count, 1, 1)).reshape(()), (logits, normalizer, sums)


def cross_entropy_gradient(upstream: Array, targets: Targets, kept: tuple[Array, ...]) -> Array:
    """Probabilities less targets, from the kept sums."""
    logits, normalizer, sums = kept
    labels, class_weights, smoothing = targets
    gradient = xp_of(logits).empty(logits.shape, logits.dtype)
    aims, options = (*_by_width(labels), class_weights, normalizer), (*logits.shape, logits.dtype.type(smoothing))
    launch(CROSS_ENTROPY_GRADIENT, gradient.size, logits, *aims, sums, upstream, gradient, *options)
    return gradient


def _by_width(labels: Array) -> tuple[Array | None, Array | None]:
    """Labels of 32 bits or of 64, as the kernels take them: without a cast."""
    return (labels, None) if labels.dtype == np.int32 else (None, labels)
