"""The updates in the plain way, on any array module: what the other ways must equal, to rounding."""

from typing import NamedTuple

from gpucnn.backend import Array, xp_of


class SgdSettings(NamedTuple):
    """The numbers of a step of SGD, in the order in which they stand in the array `settings`."""

    lr: float
    momentum: float
    weight_decay: float


class AdamSettings(NamedTuple):
    """The numbers of a step of Adam, in the order in which they stand in the array `settings`."""

    rate: float
    """lr / (1 - beta1^t)"""
    beta1: float
    fresh1: float
    """1 - beta1"""
    beta2: float
    fresh2: float
    """1 - beta2"""
    correction2: float
    """1 - beta2^t"""
    eps: float
    weight_decay: float


def sgd(parameters: Array, gradients: Array, velocities: Array | None, settings: Array, nesterov: bool) -> None:
    """See `sgd` of this folder."""
    given = SgdSettings(*settings)
    step = _decayed(parameters, gradients, given.weight_decay)
    if velocities is not None:
        velocities *= given.momentum
        velocities += step
        step = step + given.momentum * velocities if nesterov else velocities
    parameters -= given.lr * step


def adam(parameters: Array, gradients: Array, means: Array, squares: Array, settings: Array) -> None:
    """See `adam` of this folder."""
    given = AdamSettings(*settings)
    gradients = _decayed(parameters, gradients, given.weight_decay)
    means *= given.beta1
    means += given.fresh1 * gradients
    squares *= given.beta2
    squares += given.fresh2 * (gradients * gradients)
    parameters -= given.rate * means / (xp_of(parameters).sqrt(squares / given.correction2) + given.eps)


def _decayed(parameters: Array, gradients: Array, weight_decay: float) -> Array:
    """The gradients with that of the decay; without decay they alone, also where a parameter is infinite."""
    return gradients + weight_decay * parameters if weight_decay else gradients
