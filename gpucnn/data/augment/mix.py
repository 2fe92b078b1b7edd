"""What a mix is, and what all mixes share: a partner in the batch, a share that is drawn, labels in these shares."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_count, as_number, labels_fix
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.text import shape_text, value_text

Mix: TypeAlias = Callable[[Array, Array, np.ndarray, int, int, int], tuple[Array, Array]]
"""From images (B, C, H, W) and labels (B,) on any device, their indices (B,) in the data set, seed, epoch and the number
of classes to mixed images and soft labels, float32 (B, classes).

Which place in the batch a sample's partner has, and the share of each, are functions of (seed, epoch, its index).
"""


def as_alpha(alpha: float, owner: str) -> float:
    """`alpha`, the parameter of a beta distribution, as a float; ArgumentError, which names `owner`, unless it is > 0."""
    if as_number(alpha, f"{owner}: alpha") == 0:
        raise ArgumentError(f"{owner}: alpha must be above 0, got {value_text(alpha)}; for no mix leave it out")
    return float(alpha)


def symmetric_beta(draws: np.ndarray, alpha: float) -> np.ndarray:
    """Draws in [0, 1), float64 (B, 2), as draws of Beta(alpha, alpha), (B,).

    Without rejection, so that each takes as many draws. Source: Devroye, "Random variate generation in one line of code",
    Winter Simulation Conference 1996: T / sqrt(2 alpha + T^2) of a Student's T with 2 alpha degrees of freedom, which is
    made as by Bailey, "Polar generation of random variates with the t-distribution", 1994.
    """
    power = (1 - draws[:, 0]) ** (1 / alpha)
    cosine = np.cos(2 * np.pi * draws[:, 1])
    square = (1 - power) * cosine**2
    shares: np.ndarray = 0.5 + 0.5 * np.sign(cosine) * np.sqrt(square / (power + square))
    return shares


def mixed_labels(owner: str, labels: Array, partners: Array, shares: np.ndarray, num_classes: int) -> Array:
    """Labels (B,) as float32 (B, num_classes): a share for each one's own class, the rest for that of its partner.

    Raises ShapeError, DTypeError and ArgumentError, which name `owner`, for labels that are not integers (B,) from 0 to
    `num_classes` - 1. Labels that are on a GPU are not looked at for their range, as that would wait for it.
    """
    classes = as_count(num_classes, f"{owner}: num_classes")
    if labels.shape != shares.shape:
        fix = labels_fix(labels.shape, len(shares))
        raise ShapeError(
            f"{owner}: expected labels {shape_text(shares.shape)}, got {shape_text(labels.shape)}{f'; {fix}' if fix else ''}"
        )
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"{owner}: labels must be integers, got {labels.dtype}")
    xp = xp_of(labels)
    if xp is np and labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ArgumentError(
            f"{owner}: labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}; give the data set "
            "its number of classes"
        )
    one_hot = (labels[:, None] == xp.arange(classes)).astype(np.float32)
    own = xp.asarray(shares.astype(np.float32)[:, None])
    return one_hot * own + one_hot[partners] * (1 - own)
