"""What a notebook shows of a data set or a loader: a sheet of some of its images with their classes."""

from collections.abc import Sequence

import numpy as np

from gpucnn.backend import to_host
from gpucnn.data.as_shown import preprocess_of, values_shown
from gpucnn.data.dataset import Batch, Dataset, class_names_of
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

    For how images are shown see `values_shown`; what must be said of that is in the title.
    """
    images, labels = (to_host(array) for array in batch)
    names = class_names or class_names_of(dataset) or ()
    pixels, note = values_shown(images, preprocess_of(dataset))
    captions = [_caption(label, names) for label in labels]
    return titled("; ".join(filter(None, (title, note))), html_sheet(pixels, captions, SIZE))


def _caption(label: np.ndarray, names: Sequence[str]) -> str:
    """The class, or of a soft label the classes and their shares, the largest first."""
    if not label.ndim:
        return _name(int(label), names)
    order = [int(place) for place in np.argsort(-label, kind="stable") if label[place] > 0]
    return ", ".join(f"{_name(place, names)} {label[place]:.2f}" for place in order[:3])


def _name(label: int, names: Sequence[str]) -> str:
    return shortened(str(names[label]), NAME_WIDTH) if 0 <= label < len(names) else str(label)
