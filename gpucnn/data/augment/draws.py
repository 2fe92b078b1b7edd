"""The draws of a batch, a row for each image, and the checks that go before them."""

import numpy as np

from gpucnn.backend import Array, uniforms
from gpucnn.errors import DTypeError, ShapeError
from gpucnn.text import shape_text


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
