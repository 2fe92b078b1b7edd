"""Images moved by whole pixels."""

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_choice, as_count, check_shape
from gpucnn.data.augment.augment import draws, flat_places, whole


class RandomShift:
    """Move each image by up to `max_shift` pixels up or down and left or right.

    This is what others call padding by `max_shift` and cropping at random to the old size. What moves in is

    - 0 for `fill="zero"`, which is black, or the mean colour of normalised images;
    - the image mirrored at its edge pixels for `fill="reflect"`.

    A sample's shift is a function of (seed, epoch, its index): it does not depend on the batch it comes in. Raises
    ArgumentError unless `max_shift` is an int >= 0, and for another `fill`.
    """

    def __init__(self, max_shift: int, fill: str = "zero") -> None:
        self.max_shift = as_count(max_shift, "max_shift", 0)
        self.fill = as_choice(fill, "fill", ("zero", "reflect"))

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Images (B, C, H, W) to shifted copies of the same shape and dtype. Raises ShapeError."""
        drawn = draws("RandomShift", images, indices, seed, epoch, 2)
        xp = xp_of(images)
        batch, channels, height, width = images.shape
        limit = self.max_shift
        check_shape("RandomShift", (batch, channels, height + 2 * limit, width + 2 * limit))
        shifts = whole(drawn, 2 * limit + 1)
        rows, columns = shifts[:, :1] + np.arange(height), shifts[:, 1:] + np.arange(width)
        if self.fill == "zero":
            source = xp.zeros((batch, channels, height + 2 * limit, width + 2 * limit), images.dtype)
            source[:, :, limit : limit + height, limit : limit + width] = images
        else:
            source = images
            rows, columns = _mirrored(rows - limit, height), _mirrored(columns - limit, width)
        places = flat_places(source, xp.asarray(rows)[:, :, None], xp.asarray(columns)[:, None])
        return source.reshape(-1)[places]


def _mirrored(positions: np.ndarray, length: int) -> np.ndarray:
    """Positions on a line that goes back and forth between 0 and `length` - 1, the ends not repeated."""
    period = max(2 * (length - 1), 1)
    there = positions % period
    return np.minimum(there, period - there) if length > 1 else there
