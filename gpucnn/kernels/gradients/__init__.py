"""What is done to all gradients at once, on flat arrays: are they finite, their norm, their mean over batches.

Everything is written in place, and what changes from step to step comes in small arrays, so that a step can be recorded.
"""

from collections.abc import Sequence

from gpucnn.backend import Array
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels.gradients import cuda, plain
from gpucnn.kernels.ways import Way, choose

CLEAR = {Way.CUDA: cuda.clear_unless_finite, Way.PLAIN: plain.clear_unless_finite}
LIMIT = {Way.CUDA: cuda.limit_norm, Way.PLAIN: plain.limit_norm}
ADD = {Way.CUDA: cuda.add_batch, Way.PLAIN: plain.add_batch}
MEAN = {Way.CUDA: cuda.take_mean, Way.PLAIN: plain.take_mean}
SUITS = {Way.CUDA: cuda.suits}


def clear_unless_finite(flag: Array, values: Array, loss: Array | None) -> None:
    """Set `flag`, int32 (), to 0 if `values`, of any shape, or `loss`, of one element, have a NaN or an infinity."""
    arrays = [values] if loss is None else [values, loss]
    CLEAR[choose(CLEAR, *arrays, task=arrays, suits=SUITS)](flag, values, loss)


def limit_norm(gradients: Sequence[Array], most: float) -> Array:
    """Scale all `gradients`, at least one array, in place by min(1, most / (norm + 1e-6)); the norm before, float64 ().

    The norm, as that of one long vector, is added up in float64, on the device of the first.
    """
    return LIMIT[choose(LIMIT, *gradients, task=gradients, suits=SUITS)](gradients, most)


def add_batch(total: Array, gradient: Array, images: int) -> None:
    """Add `gradient`, times the number of `images` it is the mean of, to `total`, in place."""
    ADD[choose(ADD, total, gradient, task=[total, gradient], suits=SUITS)](total, gradient, images)


def take_mean(total: Array, gradient: Array, images: Array) -> None:
    """Put `total` over `images`, (1,) in their dtype, into `gradient`, and zeros into `total`."""
    MEAN[choose(MEAN, total, gradient, task=[total, gradient], suits=SUITS)](total, gradient, images)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
