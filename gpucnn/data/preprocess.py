"""From raw pixels to what a model takes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gpucnn.checks import as_count, shape_text
from gpucnn.errors import ArgumentError, DataError


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Raw images (N, channels, native_size, native_size) to float32 (N, channels, image_size, image_size) in [0, 1].

    - `full_scale`: the raw value of full brightness; pixels are divided by it.
    - `fit`: how native becomes image size: "pad" with dark pixels on all sides, or "resize" bilinearly.

    It can be written to JSON (`dataclasses.asdict`) and so travels with a trained model. Raises ArgumentError for sizes
    that are none, for an image size below the native, and for another `fit`.
    """

    channels: int
    native_size: int
    image_size: int
    full_scale: int
    fit: Literal["pad", "resize"]

    def __post_init__(self) -> None:
        for name in ("channels", "native_size", "image_size", "full_scale"):
            as_count(getattr(self, name), name)
        if self.fit not in ("pad", "resize"):
            raise ArgumentError(f'fit must be "pad" or "resize", got {self.fit!r}')
        if self.image_size < self.native_size:
            raise ArgumentError(
                f"images of {self.native_size}x{self.native_size} cannot be fitted into {self.image_size}x"
                f"{self.image_size}; choose a model for larger images"
            )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Raw images of bytes to the model's; DataError for images of other channels or size."""
        expected = (self.channels, self.native_size, self.native_size)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise DataError(f"expected raw images {shape_text(('N', *expected))}, got {shape_text(images.shape)}")
        margin = self.image_size - self.native_size
        scaled: np.ndarray = images.astype(np.float32) / np.float32(self.full_scale)
        if margin == 0:
            return scaled
        if self.fit == "pad":
            sides = (margin // 2, margin - margin // 2)
            return np.pad(scaled, ((0, 0), (0, 0), sides, sides))
        matrix = _bilinear_matrix(self.native_size, self.image_size)
        resized: np.ndarray = matrix @ scaled @ matrix.T
        return resized


def _bilinear_matrix(size: int, new_size: int) -> np.ndarray:
    """The matrix (new_size, size) that resamples a line of pixels, pixel centres on pixel centres, edges repeated."""
    centres = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
    distances = np.abs(centres[:, None] - np.arange(size))
    weights: np.ndarray = np.maximum(0, 1 - distances).astype(np.float32)
    return weights
