"""Images moved by whole pixels."""

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_choice, as_count, check_shape, is_int
from gpucnn.data.augment.augment import FILLS, Share, draws, flat_places, mirrored, whole
from gpucnn.errors import ArgumentError
from gpucnn.text import call_text, value_text


class RandomShift:
    """Move each image by up to `max_shift` pixels up or down and left or right.

    A float is a share: of the height up or down, and of the width left or right, to the nearest pixel. This is what others
    call padding by `max_shift` and cropping at random to the old size. What moves in is

    - 0 for `fill="zero"`, which is black, or the mean colour of normalised images;
    - the image mirrored at its edge pixels for `fill="reflect"`.

    A sample's shift is a function of (seed, epoch, its index): it does not depend on the batch it comes in. Raises
    ArgumentError unless `max_shift` is an int >= 0 or a float from 0 to 1, and for another `fill`.
    """

    def __init__(self, max_shift: int | Share, fill: str = "zero") -> None:
        self.max_shift = _as_shift(max_shift)
        self.fill = as_choice(fill, "fill", FILLS)

    __repr__ = call_text

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Images (B, C, H, W) to shifted copies of the same shape and dtype. Raises ShapeError."""
        drawn = draws("RandomShift", images, indices, seed, epoch, 2)
        xp = xp_of(images)
        batch, channels, height, width = images.shape
        down, right = self.most_pixels(height, width)
        shape = check_shape("RandomShift", (batch, channels, height + 2 * down, width + 2 * right))
        shifts = whole(drawn, (2 * down + 1, 2 * right + 1))
        rows, columns = shifts[:, :1] + np.arange(height), shifts[:, 1:] + np.arange(width)
        if self.fill == "zero":
            source = xp.zeros(shape, images.dtype)
            source[:, :, down : down + height, right : right + width] = images
        else:
            source = images
            rows, columns = (
                mirrored(places - limit, size).astype(np.int64)
                for places, limit, size in ((rows, down, height), (columns, right, width))
            )
        places = flat_places(source, xp.asarray(rows)[:, :, None], xp.asarray(columns)[:, None])
        return source.reshape(-1)[places]

    def most_pixels(self, height: int, width: int) -> tuple[int, int]:
        """By how many pixels images are moved at most: up or down, and left or right."""
        if isinstance(self.max_shift, float):
            return round(self.max_shift * height), round(self.max_shift * width)
        return self.max_shift, self.max_shift


def _as_shift(value: int | float) -> int | float:
    """Pixels, or a share of the image as a float. ArgumentError for what is neither."""
    if not isinstance(value, float):
        if not is_int(value):
            raise ArgumentError(f"max_shift must be an int >= 0 or a float from 0 to 1, got {value_text(value)}")
        return as_count(value, "max_shift", 0)
    if not 0 <= value <= 1:
        raise ArgumentError(
            f"max_shift, as a float, is a share of the image, from 0 to 1 (100%), got {value_text(value)}; give pixels as an int"
        )
    return float(value)
