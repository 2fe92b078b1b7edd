"""What is given as X: rows of features, images or paths; and what a model is given of it."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from gpucnn.backend import Array, to_host, xp_of
from gpucnn.backend.threads import thread_count
from gpucnn.checks import Shape, as_items, is_int
from gpucnn.data import ArrayDataset, Preprocess, channel_statistics, read_image
from gpucnn.data.normalization import IMAGES_AT_A_TIME
from gpucnn.errors import ArgumentError, DataError, ShapeError
from gpucnn.geometry import images_fix
from gpucnn.kernels.preprocess import Preparation, preprocess
from gpucnn.text import shape_text, value_text

OWNER = "ImageClassifier"

Form = Literal["features", "images", "files"]
"""Rows of numbers that are no pixels; images, also as rows, with an `image_shape`; image files."""

SHAPE_OF_FILES = (3, 64, 64)
"""What image files are made to without an `image_shape`: as `gpucnn train` makes photos."""

BIG_STEP = 2
"""Images that must grow by this factor or more are resized; others get a margin."""

ROUNDING = 100
"""So many units in the last place may sums of equal numbers be off."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What `fit` has learned of its X, and does with every X: from raw images (N, C, H, W) to floats of mean 0 and deviation 1."""

    form: Form
    shape: Shape
    """(C, H, W) of raw images; of features (F, 1, 1)."""
    size: int | None
    """Height and width of the model's images; None for those of `shape`."""
    full_scale: int
    """By what raw images are divided: 255 where `fit` was given bytes, else 1."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    """Of each channel, in the images that `fit` was given; a feature is a channel. None where they are still to be learned."""

    @property
    def model_shape(self) -> Shape:
        """(C, H, W) of what the model takes."""
        return self.shape if self.size is None else (self.shape[0], self.size, self.size)

    @property
    def dtype(self) -> np.dtype:
        """Of what the model takes. Features are computed in float64, in which answers do not depend on what else is asked for."""
        return np.dtype(np.float64 if self.form == "features" else np.float32)

    def learned(self, raw: np.ndarray, weights: np.ndarray | None) -> Self:
        """The same with mean and deviation of these images, of which some count more. A channel that never changes keeps its scale."""
        dataset = ArrayDataset(raw, np.zeros(len(raw), np.int64), self)
        with np.errstate(over="ignore", invalid="ignore"):
            found = channel_statistics(dataset) if weights is None else _weighted_statistics(dataset, weights)
        mean, std = map(np.array, found)
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise ArgumentError(f"{OWNER}: X has values that are too large to learn from, up to {np.abs(raw).max():g}")
        # Of a constant, rounding alone makes a deviation.
        is_constant = std <= ROUNDING * np.finfo(self.dtype).eps * np.abs(mean)
        return replace(self, mean=tuple(mean.tolist()), std=tuple(np.where(is_constant, 1.0, std).tolist()))

    def check_scale(self, X: np.ndarray) -> None:
        """ArgumentError for floats from 0 to 1 where bytes were learned: divided by 255 all would look black."""
        if self.full_scale == 1 or self.mean is None or X.dtype.kind != "f" or not X.size:
            return
        if 0 < X.max() <= 1 < self.full_scale * max(self.mean):
            raise ArgumentError(
                f"{OWNER}: was fitted to bytes, up to 255, and X has floats up to {X.max():g}; give numbers of the same scale: X * 255"
            )

    def takes_any_device(self, dtype: np.dtype) -> bool:
        """Whether raw images of `dtype` may be on a GPU, to be prepared there: square bytes."""
        is_square = self.size is not None or self.shape[1] == self.shape[2]
        return self.form != "features" and is_square and dtype == np.uint8

    def __call__(self, raw: Array) -> Array:
        """Raw images as the model takes them, on the host, or where `takes_any_device` has them. ArgumentError for values that are too large for its dtype."""
        with np.errstate(over="ignore", invalid="ignore"):
            prepared = self._features(raw) if self.form == "features" else self._images(raw)
        if raw.dtype.kind == "f" and not np.isfinite(prepared).all():
            raise ArgumentError(
                f"{OWNER}: X has values that are too large for {self.dtype}, up to {np.abs(raw).max():g}"
            )
        return prepared

    def _features(self, raw: np.ndarray) -> np.ndarray:
        if self.mean is None or self.std is None:
            return raw
        mean, std = (np.array(values)[:, None, None] for values in (self.mean, self.std))
        scaled: np.ndarray = ((raw - mean) / std).astype(np.float64, copy=False)
        return scaled

    def _images(self, raw: Array) -> Array:
        """Through what `data.Preprocess` does with bytes."""
        channels, height, width = self.shape
        if height != width and self.size is not None:
            side = max(height, width)
            square = xp_of(raw).zeros((len(raw), channels, side, side), raw.dtype)
            top, left = (side - height) // 2, (side - width) // 2
            square[:, :, top : top + height, left : left + width] = raw
            raw = square
        native = raw.shape[-1]
        size = native if self.size is None else self.size
        wanted = Preparation(size, self.full_scale, size >= BIG_STEP * native, self.mean, self.std)
        return preprocess(raw, None, None, wanted)[0]


def _weighted_statistics(dataset: ArrayDataset, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `channel_statistics` gives, where each image counts by its weight: by the means and variances of single images."""
    means, variances = np.empty((2, len(dataset), dataset.images.shape[1]))
    for start in range(0, len(dataset), IMAGES_AT_A_TIME):
        part = slice(start, start + IMAGES_AT_A_TIME)
        images = to_host(dataset[part][0]).astype(np.float64)
        means[part], variances[part] = images.mean(axis=(2, 3)), images.var(axis=(2, 3))
    mean = np.average(means, axis=0, weights=weights)
    return mean, np.sqrt(np.average(variances + (means - mean) ** 2, axis=0, weights=weights))


def as_image_shape(image_shape: Any) -> Shape | None:
    """`image_shape` as (C, H, W), or None. ArgumentError for anything else."""
    if image_shape is None:
        return None
    sizes = as_items(image_shape)
    if sizes is None or len(sizes) != 3 or not all(is_int(size) and size >= 1 for size in sizes):
        raise ArgumentError(
            f"{OWNER}: image_shape must be (channels, height, width), e.g. (1, 8, 8), or None, got {value_text(image_shape)}"
        )
    return tuple(map(int, sizes))


def as_shape_of_files(image_shape: Shape | None) -> Shape:
    """What image files are made to: square, grey or in colours. ArgumentError for another shape."""
    channels, height, width = shape = image_shape or SHAPE_OF_FILES
    if channels not in (1, 3) or height != width:
        raise ArgumentError(
            f"{OWNER}: image files are made square, grey (1, S, S) or in colours (3, S, S), got image_shape={shape_text(shape)}"
        )
    return shape


def paths_in(X: Any) -> list[str | os.PathLike[str]] | None:
    """The paths, if X is a list, an array, or a column of a table of them; None for everything else. ArgumentError for a single path."""
    if isinstance(X, str | os.PathLike):
        raise ArgumentError(
            f"{OWNER}: expected paths of images, got the path {value_text(str(X))}; give a list: [path]"
        )
    given: Sequence[Any] | None = X if isinstance(X, list | tuple) else None
    if given is None:
        array = X if hasattr(X, "ndim") and hasattr(X, "shape") else None
        if array is None or array.ndim not in (1, 2) or 0 in array.shape or (array.ndim == 2 and array.shape[1] != 1):
            return None
        given = np.asarray(array, object).reshape(-1).tolist()
    elif given and all(isinstance(one, list | tuple) and len(one) == 1 for one in given):
        given = [one[0] for one in given]
    if given and (isinstance(given[0], bytes | bytearray) or hasattr(given[0], "getbands")):  # as Pillow's images have
        raise ArgumentError(
            f"{OWNER}: X[0] is {value_text(given[0])}; give paths of image files, or arrays of one size: "
            f"np.stack([np.asarray(image) for image in X])"
        )
    if not given or not isinstance(given[0], str | os.PathLike):
        return None
    for place, one in enumerate(given):
        if not isinstance(one, str | os.PathLike):
            raise ArgumentError(f"{OWNER}: X[0] is a path, so all are to be paths, got X[{place}] = {value_text(one)}")
    return list(given)


def read_files(paths: Sequence[str | os.PathLike[str]], shape: Shape) -> np.ndarray:
    """The images in these files as bytes (N, C, S, S), the middle of each. DataError, which names the file, for what is no image."""
    channels, size, _ = shape
    wanted = Preprocess(channels, size, size, 255, "crop")
    raw = np.empty((len(paths), *shape), np.uint8)

    def read(place: int) -> None:
        try:
            raw[place] = read_image(Path(paths[place]), wanted)[0]
        except DataError as error:
            raise DataError(f"X[{place}]: {error}") from None

    with ThreadPoolExecutor(thread_count()) as threads:
        list(threads.map(read, range(len(paths))))
    return raw


def as_images(X: np.ndarray, image_shape: Shape | None) -> tuple[Form, np.ndarray]:
    """Which form the numbers in X have, and they as raw images (N, C, H, W). ShapeError for one that is none, or could be two."""
    if X.ndim == 2:
        return ("features", X[:, :, None, None]) if image_shape is None else ("images", _rows_as_images(X, image_shape))
    if X.ndim not in (3, 4):
        raise ShapeError(
            f"{OWNER}: expected X (N, features), images (N, C, H, W) or grey ones (N, H, W), or paths, got {shape_text(X.shape)}"
        )
    images = X[:, None] if X.ndim == 3 else X
    shape = images.shape[1:]
    if image_shape is not None and shape != image_shape:
        raise ShapeError(
            f"{OWNER}: image_shape is {shape_text(image_shape)}, and X has images {shape_text(('N', *shape))}"
            f"{_fix(X, image_shape)}; of images it may be left out"
        )
    if image_shape is None and shape[0] not in (1, 3) and shape[2] in (1, 3, 4):
        raise ShapeError(
            f"{OWNER}: X {shape_text(X.shape)} looks like (N, H, W, C), and (N, C, H, W) is expected: X.transpose(0, 3, 1, 2); "
            f"if it is (N, C, H, W), say so with image_shape={shape_text(shape)}"
        )
    return "images", images


def known_images(X: np.ndarray, shape: Shape) -> np.ndarray:
    """X in any form of such images, as raw images (N, C, H, W). ShapeError for others."""
    if X.ndim == 2 and X.shape[1] == math.prod(shape):
        return X.reshape(len(X), *shape)
    images = X[:, None] if X.ndim == 3 else X
    if images.ndim != 4 or images.shape[1:] != shape:
        raise ShapeError(
            f"{OWNER}: was fitted to images {shape_text(('N', *shape))}, and X is {shape_text(X.shape)}{_fix(X, shape)}"
        )
    return images


def _rows_as_images(X: np.ndarray, shape: Shape) -> np.ndarray:
    if X.shape[1] != math.prod(shape):
        raise ShapeError(
            f"{OWNER}: image_shape {shape_text(shape)} has {math.prod(shape):,} pixels, and X has {X.shape[1]:,} features; give "
            f"the (channels, height, width) that each row was made of"
        )
    if shape[0] not in (1, 3) and shape[2] in (1, 3, 4):
        fitting = (shape[2], *shape[:2])
        rows = "" if shape[2] == 1 else f", and X.reshape{shape_text((-1, *shape))}.transpose(0, 3, 1, 2)"
        raise ShapeError(
            f"{OWNER}: image_shape must be (channels, height, width), and {shape_text(shape)} looks like (height, width, channels): "
            f"image_shape={shape_text(fitting)}{rows}; if it is as it says, X.reshape{shape_text((-1, *shape))}"
        )
    return X.reshape(len(X), *shape)


def _fix(X: np.ndarray, shape: Shape) -> str:
    fix = images_fix(X.shape, shape[0]) if X.ndim == 4 and X.shape[1] != shape[0] else ""
    return f"; {fix.replace('x.transpose', 'X.transpose')}" if fix.startswith("the axes are") else ""
