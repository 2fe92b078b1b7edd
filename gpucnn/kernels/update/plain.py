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
    kept: float = 1.0
    """What a parameter is multiplied by first: 1 - lr * weight_decay in AdamW, whose decay is not part of the gradient."""


class AdagradSettings(NamedTuple):
    """The numbers of a step of Adagrad, in the order in which they stand in the array `settings`."""

    rate: float
    """lr / (1 + (t - 1) * lr_decay)"""
    eps: float
    weight_decay: float


class RmspropSettings(NamedTuple):
    """The numbers of a step of RMSprop, in the order in which they stand in the array `settings`."""

    lr: float
    alpha: float
    fresh: float
    """1 - alpha"""
    eps: float
    momentum: float
    weight_decay: float


class LionSettings(NamedTuple):
    """The numbers of a step of Lion, in the order in which they stand in the array `settings`."""

    lr: float
    beta1: float
    fresh1: float
    """1 - beta1"""
    beta2: float
    fresh2: float
    """1 - beta2"""
    kept: float
    """1 - lr * weight_decay"""


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
    if given.kept != 1:
        parameters *= given.kept
    gradients = _decayed(parameters, gradients, given.weight_decay)
    means *= given.beta1
    means += given.fresh1 * gradients
    squares *= given.beta2
    squares += given.fresh2 * (gradients * gradients)
    parameters -= given.rate * means / (xp_of(parameters).sqrt(squares / given.correction2) + given.eps)


def adagrad(parameters: Array, gradients: Array, sums: Array, settings: Array) -> None:
    """See `adagrad` of this folder."""
    given = AdagradSettings(*settings)
    direction = _decayed(parameters, gradients, given.weight_decay)
    root = direction * direction
    sums += root
    xp_of(parameters).sqrt(sums, out=root)
    root += given.eps
    step = direction / root
    step *= given.rate
    parameters -= step


def rmsprop(
    parameters: Array, gradients: Array, squares: Array, means: Array | None, velocities: Array | None, settings: Array
) -> None:
    """See `rmsprop` of this folder."""
    given, xp = RmspropSettings(*settings), xp_of(parameters)
    direction = _decayed(parameters, gradients, given.weight_decay)
    root = direction * direction
    root *= given.fresh
    squares *= given.alpha
    squares += root
    if means is not None:
        xp.multiply(direction, given.fresh, out=root)
        means *= given.alpha
        means += root
        xp.multiply(means, means, out=root)
        xp.subtract(squares, root, out=root)
        xp.maximum(root, 0, out=root)
        xp.sqrt(root, out=root)
    else:
        xp.sqrt(squares, out=root)
    root += given.eps
    step = direction / root
    if velocities is not None:
        velocities *= given.momentum
        velocities += step
        xp.multiply(velocities, given.lr, out=step)
    else:
        step *= given.lr
    parameters -= step


def lion(parameters: Array, gradients: Array, momenta: Array, settings: Array) -> None:
    """See `lion` of this folder."""
    given, xp = LionSettings(*settings), xp_of(parameters)
    direction, share = momenta * given.beta1, gradients * given.fresh1
    direction += share
    xp.sign(direction, out=direction)
    direction *= given.lr
    parameters *= given.kept
    parameters -= direction
    xp.multiply(gradients, given.fresh2, out=share)
    momenta *= given.beta2
    momenta += share


def average(averages: Array, weights: Array, share: Array) -> None:
    """See `average` of this folder."""
    difference = weights - averages
    difference *= share
    averages += difference


def _decayed(parameters: Array, gradients: Array, weight_decay: float) -> Array:
    """The gradients with that of the decay; without decay they alone, also where a parameter is infinite."""
    return gradients + weight_decay * parameters if weight_decay else gradients
