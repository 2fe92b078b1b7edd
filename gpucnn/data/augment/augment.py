"""What an augmentation is, several as one, and what all share: their draws, and where in a batch the pixels are."""

from collections.abc import Callable
from typing import Annotated, TypeAlias

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, generator, uniforms, xp_of
from gpucnn.checks import as_function, as_number, is_finite
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.text import shape_text, value_text

Augment: TypeAlias = Callable[[Array, np.ndarray, int, int], Array]
"""From images (B, C, H, W) on any device, their indices (B,) in the data set, seed and epoch to changed images.

What becomes of an image is a function of (seed, epoch, its index), of neither the batch it comes in nor the device.
"""

Range: TypeAlias = tuple[float, float]
"""From the first to the second."""
Share: TypeAlias = Annotated[float, "1 is all of it"]
"""A number that may be written in percent."""


class Compose:
    """Several augmentations, one after the other.

    Those of one class draw under one name; all but the first of them get a seed of their own, a function of the given
    one, so that two `Cutout` blank two places.
    """

    def __init__(self, *augmentations: Augment) -> None:
        for augment in augmentations:
            as_function(augment, "Compose: an augmentation", "of (images, indices, seed, epoch), e.g. RandomFlip()")
        self.augmentations = augmentations

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.augmentations))})"

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Images (B, C, H, W) through all augmentations in turn."""
        for augment, own in self.in_turn(seed):
            images = augment(images, indices, own, epoch)
        return images

    def in_turn(self, seed: int) -> list[tuple[Augment, int]]:
        """Each augmentation with the seed that it gets."""
        kinds = [type(augment) for augment in self.augmentations]
        repeats = [kinds[:place].count(kind) for place, kind in enumerate(kinds)]
        seeds = [int(generator(seed, "Compose", one).integers(1 << 63)) if one else seed for one in repeats]
        return list(zip(self.augmentations, seeds, strict=True))


def draws(owner: str, images: Array, indices: np.ndarray, seed: int, epoch: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) for each image, a function of (seed, `owner`, epoch, its index): float64 (B, count).

    Raises ShapeError, which names `owner`, unless there are images (B, C, H, W), of a pixel at least, and as many
    indices.
    """
    if images.ndim != 4 or 0 in images.shape[1:] or np.shape(indices) != images.shape[:1]:
        raise ShapeError(
            f"{owner}: expected images (B, C, H, W) and indices (B,), got {shape_text(images.shape)} and "
            f"{shape_text(np.shape(indices))}"
        )
    return uniforms(seed, owner, epoch, indices, count)


def whole(draws: np.ndarray, below: int | tuple[int, ...]) -> np.ndarray:
    """Draws in [0, 1) as integers from 0 to `below` - 1, each as probable: int64. A tuple has one limit a column."""
    return np.floor(draws * below).astype(np.int64)


def between(draws: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """Draws in [0, 1) as numbers from `low` to `high`. Arrays have one limit a column."""
    return low + draws * (high - low)


def check_floats(owner: str, images: Array) -> None:
    """DTypeError, which names `owner`, unless `images` are floats."""
    if images.dtype.kind != "f":
        raise DTypeError(f"{owner}: images must be floats, got {images.dtype}; make them so with a Preprocess")


def flat_places(images: Array, rows: Array, columns: Array) -> Array:
    """Where the pixels at `rows` and `columns` of each image stand in `images.reshape(-1)`.

    - `images`: (B, C, H, W).
    - `rows`, `columns`: integers within the images, (B, P, Q) when broadcast together.

    Returns integers (B, C, P, Q). One gather from flat memory takes a third of the time of one by four indices.
    """
    xp = xp_of(images)
    batch, channels, height, width = images.shape
    planes = xp.arange(batch * channels).reshape(batch, channels, 1, 1) * (height * width)
    return planes + (rows * width + columns)[:, None]


FILLS = ("zero", "reflect")
"""What is where an image was moved away from: 0, or the image mirrored at its edge pixels."""


def mirrored(positions: Array, length: int) -> Array:
    """Positions on a line that goes back and forth between 0 and `length` - 1, the ends not repeated: float64."""
    xp, period = xp_of(positions), max(2 * (length - 1), 1)
    there = positions - xp.floor(positions / period) * period
    return xp.clip(xp.minimum(there, period - there), 0, length - 1)


def boxes(centres: np.ndarray, sizes: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which rows and columns of images of `shape` (height, width) a box in each of them has, cut off at the edges.

    `centres` and `sizes` are integers (B, 2), (row, column) and (height, width). Returns bools (B, height), (B, width).
    """
    first = centres - sizes // 2
    rows, columns = (
        (np.arange(length) >= first[:, axis, None]) & (np.arange(length) < (first + sizes)[:, axis, None])
        for axis, length in enumerate(shape)
    )
    return rows, columns


def as_range(value: object) -> Range | None:
    """A number as (-number, number), a pair of rising numbers as it is, None for what is neither."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(map(is_finite, pair)):
        return None
    low, high = float(pair[0]), float(pair[1])
    if pair is not value:
        low = 0.0 - low
    return (low, high) if low <= high else None


def as_probability(value: float, what: str) -> float:
    """`value` as a float, which is p, the probability of `what`; ArgumentError, which says so, unless it is from 0 to 1."""
    if as_number(value, f"p, the probability of {what},") > 1:
        raise ArgumentError(f"p, the probability of {what}, must be at most 1, got {value_text(value)}")
    return float(value)


def as_factors(value: object, name: str) -> Range:
    """A pair of rising factors; ArgumentError, which calls it `name`, unless both are from 0.01 to 100."""
    found = as_range(value)
    if found is None or not 0.01 <= found[0] <= found[1] <= 100:
        raise ArgumentError(f"{name} must be a pair of rising factors from 0.01 to 100, got {value_text(value)}")
    return found


def as_shares(value: object, name: str) -> Range:
    """A pair of rising shares; ArgumentError, which calls it `name`, unless both are above 0 and at most 1."""
    found = as_range(value)
    if found is None or not 0 < found[0] <= found[1] <= 1:
        raise ArgumentError(
            f"{name} must be a pair of rising shares of the image's area, above 0 and at most 1, got {value_text(value)}"
        )
    return found
