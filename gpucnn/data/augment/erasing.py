"""Images with a box of random size and proportions erased."""

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, generator, xp_of
from gpucnn.checks import as_choice
from gpucnn.data.augment.augment import (
    Range,
    Share,
    as_factors,
    as_probability,
    as_shares,
    boxes,
    check_floats,
    draws,
)
from gpucnn.data.augment.drawn_box import DRAWS, drawn_boxes
from gpucnn.data.normalization import as_normalization, normalize
from gpucnn.errors import ShapeError
from gpucnn.text import call_text, shape_text

FILLS = ("zero", "mean", "noise")


class RandomErasing:
    """Erase a box of random size, proportions and place in each image with probability `p`.

    - `scale`: the box's share of the image's area, drawn from the first to the second; both above 0 and at most 1.
    - `ratio`: its width / height, drawn on a logarithmic scale; both from 0.01 to 100.
    - `fill`: what is in the box then: "zero", which is black, or the mean colour of normalised images; "mean", the image's own
      mean colour; or "noise", colours from 0 to 1, each as probable.
    - `mean`, `std`: None, or what the images were normalised with, one number per channel; noise is then, too.

    An image in which none of ten boxes has a place stays whole. A sample's box is a function of (seed, epoch, its index).
    Raises ArgumentError for what is out of range.

    Source: Zhong et al., "Random erasing data augmentation", AAAI 2020.
    """

    def __init__(
        self,
        p: Share = 0.5,
        scale: tuple[Share, Share] = (0.02, 0.33),
        ratio: Range = (0.3, 3.3),
        fill: str = "zero",
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        self.p = as_probability(p, "erasing")
        self.scale, self.ratio = as_shares(scale, "scale"), as_factors(ratio, "ratio")
        self.fill = as_choice(fill, "fill", FILLS)
        self.normalization = as_normalization(mean, std)
        self.mean, self.std = mean, std

    __repr__ = call_text

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Float images (B, C, H, W) to copies of the same shape and dtype, with a box erased. Raises DTypeError and ShapeError."""
        check_floats("RandomErasing", images)
        drawn = draws("RandomErasing", images, indices, seed, epoch, 1 + DRAWS)
        if self.normalization is not None and len(self.normalization[0]) != images.shape[1]:
            expected = len(self.normalization[0])
            raise ShapeError(f"RandomErasing: expected images (B, {expected}, H, W), got {shape_text(images.shape)}")
        xp = xp_of(images)
        shape = images.shape[2:]
        box = drawn_boxes(drawn[:, 1:], shape, self.scale, self.ratio)
        erased = (drawn[:, 0] < self.p) & box.is_drawn
        sizes = box.sizes * erased[:, None]
        rows, columns = boxes(box.first + sizes // 2, sizes, shape)
        inside = xp.asarray(rows)[:, None, :, None] & xp.asarray(columns)[:, None, None]
        return xp.where(inside, self._filling(images, np.asarray(indices), (seed, epoch), rows, columns), images)

    def _filling(
        self, images: Array, indices: np.ndarray, drawn_by: tuple[int, int], rows: np.ndarray, columns: np.ndarray
    ) -> Array | int:
        """What is in the boxes, to be broadcast to the images."""
        if self.fill == "zero":
            return 0
        batch, channels, height, width = images.shape
        if self.fill == "mean":
            # Each plane in a row of its own, so that it is summed alike in whatever batch it is.
            return images.reshape(batch, channels, height * width).mean(axis=2)[:, :, None, None]
        noise = np.zeros(images.shape, images.dtype)
        for sample in np.flatnonzero(rows.any(1)):
            inside = np.ix_(np.arange(channels), rows[sample], columns[sample])
            drawn = generator(drawn_by[0], "RandomErasing noise", drawn_by[1], int(indices[sample]))
            noise[sample][inside] = drawn.random(noise[sample][inside].shape)
        if self.normalization is not None:
            noise = normalize(noise, *self.normalization)
        return xp_of(images).asarray(noise)
