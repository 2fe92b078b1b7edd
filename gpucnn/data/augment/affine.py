"""Images turned, moved, scaled and sheared."""

import math

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_choice, as_number
from gpucnn.data.augment.augment import (
    FILLS,
    Range,
    Share,
    as_factors,
    as_range,
    between,
    check_floats,
    draws,
    flat_places,
    mirrored,
)
from gpucnn.errors import ArgumentError
from gpucnn.text import call_text, value_text

_CACHED_PIXELS = 8192
"""Pixels made at a time on a CPU: few enough that all that belongs to them stays in its cache."""


class RandomAffine:
    """Shear each image, turn it about its centre, scale it and move it, all at random.

    - `degrees`: the angle, counter-clockwise, from -degrees to degrees, or from the first of a pair to the second.
    - `translate`: by up to this share of the height up or down, and of the width left or right; from 0 to 1.
    - `scale`: the factor, from the first of a pair to the second; both from 0.01 to 100.
    - `shear`: the angle to the vertical at which its upright lines stand, in degrees, a number or a pair as `degrees`;
      within (-90, 90).

    - `fill`: what is outside the image: "zero", which is black, or the mean colour of normalised images, or "reflect", the
      image mirrored at its edge pixels.

    Pixels are interpolated bilinearly. A sample's draw is a function of (seed, epoch, its index). Raises ArgumentError for what is out of range.
    """

    def __init__(
        self,
        degrees: float | Range,
        translate: Share = 0.0,
        scale: Range = (1.0, 1.0),
        shear: float | Range = 0.0,
        fill: str = "zero",
    ) -> None:
        self.degrees = _angles(degrees, "degrees", math.inf)
        self.translate = as_number(translate, "translate")
        if self.translate > 1:
            raise ArgumentError(f"translate must be at most 1, the whole of the image, got {value_text(translate)}")
        self.scale = as_factors(scale, "scale")
        self.shear = _angles(shear, "shear", 90)
        self.fill = as_choice(fill, "fill", FILLS)

    def __repr__(self) -> str:
        return call_text(self, degrees=_as_given(self.degrees), shear=_as_given(self.shear))

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Float images (B, C, H, W) to changed ones of the same shape and dtype. Raises DTypeError and ShapeError."""
        check_floats("RandomAffine", images)
        drawn = draws("RandomAffine", images, indices, seed, epoch, 5)
        _, _, height, width = images.shape
        turn = np.deg2rad(between(drawn[:, 0], *self.degrees))
        moves = between(drawn[:, 1:3], -self.translate, self.translate) * (height, width)
        scale = between(drawn[:, 3], *self.scale)
        slant = np.tan(np.deg2rad(between(drawn[:, 4], *self.shear)))
        cosine, sine = np.cos(turn) / scale, np.sin(turn) / scale
        factors = np.array([[cosine, sine], [-sine - slant * cosine, cosine - slant * sine]])
        return moved(images, factors, moves.T, self.fill)


def moved(images: Array, factors: np.ndarray, moves: np.ndarray, fill: str) -> Array:
    """Each image (B, C, H, W) by a linear change about its centre, and then by pixels down and to the right.

    - `factors`: (2, 2, B), the inverses of the changes: how a pixel's source follows from its row and its column.
    - `moves`: (2, B). Both are float64 and on the host, as the same bits are wanted on every device.
    """
    xp = xp_of(images)
    batch, _, height, width = images.shape
    centre = np.array([[height - 1], [width - 1]]) / 2
    constants = centre - (factors * (centre + moves)).sum(1)
    inverse = xp.asarray(np.concatenate([factors, constants[:, None]], axis=1))[..., None, None]
    changed = xp.empty(images.shape, images.dtype)
    at_a_time = max(1, batch if xp is not np else _CACHED_PIXELS // (height * width))
    for start in range(0, batch, at_a_time):
        part = slice(start, start + at_a_time)
        changed[part] = _interpolated(images[part], inverse[:, :, part], fill)
    return changed


def _interpolated(images: Array, inverse: Array, fill: str) -> Array:
    """Images (B, C, H, W) seen through transforms whose inverses are (2, 3, B, 1, 1): bilinear, 0 or mirrored outside."""
    xp = xp_of(images)
    batch, channels, height, width = images.shape
    down, right = xp.arange(height)[:, None], xp.arange(width)
    rows, columns = (one[0] * down + one[1] * right + one[2] for one in inverse)
    if fill == "reflect":
        rows, columns = mirrored(rows, height), mirrored(columns, width)
    # A border of zeros, of one before and two behind, lets all four neighbours of every pixel be read.
    padded = xp.zeros((batch, channels, height + 3, width + 3), images.dtype)
    padded[:, :, 1 : height + 1, 1 : width + 1] = images
    rows, columns = xp.clip(rows, -1, height) + 1, xp.clip(columns, -1, width) + 1
    top, left = xp.floor(rows), xp.floor(columns)
    below, after = ((at - corner).astype(images.dtype)[:, None] for at, corner in ((rows, top), (columns, left)))
    above, before = 1 - below, 1 - after
    pixels, places = padded.reshape(-1), flat_places(padded, top.astype(np.int64), left.astype(np.int64))
    values = xp.zeros(images.shape, images.dtype)
    neighbours = ((0, above, before), (1, above, after), (width + 3, below, before), (width + 4, below, after))
    for offset, vertical, horizontal in neighbours:
        neighbour = pixels[offset:].take(places)
        neighbour *= vertical * horizontal
        values += neighbour
    return values


def _as_given(angles: Range) -> float | Range:
    """What `_angles` makes these of."""
    return angles[1] if angles[0] == -angles[1] else angles


def _angles(value: float | Range, name: str, below: float) -> Range:
    """The range of angles that `value` stands for; ArgumentError, which calls it `name`, unless it is within `below`."""
    found = as_range(value)
    if found is None or max(map(abs, found)) >= below:
        limit = "" if below == math.inf else f" within (-{below:g}, {below:g})"
        raise ArgumentError(f"{name} must be a number >= 0 or a pair of rising numbers{limit}, got {value_text(value)}")
    return found
