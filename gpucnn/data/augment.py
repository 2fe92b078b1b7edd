"""Random changes of training images, each drawn for its sample alone."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gpucnn.backend import Array, generator, xp_of
from gpucnn.checks import as_number, is_int
from gpucnn.errors import ArgumentError

Augment: TypeAlias = Callable[[Array, np.ndarray, int, int], Array]
"""From images (B, C, H, W) on any device, their indices (B,) in the data set, seed and epoch to changed images."""


class RandomShift:
    """Move each image by up to `max_shift` pixels up or down and left or right; what moves in is 0.

    A sample's shift is a function of (seed, epoch, its index): it does not depend on the batch it comes in. Raises
    ArgumentError unless `max_shift` is an int >= 0.
    """

    def __init__(self, max_shift: int) -> None:
        if not is_int(max_shift) or max_shift < 0:
            raise ArgumentError(f"max_shift must be an int >= 0, got {max_shift!r}")
        self.max_shift = max_shift

    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Images (B, C, H, W) to shifted copies of the same shape and dtype."""
        xp = xp_of(images)
        batch, channels, height, width = images.shape
        limit = self.max_shift
        padded = xp.zeros((batch, channels, height + 2 * limit, width + 2 * limit), images.dtype)
        padded[:, :, limit : limit + height, limit : limit + width] = images
        draws = [generator(seed, "shift", epoch, int(index)).integers(0, 2 * limit + 1, 2) for index in indices]
        shifts = xp.asarray(np.array(draws, np.int64).reshape(batch, 2))
        rows = shifts[:, 0, None] + xp.arange(height)
        columns = shifts[:, 1, None] + xp.arange(width)
        places = (xp.arange(batch)[:, None, None, None], xp.arange(channels)[:, None, None])
        return padded[*places, rows[:, None, :, None], columns[:, None, None, :]]


class RandomFlip:
    """Mirror each image left to right with probability `p`.

    A sample's flip is a function of (seed, epoch, its index). Raises ArgumentError unless 0 <= p <= 1.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = as_number(p, "p, the probability of a flip,")
        if self.p > 1:
            raise ArgumentError(f"p, the probability of a flip, must be at most 1, got {p!r}")

    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Images (B, C, H, W) to copies of the same shape and dtype, some of them mirrored."""
        xp = xp_of(images)
        draws = np.array([generator(seed, "flip", epoch, int(index)).random() for index in indices], np.float64)
        flipped = xp.asarray(draws < self.p)[:, None, None, None]
        return xp.where(flipped, images[:, :, :, ::-1], images)


class Compose:
    """Several augmentations, one after the other."""

    def __init__(self, *augmentations: Augment) -> None:
        self.augmentations = augmentations

    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Images (B, C, H, W) through all augmentations in turn."""
        for augment in self.augmentations:
            images = augment(images, indices, seed, epoch)
        return images
