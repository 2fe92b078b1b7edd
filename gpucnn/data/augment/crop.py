"""Images of which a part is kept, at the size of the whole."""

import math

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_count
from gpucnn.data.augment.augment import Range, Share, as_factors, as_shares, check_floats, draws
from gpucnn.data.augment.drawn_box import DRAWS, drawn_boxes
from gpucnn.text import call_text

_MOST_ENLARGED = 2
"""How many times the image size a source may have each way: four times the memory."""
_CACHED_PIXELS = 32768
"""Pixels made at a time on a CPU: few enough that all that belongs to them stays in its cache."""


class RandomResizedCrop:
    """Cut a box of random size, proportions and place out of each image, and bring it to the image size.

    - `image_size`: height and width of the result; None for those of the images.
    - `scale`: the box's share of the image's area, drawn from the first to the second; both above 0 and at most 1.
    - `ratio`: its width / height, drawn on a logarithmic scale; both from 0.01 to 100.

    Boxes are drawn as torchvision's are, whose default scale is (0.08, 1), see `drawn_boxes`. Pixels are interpolated
    bilinearly within the box. A sample's box is a function of (seed, epoch, its index). Raises ArgumentError for what is
    out of range.
    """

    def __init__(
        self, image_size: int | None = None, scale: tuple[Share, Share] = (0.35, 1.0), ratio: Range = (0.75, 4 / 3)
    ) -> None:
        self.image_size = None if image_size is None else as_count(image_size, "image_size")
        self.scale, self.ratio = as_shares(scale, "scale"), as_factors(ratio, "ratio")

    @property
    def source_size(self) -> int | None:
        """The image size with which a box of middling area has as many pixels as it is brought to, if that is known.

        At most twice the size that it is brought to.
        """
        if self.image_size is None:
            return None
        return min(round(self.image_size / math.sqrt(sum(self.scale) / 2)), _MOST_ENLARGED * self.image_size)

    __repr__ = call_text

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Float images (B, C, H, W) to (B, C, image_size, image_size) of their dtype. Raises DTypeError and ShapeError."""
        check_floats("RandomResizedCrop", images)
        drawn = draws("RandomResizedCrop", images, indices, seed, epoch, DRAWS)
        xp = xp_of(images)
        batch, channels, height, width = images.shape
        boxes = drawn_boxes(drawn, (height, width), self.scale, self.ratio)
        shape = (height, width) if self.image_size is None else (self.image_size, self.image_size)
        rows, columns = (_along(boxes.first[:, axis], boxes.sizes[:, axis], shape[axis]) for axis in (0, 1))
        found = xp.empty((batch, channels, *shape), images.dtype)
        at_a_time = max(1, batch if xp is not np else _CACHED_PIXELS // (height * width))
        for start in range(0, batch, at_a_time):
            part = slice(start, start + at_a_time)
            found[part] = _interpolated(images[part], rows[part], columns[part])
        return found


def _along(first: np.ndarray, length: np.ndarray, size: int) -> np.ndarray:
    """Where `size` pixels along an axis have their middles in stretches of the image: float64 (B, size).

    Those nearer to an end of a stretch than half of its pixels are there. On the host, as the same bits are wanted on
    every device.
    """
    inside = (np.arange(size) + 0.5) * (length[:, None] / size) - 0.5
    return first[:, None] + np.clip(inside, 0, length[:, None] - 1)


def _interpolated(images: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """Images (B, C, H, W) at the crossings of `rows` (B, P) and `columns` (B, Q): (B, C, P, Q), bilinear.

    One axis after the other: whole rows are taken, and then, with the axes turned, whole columns.
    """
    batch, channels, height, width = images.shape
    xp = xp_of(images)
    of_planes = np.repeat(np.arange(batch), channels)
    found = _blended(xp.ascontiguousarray(images).reshape(batch * channels, height, width), rows[of_planes])
    turned = found.reshape(batch, channels, -1, width).transpose(0, 3, 1, 2).reshape(batch, width, -1)
    found = _blended(turned, columns).reshape(batch, columns.shape[1], channels, -1)
    return found.transpose(0, 2, 3, 1)


def _blended(lines: Array, places: np.ndarray) -> Array:
    """Lines (B, L, n) at fractions of their numbers, `places` (B, P): (B, P, n)."""
    xp = xp_of(lines)
    batch, length, size = lines.shape
    before = np.floor(places).astype(np.int64)
    share = xp.asarray((places - before).astype(lines.dtype)[:, :, None])
    before += np.arange(batch)[:, None] * length
    after = np.minimum(before + 1, np.arange(1, batch + 1)[:, None] * length - 1)
    flat = lines.reshape(batch * length, size)
    one, other = (flat.take(xp.asarray(which), axis=0) for which in (before, after))
    other -= one
    other *= share
    other += one
    return other
