"""The mean and the standard deviation of each channel of a data set."""

import numpy as np

from gpucnn.backend import to_host
from gpucnn.data.dataset import Dataset, check_dataset
from gpucnn.errors import DataError
from gpucnn.text import value_text

IMAGES_AT_A_TIME = 100


def channel_statistics(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) over all pixels of each channel, for a `Preprocess` that normalises with them.

    They are those of the images that the data set gives, so its own preprocess must not normalise yet. Computed in
    float64, in parts that fit in memory. Raises DataError if there are no images.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    check_dataset("channel_statistics", dataset, ("__len__", "__getitem__"))
    if len(dataset) == 0:
        raise DataError("channel_statistics: the data set has no images")
    count = 0
    mean, squares = np.zeros(1), np.zeros(1)
    for start in range(0, len(dataset), IMAGES_AT_A_TIME):
        try:
            images = to_host(dataset[np.arange(start, min(start + IMAGES_AT_A_TIME, len(dataset)))][0])
        except TypeError:  # of what has a length and is no data set
            images = np.zeros(())
        if images.ndim < 3 or 0 in images.shape:
            raise DataError(
                f"channel_statistics: expected a data set of images (N, C, H, W), got {value_text(dataset)}"
            )
        pixels = images.astype(np.float64).swapaxes(0, 1).reshape(images.shape[1], -1)
        size, middle = pixels.shape[1], pixels.mean(1)
        # Deviations are summed about each part's own mean: sums of plain squares would cancel.
        squares = squares + ((pixels - middle[:, None]) ** 2).sum(1)
        squares = squares + (middle - mean) ** 2 * (count * size / (count + size))
        mean = mean + (middle - mean) * (size / (count + size))
        count += size
    return tuple(mean.tolist()), tuple(np.sqrt(squares / count).tolist())
