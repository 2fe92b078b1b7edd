"""Images in other light."""

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_number
from gpucnn.data.augment.augment import between, check_floats, draws
from gpucnn.data.normalization import Normalization, as_normalization, denormalize, normalize
from gpucnn.errors import ShapeError
from gpucnn.text import call_text, shape_text

_LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue add to brightness: ITU-R Recommendation BT.601."""


class ColorJitter:
    """Change brightness, contrast and saturation of each image, in this order, by factors from 1 - amount to 1 + amount.

    - `brightness`: its factor multiplies the pixels.
    - `contrast`: its factor multiplies their distance to the mean brightness of the image.
    - `saturation`: its factor multiplies their distance to grey of their own brightness; grey images stay as they are.
    - `mean`, `std`: None, or what the images were normalised with, one number per channel: light is changed as it was
      before that.

    No factor is below 0, and pixels stay from 0 to 1. A sample's factors are a function of (seed, epoch, its index).
    Raises ArgumentError for amounts that are not numbers >= 0, and for mean and std that do not go together.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        self.brightness = as_number(brightness, "brightness")
        self.contrast = as_number(contrast, "contrast")
        self.saturation = as_number(saturation, "saturation")
        self.normalization = as_normalization(mean, std)
        self.mean, self.std = mean, std

    __repr__ = call_text

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Float images (B, 1 or 3, H, W) to changed ones of the same shape and dtype. Raises DTypeError and ShapeError."""
        check_floats("ColorJitter", images)
        drawn = draws("ColorJitter", images, indices, seed, epoch, 3)
        xp = xp_of(images)
        batch, channels, height, width = images.shape
        check_colours("ColorJitter", images, self.normalization)
        if self.normalization is not None:
            images = denormalize(images, *self.normalization)
        amounts = np.array([self.brightness, self.contrast, self.saturation])
        factors = between(drawn, np.maximum(1 - amounts, 0), 1 + amounts).astype(images.dtype)
        brightness, contrast, saturation = xp.asarray(factors.T)[..., None, None, None]
        images = xp.clip(images * brightness, 0, 1)
        if self.contrast:
            # Each image in a row of its own, so that it is summed alike in whatever batch it is.
            middle = grey(images).reshape(batch, height * width).mean(axis=1)[:, None, None, None]
            images = _blend(images, middle, contrast)
        if self.saturation and channels == 3:
            images = _blend(images, grey(images), saturation)
        return images if self.normalization is None else normalize(images, *self.normalization)


def check_colours(owner: str, images: Array, normalization: Normalization | None) -> None:
    """ShapeError, which names `owner`, unless images (B, C, H, W) are grey or RGB, and of as many channels as mean and std."""
    channels = images.shape[1]
    given = channels if normalization is None else len(normalization[0])
    if channels not in (1, 3) or given != channels:
        expected = "1 or 3" if normalization is None else str(given)
        raise ShapeError(f"{owner}: expected images (B, {expected}, H, W), got {shape_text(images.shape)}")


def grey(images: Array) -> Array:
    """The brightness of images (B, 1 or 3, H, W): (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, channel, None] * share for channel, share in enumerate(_LUMA))
    return red + green + blue


def _blend(images: Array, other: Array, factor: Array) -> Array:
    return xp_of(images).clip(images * factor + other * (1 - factor), 0, 1)
