"""Images mirrored."""

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_number
from gpucnn.data.augment.augment import draws
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text


class RandomFlip:
    """Mirror each image left to right with probability `p`.

    A sample's flip is a function of (seed, epoch, its index). Raises ArgumentError unless 0 <= p <= 1.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = as_number(p, "p, the probability of a flip,")
        if self.p > 1:
            raise ArgumentError(f"p, the probability of a flip, must be at most 1, got {value_text(p)}")

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Images (B, C, H, W) to copies of the same shape and dtype, some of them mirrored. Raises ShapeError."""
        drawn = draws("RandomFlip", images, indices, seed, epoch, 1)
        xp = xp_of(images)
        return xp.where(xp.asarray(drawn < self.p)[:, :, None, None], images[:, :, :, ::-1], images)
