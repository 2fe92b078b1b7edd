"""What a notebook shows of a data set or a loader: a sheet of some of its images with their classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpucnn.backend import to_host
from gpucnn.data.dataset import Batch, Dataset, class_names_of, whole_of
from gpucnn.html_fragments import Html, html_sheet, titled
from gpucnn.text_table import shortened

IMAGES = 16
SIZE = 96
"""Pixels of the screen that an image is high and wide at most."""
NAME_WIDTH = 24


def dataset_html(dataset: Dataset, title: str, class_names: Sequence[str] | None = None) -> Html | None:
    """A sheet of 16 images, in equal steps from the data set's first to its last; None if it has none.

    `class_names`: by default those that the data set has itself; without, classes go by their numbers.
    """
    count = min(IMAGES, len(dataset))
    if not count:
        return None
    indices = np.linspace(0, len(dataset) - 1, count).round().astype(np.int64)
    return batch_html(dataset[indices], dataset, title, class_names)


def batch_html(batch: Batch, dataset: Dataset, title: str, class_names: Sequence[str] | None = None) -> Html:
    """A sheet of images (B, C, H, W) made of those of `dataset`, with their labels (B,), or soft labels (B, classes).

    A normalisation is undone. Bytes are shown as they are, and so are floats from 0 to 1; of others the lowest is black and
    the highest white, and the title says so.
    """
    images, labels = (to_host(array) for array in batch)
    names = class_names or class_names_of(dataset) or ()
    pixels, note = _pixels(images, getattr(whole_of(dataset), "preprocess", None))
    captions = [_caption(label, names) for label in labels]
    return titled(title + note, html_sheet(list(pixels), captions, SIZE))


def _pixels(images: np.ndarray, preprocess: Any) -> tuple[np.ndarray, str]:
    """Images as `png_uri` takes them, and what must be said of them."""
    if images.dtype == np.uint8:
        return images, ""
    images = images.astype(np.float64)
    mean, deviation = (getattr(preprocess, name, None) for name in ("mean", "std"))
    if mean is not None and deviation is not None:
        return images * np.reshape(deviation, (-1, 1, 1)) + np.reshape(mean, (-1, 1, 1)), ""
    finite = images[np.isfinite(images)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        return images, ""
    return (images - low) / ((high - low) or 1), f"; shown from {low:.4g}, black, to {high:.4g}, white"


def _caption(label: np.ndarray, names: Sequence[str]) -> str:
    """The class, or of a soft label the classes and their shares, the largest first."""
    if not label.ndim:
        return _name(int(label), names)
    order = [int(place) for place in np.argsort(-label, kind="stable") if label[place] > 0]
    return ", ".join(f"{_name(place, names)} {label[place]:.2f}" for place in order[:3])


def _name(label: int, names: Sequence[str]) -> str:
    return shortened(str(names[label]), NAME_WIDTH) if 0 <= label < len(names) else str(label)
