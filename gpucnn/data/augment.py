"""Random changes of training images, each drawn for its sample alone."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gpucnn.backend import generator
from gpucnn.checks import is_int
from gpucnn.errors import ArgumentError

Augment: TypeAlias = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
"""From images (B, C, H, W), their indices (B,) in the data set, seed and epoch to changed images."""


class RandomShift:
    """Move each image by up to `max_shift` pixels up or down and left or right; what moves in is 0.

    A sample's shift is a function of (seed, epoch, its index): it does not depend on the batch it comes in. Raises
    ArgumentError unless `max_shift` is an int >= 0.
    """

    def __init__(self, max_shift: int) -> None:
        if not is_int(max_shift) or max_shift < 0:
            raise ArgumentError(f"max_shift must be an int >= 0, got {max_shift!r}")
        self.max_shift = max_shift

    def __call__(self, images: np.ndarray, indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Images (B, C, H, W) to shifted copies of the same shape and dtype."""
        height, width = images.shape[2:4]
        limit = self.max_shift
        padded = np.pad(images, ((0, 0), (0, 0), (limit, limit), (limit, limit)))
        shifted = np.empty_like(images)
        for position, index in enumerate(indices):
            down, right = generator(seed, "shift", epoch, int(index)).integers(0, 2 * limit + 1, 2)
            shifted[position] = padded[position, :, down : down + height, right : right + width]
        return shifted
