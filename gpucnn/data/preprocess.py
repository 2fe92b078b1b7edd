"""From raw pixels to what a model takes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, device_of, xp_of
from gpucnn.checks import as_choice, as_count
from gpucnn.data.normalization import as_normalization
from gpucnn.errors import ArgumentError, DataError
from gpucnn.geometry import images_fix
from gpucnn.kernels.preprocess import (
    Constants,
    Moves,
    Preparation,
    Stretch,
    constants_there,
    gather_stretch,
    preprocess,
)
from gpucnn.text import shape_text, value_text


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Raw images, bytes (N, channels, native_size, native_size), to float32 (N, channels, image_size, image_size) in [0, 1].

    - `full_scale`: the raw value of full brightness; pixels are divided by it.
    - `fit`: how native becomes image size: "pad" with dark pixels on all sides, or "resize" bilinearly. Or "crop": the
      two are the same, and image files of any size are cut to it, see `centre_crop`.
    - `mean`, `std`: None, or one number per channel: pixels in [0, 1] then become (pixel - mean) / std at the end.
      `channel_statistics` has those of a data set.

    It can be written to JSON (`dataclasses.asdict`) and so travels with a trained model. Raises ArgumentError for what is no
    size, an image size below the native, another `fit` or one that the sizes rule out, and for mean and std that do not fit.
    """

    channels: int
    native_size: int
    image_size: int
    full_scale: int
    fit: Literal["pad", "resize", "crop"]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("channels", "native_size", "image_size", "full_scale"):
            as_count(getattr(self, name), name)
        if self.full_scale > 255:
            raise ArgumentError(f"full_scale must be at most 255, as raw images are bytes, got {self.full_scale}")
        as_choice(self.fit, "fit", ("pad", "resize", "crop"))
        if self.image_size < self.native_size:
            raise ArgumentError(
                f"images of {self.native_size}x{self.native_size} cannot be fitted into {self.image_size}x"
                f"{self.image_size}; choose a model for larger images"
            )
        if self.fit == "crop" and self.image_size != self.native_size:
            raise ArgumentError(
                f'fit="crop" makes raw images of the image size, got native_size={self.native_size} and '
                f"image_size={self.image_size}; give the same for both"
            )
        if (normalization := as_normalization(self.mean, self.std, self.channels)) is not None:
            for name, values in zip(("mean", "std"), normalization, strict=True):
                object.__setattr__(self, name, values)  # lists, as JSON has them, become tuples

    @on_their_device
    def __call__(self, images: Array) -> Array:
        """Raw images of bytes, on any device, to the model's.

        DataError for images of another dtype, which tells how to come by bytes or do without, and of other channels or size.
        """
        expected = self._raw_shape()
        if not hasattr(images, "dtype"):
            raise DataError(f"expected raw images {shape_text(('N', *expected))}, an array, got {value_text(images)}")
        if images.ndim != 4 or images.shape[1:] != expected:
            fix = images_fix(images.shape, self.channels)
            raise DataError(
                f"expected raw images {shape_text(('N', *expected))}, got {shape_text(images.shape)}{f'; {fix}' if fix else ''}"
            )
        if images.dtype != np.uint8:
            raise DataError(_no_bytes(images, self.full_scale))
        return preprocess(images, None, None, self._preparation())[0]

    @on_their_device
    def batch(
        self, images: Array, labels: Array, indices: Array | None, moves: Moves | None = None
    ) -> tuple[Array, Array]:
        """`self(images[indices])` and `labels[indices]`, of a data set's arrays on one device: one launch on a GPU.

        `indices`: None for all of them, of images that it takes. `moves`: None, or random changes of what is then there, for images that it takes alone.
        """
        if not self.takes(images):
            return self(images[indices]), labels[indices]
        found, chosen = preprocess(images, labels, indices, self._preparation(), moves)
        assert chosen is not None
        return found, chosen

    def constants(self, images: Array) -> Constants:
        """What `stretch` needs beside a data set's images, which are on a GPU. It must stay as long as there is a recording."""
        return constants_there(xp_of(images), device_of(images), self.native_size, self._preparation())

    def stretch(self, images: Array, labels: Array, constants: Constants, stretch: Stretch) -> tuple[Array, Array]:
        """The batch that a stretch of an epoch is, in a step that is recorded: one launch."""
        found, chosen = gather_stretch(images, labels, self._preparation(), constants, stretch)
        assert chosen is not None
        return found, chosen

    def takes(self, images: Array) -> bool:
        """Whether these are raw images, of bytes and of the right size."""
        return bool(images.dtype == np.uint8 and images.shape[1:] == self._raw_shape())

    def _raw_shape(self) -> tuple[int, int, int]:
        return self.channels, self.native_size, self.native_size

    def _preparation(self) -> Preparation:
        return Preparation(self.image_size, self.full_scale, self.fit == "resize", self.mean, self.std)


def _no_bytes(images: Array, full_scale: int) -> str:
    """What is wrong with raw images that are not bytes, and what to do, by their dtype and their range."""
    kind = images.dtype.kind
    low, high = (float(images.min()), float(images.max())) if images.size and kind in "fiub" else (0.0, 0.0)
    if kind == "f" and low >= 0 and high <= 1:
        fix = (
            f"they are what a Preprocess makes of bytes, so leave it out: data.ArrayDataset(images.astype('float32'), labels); "
            f"or make them bytes: np.rint(images * {full_scale}).astype('uint8')"
        )
    elif kind == "b":
        fix = "convert with images.astype('uint8'), and take full_scale=1"
    elif kind in "fiu" and low >= 0 and high <= full_scale:
        fix = "if that holds for all of them, convert with images.astype('uint8')"
    else:
        scale = np.iinfo(images.dtype).max if kind == "u" else "full_scale"
        fix = (
            f"bring them to [0, 1] by a scale of their own, e.g. (images / {scale}).astype('float32'), and give them without a "
            f"Preprocess: data.ArrayDataset(images, labels)"
        )
    return f"expected raw images of bytes (uint8) from 0 to {full_scale}, got {images.dtype} from {low:g} to {high:g}; {fix}"
