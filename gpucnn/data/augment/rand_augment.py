"""A few changes of each image, drawn from a table of those that photos are known to bear."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_choice, as_count, as_number
from gpucnn.data.augment.affine import moved
from gpucnn.data.augment.augment import FILLS, check_floats, draws, whole
from gpucnn.data.augment.color_jitter import check_colours, grey
from gpucnn.data.normalization import as_normalization, denormalize, normalize
from gpucnn.errors import ArgumentError
from gpucnn.text import call_text, value_text

MOST = 10
"""The magnitude of the strongest changes."""
TURN, SHEAR, TRANSLATION, CONTRAST = 30.0, 0.3, 150 / 331, 0.9
"""Degrees, columns a row, share of the image, and distance of a factor from 1, at that magnitude."""
BITS = 4
"""Of 8, that posterize takes away at that magnitude."""
WHITE = 255

Light: TypeAlias = Callable[[Array, np.ndarray, float], Array]
"""From images (B, C, H, W) with pixels from 0 to 255, the signs (B,) that were drawn, and strength, from 0 to 1."""
Move: TypeAlias = Callable[[np.ndarray, tuple[int, int]], tuple[np.ndarray, np.ndarray]]
"""From signed strengths (B,), from -1 to 1, and (height, width) to the factors and moves that `moved` takes."""


class RandAugment:
    """Change each image `n` times, each time in one of 14 ways, which may be drawn again, as strongly as `magnitude` says.

    The ways: identity, autocontrast, equalize, rotate, solarize, color, posterize, contrast, brightness, sharpness, and shear
    and translate along x and y. Where a change has a direction, it is drawn.

    - `magnitude`: from 0 to 10, at which an image is turned by 30 degrees, sheared by 0.3, moved by 45 % of its size, keeps 4
      of 8 bits, has all pixels inverted, or color, contrast, brightness or sharpness times 0.1 or 1.9.
    - `fill`: what is outside of images that are moved: "zero", which is black, or the mean colour of normalised images, or
      "reflect", the image mirrored at its edge pixels.
    - `mean`, `std`: None, or what the images were normalised with, one number per channel: colours are changed as they were
      before that.

    A sample's changes are a function of (seed, epoch, its index). Raises ArgumentError for what is out of range.

    Source: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space", NeurIPS 2020; what
    the ways do is what Pillow does, and their ranges are those of "AutoAugment", CVPR 2019.
    """

    def __init__(
        self,
        n: int = 2,
        magnitude: float = 9.0,
        fill: str = "zero",
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        self.n = as_count(n, "n")
        self.magnitude = as_number(magnitude, "magnitude")
        if self.magnitude > MOST:
            raise ArgumentError(f"magnitude must be at most {MOST}, got {value_text(magnitude)}")
        self.fill = as_choice(fill, "fill", FILLS)
        self.normalization = as_normalization(mean, std)
        self.mean, self.std = mean, std

    __repr__ = call_text

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Float images (B, 1 or 3, H, W) to changed ones of the same shape and dtype. Raises DTypeError and ShapeError."""
        check_floats("RandAugment", images)
        drawn = draws("RandAugment", images, indices, seed, epoch, 2 * self.n)
        check_colours("RandAugment", images, self.normalization)
        xp = xp_of(images)
        changed = images.copy()
        for time in range(self.n):
            ways = whole(drawn[:, 2 * time], len(WAYS))
            signs = np.where(drawn[:, 2 * time + 1] < 0.5, -1.0, 1.0)
            for way, name in enumerate(WAYS):
                if name != "identity" and len(chosen := np.flatnonzero(ways == way)):
                    there = xp.asarray(chosen)
                    changed[there] = self._changed(name, changed[there], signs[chosen])
        return changed

    def _changed(self, name: str, images: Array, signs: np.ndarray) -> Array:
        """Images (B, C, H, W) changed in one way."""
        strength = self.magnitude / MOST
        if (move := MOVES.get(name)) is not None:
            return moved(images, *move(signs * strength, images.shape[2:]), self.fill)
        if self.normalization is not None:
            images = denormalize(images, *self.normalization)
        pixels = xp_of(images).clip(LIGHT[name](images * WHITE, signs, strength), 0, WHITE) / WHITE
        return pixels if self.normalization is None else normalize(pixels, *self.normalization)


def autocontrast(images: Array, signs: np.ndarray, strength: float) -> Array:
    """Each channel's darkest level becomes 0, its lightest 255; one of a single level stays."""
    xp = xp_of(images)
    low, high = (xp.rint(end(axis=(2, 3), keepdims=True)) for end in (images.min, images.max))
    return xp.where(high > low, (images - low) * (WHITE / xp.where(high > low, high - low, 1)), images)


def equalize(images: Array, signs: np.ndarray, strength: float) -> Array:
    """Each channel's levels are spread so that there are about as many pixels in any range of them."""
    xp = xp_of(images)
    batch, channels, height, width = images.shape
    planes, levels = batch * channels, WHITE + 1
    level = _whole_levels(images).astype(np.int64).reshape(planes, height * width)
    level += xp.arange(planes)[:, None] * levels
    counts = xp.bincount(level.reshape(-1), minlength=planes * levels).reshape(planes, levels)
    lightest = counts.reshape(-1).take(level.max(axis=1))[:, None]
    step = (height * width - lightest) // WHITE
    before = xp.cumsum(counts, axis=1) - counts
    spread = (step // 2 + before) // xp.maximum(step, 1)
    table = xp.where(step > 0, xp.minimum(spread, WHITE), xp.arange(levels))
    return table.reshape(-1).take(level).reshape(images.shape).astype(images.dtype)


def solarize(images: Array, signs: np.ndarray, strength: float) -> Array:
    """Pixels that are light are inverted: the more, the stronger."""
    return xp_of(images).where(images < (WHITE + 1) * (1 - strength), images, WHITE - images)


def posterize(images: Array, signs: np.ndarray, strength: float) -> Array:
    """Bytes lose their lowest bits."""
    step = 2 ** round(strength * BITS)
    return xp_of(images).floor(_whole_levels(images) / step) * step


def color(images: Array, signs: np.ndarray, strength: float) -> Array:
    """Towards grey, or away from it."""
    return _blend(grey(images), images, signs, strength)


def contrast(images: Array, signs: np.ndarray, strength: float) -> Array:
    """Towards the mean brightness, or away from it."""
    xp = xp_of(images)
    batch, _, height, width = images.shape
    # Whole numbers, so that sums do not depend on their order.
    levels = xp.rint(grey(images)).astype(np.int64).reshape(batch, height * width)
    middle = xp.rint(levels.sum(axis=1) / (height * width)).astype(images.dtype)
    return _blend(middle[:, None, None, None], images, signs, strength)


def brightness(images: Array, signs: np.ndarray, strength: float) -> Array:
    """Towards black, or away from it."""
    return images * _factors(images, signs, strength)


def sharpness(images: Array, signs: np.ndarray, strength: float) -> Array:
    """Towards means of 3 x 3 pixels, the one in the middle counted five times, or away from them; edge pixels stay."""
    soft = images.copy()
    height, width = images.shape[2:]
    inner = images[:, :, 1:-1, 1:-1] * 4
    if 0 not in inner.shape:
        for row in range(3):
            for column in range(3):
                inner = inner + images[:, :, row : height - 2 + row, column : width - 2 + column]
        soft[:, :, 1:-1, 1:-1] = inner / 13
    return _blend(soft, images, signs, strength)


def _rotate(strengths: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    turn = np.deg2rad(strengths * TURN)
    return np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]), np.zeros((2, len(turn)))


def _sheared(strengths: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    factors = np.broadcast_to(np.eye(2)[:, :, None], (2, 2, len(strengths))).copy()
    factors[row, 1 - row] = strengths * SHEAR
    return factors, np.zeros((2, len(strengths)))


def _translated(strengths: np.ndarray, axis: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    moves = np.zeros((2, len(strengths)))
    moves[axis] = strengths * TRANSLATION * size
    return np.broadcast_to(np.eye(2)[:, :, None], (2, 2, len(strengths))), moves


LIGHT: dict[str, Light] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "solarize": solarize,
    "color": color,
    "posterize": posterize,
    "contrast": contrast,
    "brightness": brightness,
    "sharpness": sharpness,
}
MOVES: dict[str, Move] = {
    "rotate": _rotate,
    "shear x": lambda strengths, _: _sheared(strengths, 1),
    "shear y": lambda strengths, _: _sheared(strengths, 0),
    "translate x": lambda strengths, shape: _translated(strengths, 1, shape[1]),
    "translate y": lambda strengths, shape: _translated(strengths, 0, shape[0]),
}
WAYS = ("identity", *LIGHT, *MOVES)


def _whole_levels(images: Array) -> Array:
    """Pixels as whole numbers from 0 to 255."""
    xp = xp_of(images)
    return xp.clip(xp.rint(images), 0, WHITE)


def _factors(images: Array, signs: np.ndarray, strength: float) -> Array:
    return xp_of(images).asarray((1 + signs * CONTRAST * strength).astype(images.dtype)[:, None, None, None])


def _blend(other: Array, images: Array, signs: np.ndarray, strength: float) -> Array:
    factors = _factors(images, signs, strength)
    return other * (1 - factors) + images * factors
