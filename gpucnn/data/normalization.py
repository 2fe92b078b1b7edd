"""Pixels brought to mean 0 and standard deviation 1, channel by channel; and what these are in a data set."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from gpucnn.backend import Array, to_host, xp_of
from gpucnn.checks import is_finite
from gpucnn.data.dataset import Dataset
from gpucnn.data.item_dataset import Items, as_dataset
from gpucnn.errors import ArgumentError, DataError
from gpucnn.text import value_text

Normalization: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation, one of each a channel."""

IMAGES_AT_A_TIME = 100


def as_normalization(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int | None = None
) -> Normalization | None:
    """`mean` and `std` as tuples of floats; None if both are None.

    Raises ArgumentError unless there are as many of one as of the other, and `channels` of them if that is given, all
    finite, and those of `std` above 0.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ArgumentError(f"mean and std go together, got mean={mean!r} and std={std!r}; give both or neither")
    means = _numbers(mean, "mean", channels)
    deviations = _numbers(std, "std", len(means))
    if min(deviations) <= 0:
        raise ArgumentError(
            f"std must be above 0 in every channel, got {value_text(std)}; a channel that never changes has none"
        )
    return means, deviations


def normalize(images: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """(images - mean) / std for float images (B, C, H, W) and C numbers of each."""
    return (images - _per_channel(mean, images)) / _per_channel(std, images)


def denormalize(images: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """What `normalize` was given."""
    return images * _per_channel(std, images) + _per_channel(mean, images)


def _per_channel(values: tuple[float, ...], images: Array) -> Array:
    return xp_of(images).asarray(np.array(values, images.dtype)[:, None, None])


def _numbers(values: Sequence[float], name: str, count: int | None) -> tuple[float, ...]:
    known = isinstance(values, tuple | list) and values and all(map(is_finite, values))
    if not known or (count is not None and len(values) != count):
        many = "finite numbers" if count is None else f"{count} finite number{'' if count == 1 else 's'}"
        raise ArgumentError(f"{name} must be a tuple of {many}, one per channel, got {value_text(values)}")
    return tuple(map(float, values))


def channel_statistics(dataset: Dataset | Items) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) over all pixels of each channel, for a `Preprocess` that normalises with them.

    They are those of the images that the data set gives, so its own preprocess must not normalise yet. Computed in
    float64, in parts that fit in memory. Raises DataError if there are no images.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    dataset = as_dataset("channel_statistics", dataset)
    if len(dataset) == 0:
        raise DataError("channel_statistics: the data set has no images")
    count = 0
    mean, squares = np.zeros(1), np.zeros(1)
    for start in range(0, len(dataset), IMAGES_AT_A_TIME):
        images = to_host(dataset[np.arange(start, min(start + IMAGES_AT_A_TIME, len(dataset)))][0])
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
