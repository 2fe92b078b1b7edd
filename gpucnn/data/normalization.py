"""Pixels brought to mean 0 and standard deviation 1, channel by channel."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.checks import is_finite
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text

Normalization: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation, one of each a channel."""


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
        raise ArgumentError(f"{name} must be a tuple of {many}, one a channel, got {value_text(values)}")
    return tuple(map(float, values))
