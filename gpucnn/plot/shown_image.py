"""How an image is drawn: its values as matplotlib takes them, and without ticks."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import Array, to_host
from gpucnn.data.as_shown import values_shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def picture(image: Array, preprocess: object = None) -> np.ndarray:
    """An image (C, H, W) as matplotlib draws it, see `pictures`."""
    (found,), _ = pictures([image], preprocess)
    return found


def pictures(images: Iterable[Array], preprocess: object = None) -> tuple[list[np.ndarray], str]:
    """Images (C, H, W) as matplotlib draws them, in [0, 1]; and what must be said of their values, see `values_shown`.

    (H, W) if they are grey, or of neither one nor three channels, else (H, W, 3).
    """
    found, note = values_shown([to_host(image) for image in images], preprocess)
    return [one.transpose(1, 2, 0) if len(one) == 3 else one.mean(axis=0) for one in found], note


def show_image(axes: "Axes", image: np.ndarray) -> None:
    """Draw what `picture` gives, without ticks; grey from dark to light, and small ones with their pixels."""
    axes.imshow(image, "gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)
