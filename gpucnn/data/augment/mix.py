"""Mixes of the images of a batch: blended in pairs, or each with a box of another one, and their labels in these shares."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_count, as_number, labels_fix
from gpucnn.data.augment.augment import boxes, check_floats, draws, whole
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.text import call_text, shape_text, value_text

Mix: TypeAlias = Callable[[Array, Array, np.ndarray, int, int, int], tuple[Array, Array]]
"""From images (B, C, H, W) and labels (B,) on any device, their indices (B,) in the data set, seed, epoch and the number
of classes to mixed images and soft labels, float32 (B, classes).

Which place in the batch a sample's partner has, and the share of each, are functions of (seed, epoch, its index).
"""


class Mixup:
    """Blend each image, and its label, with another of its batch: share * one + (1 - share) * other.

    The share is a draw of Beta(alpha, alpha): near 0 or 1 for a small alpha, near a half for a large one. Each sample has
    its own share and partner, which may be itself, functions of (seed, epoch, its index) and the size of the batch.
    Raises ArgumentError unless alpha > 0.

    Source: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    """

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = as_alpha(alpha, "Mixup")

    __repr__ = call_text

    @on_their_device
    def __call__(
        self, images: Array, labels: Array, indices: np.ndarray, seed: int, epoch: int, num_classes: int
    ) -> tuple[Array, Array]:
        """Float images (B, C, H, W) and labels (B,) to mixed images and soft labels, float32 (B, num_classes).

        Raises ShapeError, DTypeError, and ArgumentError for labels out of range.
        """
        check_floats("Mixup", images)
        drawn = draws("Mixup", images, indices, seed, epoch, 3)
        xp = xp_of(images, labels)
        shares = symmetric_beta(drawn[:, :2], self.alpha)
        partners = xp.asarray(whole(drawn[:, 2], len(images)))
        soft = mixed_labels("Mixup", labels, partners, shares, num_classes)
        own = xp.asarray(shares.astype(images.dtype)[:, None, None, None])
        return images * own + images[partners] * (1 - own), soft


class CutMix:
    """Replace a box of each image by the same box of another of its batch, and mix their labels by area.

    The box has the image's proportions and 1 - share of its area, with share a draw of Beta(alpha, alpha). Its centre is
    any pixel; what lies outside is cut off, and labels are mixed by the pixels that are left. Each sample has its own box
    and partner, which may be itself, functions of (seed, epoch, its index) and the size of the batch. Raises
    ArgumentError unless alpha > 0.

    Source: Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features", ICCV 2019.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = as_alpha(alpha, "CutMix")

    __repr__ = call_text

    @on_their_device
    def __call__(
        self, images: Array, labels: Array, indices: np.ndarray, seed: int, epoch: int, num_classes: int
    ) -> tuple[Array, Array]:
        """Images (B, C, H, W) and labels (B,) to mixed images and soft labels, float32 (B, num_classes).

        Raises ShapeError, DTypeError, and ArgumentError for labels out of range.
        """
        drawn = draws("CutMix", images, indices, seed, epoch, 5)
        xp = xp_of(images, labels)
        shape = images.shape[2:]
        sides = np.sqrt(1 - symmetric_beta(drawn[:, :2], self.alpha))
        sizes = np.rint(sides[:, None] * shape).astype(np.int64)
        rows, columns = boxes(whole(drawn[:, 3:], shape), sizes, shape)
        shares = 1 - rows.sum(1) * columns.sum(1) / (shape[0] * shape[1])
        partners = xp.asarray(whole(drawn[:, 2], len(images)))
        soft = mixed_labels("CutMix", labels, partners, shares, num_classes)
        box = xp.asarray(rows)[:, None, :, None] & xp.asarray(columns)[:, None, None]
        return xp.where(box, images[partners], images), soft


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
