"""How images of a data set are shown: their values from black to white, whatever they are."""

from collections.abc import Sequence

import numpy as np

from gpucnn.data.dataset import whole_of

SLACK = 1e-3
"""So far beyond 0 and 1 values are rounding."""


def values_shown(images: Sequence[np.ndarray] | np.ndarray, preprocess: object = None) -> tuple[list[np.ndarray], str]:
    """Images (C, H, W) as float64 from 0, black, to 1, white; and what must be said of it, which is mostly nothing.

    What `preprocess` has normalised is put back. Bytes are shown as they are, and so are floats from 0 to 1; of others the
    lowest of all images is black and the highest white, and the text says so. NaN is black.
    """
    each = [_unit(image, preprocess) for image in images]
    found, note = [image for image, _ in each], ""
    if not all(is_known for _, is_known in each):
        finite = [image[np.isfinite(image)] for image in found]
        low = min((float(one.min()) for one in finite if one.size), default=0.0)
        high = max((float(one.max()) for one in finite if one.size), default=1.0)
        if low < -SLACK or high > 1 + SLACK:
            found = [(image - low) / ((high - low) or 1) for image in found]
            note = f"black is {low:.4g}, white {high:.4g}"
    return [np.nan_to_num(image, nan=0.0).clip(0, 1) for image in found], note


def _unit(image: np.ndarray, preprocess: object) -> tuple[np.ndarray, bool]:
    """The image as floats, and whether 0 is known to be black and 1 white."""
    if image.dtype == np.uint8:
        return image / 255, True
    mean, deviation = getattr(preprocess, "mean", None), getattr(preprocess, "std", None)
    if mean is None or deviation is None or not len(mean) == len(deviation) == len(image):
        return image.astype(np.float64), False
    return image * np.reshape(deviation, (-1, 1, 1)) + np.reshape(mean, (-1, 1, 1)), True


def preprocess_of(dataset: object) -> object:
    """What made a data set's images of raw ones, such as a `Preprocess`; None where that is not known."""
    return getattr(whole_of(dataset), "preprocess", None)
