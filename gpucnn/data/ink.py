"""Whether what is drawn in an image is dark or light."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def has_dark_ink(image: "Image.Image") -> bool:
    """Whether most of what is to be seen in an RGBA image is dark, each pixel counted as much as it covers."""
    light, cover = (np.asarray(band) for band in image.convert("LA").split())
    return 2 * int(cover[light < 128].sum(dtype=np.int64)) > int(cover.sum(dtype=np.int64))


def is_dark_on_light(raw: np.ndarray) -> bool:
    """Whether a raw image (1, C, S, S) is light as a whole, and at its edge: ink on paper, not chalk on a board.

    Light is what is nearer to its lightest pixel than to its darkest, as paper may be grey.
    """
    grey = raw.mean(axis=(0, 1))
    middle = (grey.min() + grey.max()) / 2
    edge = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    return bool(grey.mean() > middle and np.median(edge) > middle)
