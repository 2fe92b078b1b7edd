"""Images with a square blanked out."""

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_count
from gpucnn.data.augment.augment import boxes, draws, whole
from gpucnn.text import call_text


class Cutout:
    """Set a square of `size` x `size` pixels to 0 in each image, in all channels.

    Its centre is any pixel with the same probability, so that part of it may lie outside. 0 is black, or the mean colour
    of normalised images. A sample's square is a function of (seed, epoch, its index). Raises ArgumentError unless `size`
    is an int >= 1.

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """

    def __init__(self, size: int) -> None:
        self.size = as_count(size, "size")

    __repr__ = call_text

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Images (B, C, H, W) to copies of the same shape and dtype with a blank square. Raises ShapeError."""
        drawn = draws("Cutout", images, indices, seed, epoch, 2)
        xp = xp_of(images)
        shape = images.shape[2:]
        rows, columns = boxes(whole(drawn, shape), np.full_like(drawn, self.size, np.int64), shape)
        blank = xp.asarray(rows)[:, None, :, None] & xp.asarray(columns)[:, None, None]
        return xp.where(blank, 0, images)
