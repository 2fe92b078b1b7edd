"""Boxes of an area and proportions that are drawn, somewhere in an image."""

import math
from typing import NamedTuple

import numpy as np

from gpucnn.data.augment.augment import Range, between

ATTEMPTS = 10
"""Boxes that are drawn for an image until one of them lies within it."""
DRAWS = 2 * ATTEMPTS + 2
"""Numbers that a box takes."""


class Boxes(NamedTuple):
    """A box in each image: integers (B, 2), (row, column) of its first pixel and (height, width)."""

    first: np.ndarray
    sizes: np.ndarray
    is_drawn: np.ndarray
    """Bools (B,): where it is False, none of the boxes that were drawn lay within the image, and this is none of them."""


def drawn_boxes(draws: np.ndarray, shape: tuple[int, int], share: Range, ratio: Range) -> Boxes:
    """A box in each image of `shape` (height, width), from its draws in [0, 1), float64 (B, DRAWS).

    Its share of the image's area is drawn evenly, its width / height evenly on a logarithmic scale. What is larger than the
    image is drawn again, `ATTEMPTS` times; then the box is the largest in the middle that has proportions within `ratio`.
    It has a pixel at least, and every place in the image is as probable.

    Source: torchvision's RandomResizedCrop, which follows Szegedy et al., "Going deeper with convolutions", CVPR 2015.
    """
    height, width = shape
    areas = between(draws[:, :ATTEMPTS], *share) * (height * width)
    ratios = np.exp(between(draws[:, ATTEMPTS : 2 * ATTEMPTS], math.log(ratio[0]), math.log(ratio[1])))
    sizes = np.maximum(np.rint(np.sqrt(np.stack([areas / ratios, areas * ratios], axis=2))), 1).astype(np.int64)
    fits = (sizes <= shape).all(axis=2)
    is_drawn = fits.any(axis=1)
    found = sizes[np.arange(len(draws)), fits.argmax(axis=1)]
    found[~is_drawn] = max(1, min(height, round(width / ratio[0]))), max(1, min(width, round(height * ratio[1])))
    room = np.array(shape) - found
    first = np.where(is_drawn[:, None], np.floor(draws[:, 2 * ATTEMPTS :] * (room + 1)).astype(np.int64), room // 2)
    return Boxes(first, found, is_drawn)
