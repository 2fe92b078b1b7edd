"""RandAugment's ways against Pillow's."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from gpucnn.backend import generator
from gpucnn.data import RandAugment
from gpucnn.errors import ArgumentError, ShapeError
from tests.data.augment.transforms import images_of

NAMES = ("identity", "autocontrast", "equalize", "solarize", "color", "posterize", "contrast", "brightness", "sharpness",
         "rotate", "shear x", "shear y", "translate x", "translate y")  # fmt: skip
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def light_of(name: str, strength: float, sign: float) -> Callable[[Image.Image], Image.Image]:
    """What Pillow does to an image."""
    factor = 1 + sign * 0.9 * strength
    return {
        "identity": lambda image: image,
        "autocontrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "solarize": lambda image: ImageOps.solarize(image, math.ceil(256 * (1 - strength))),
        "color": lambda image: ImageEnhance.Color(image).enhance(factor),
        "posterize": lambda image: ImageOps.posterize(image, 8 - round(4 * strength)),
        "contrast": lambda image: ImageEnhance.Contrast(image).enhance(factor),
        "brightness": lambda image: ImageEnhance.Brightness(image).enhance(factor),
        "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(factor),
    }[name]


BEYOND = 60
"""Pixels of 0 around an image, so that it makes no difference what Pillow takes for half a pixel around its edge."""


def moved(name: str, strength: float, sign: float, plane: np.ndarray) -> np.ndarray:
    """A plane moved by Pillow, whose factors tell where its output's (x, y) comes from, each from the first pixel's edge."""
    height, width = plane.shape
    image = Image.fromarray(np.pad(plane, BEYOND).astype(np.float32))
    amount = sign * strength
    shear, share = 0.3 * amount, 150 / 331 * amount
    factors = {
        "shear x": (1, shear, -shear * image.height / 2, 0, 1, 0),
        "shear y": (1, 0, 0, shear, 1, -shear * image.width / 2),
        "translate x": (1, 0, -share * width, 0, 1, 0),
        "translate y": (1, 0, 0, 0, 1, -share * height),
    }
    if name == "rotate":
        found = image.rotate(30 * amount, Image.Resampling.BILINEAR)
    else:
        found = image.transform(image.size, Image.Transform.AFFINE, factors[name], Image.Resampling.BILINEAR)
    return np.asarray(found)[BEYOND : BEYOND + height, BEYOND : BEYOND + width]


def bytes_of(count: int, channels: int, height: int, width: int) -> np.ndarray:
    """Images of bytes, soft and dull, some of one colour or of two levels, as those that equalize and autocontrast are for."""
    raw = np.random.default_rng(7).integers(60, 180, (count, channels, height, width))
    raw[3::7] = raw[3::7, :, :1, :1]
    raw[5::7] = 90 + raw[5::7] % 2
    return raw.astype(np.uint8)


def as_pillow(raw: np.ndarray) -> Image.Image:
    return Image.fromarray(raw[0] if len(raw) == 1 else np.ascontiguousarray(raw.transpose(1, 2, 0)))


def from_pillow(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image).astype(np.float64)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def drawn(sample: int, n: int) -> list[tuple[str, float]]:
    """The ways of a sample, each with its sign."""
    draws = generator(3, "RandAugment", 2, sample).random(2 * n)
    return [(NAMES[int(draws[2 * time] * 14)], -1.0 if draws[2 * time + 1] < 0.5 else 1.0) for time in range(n)]


EXACT = ("identity", "equalize", "solarize", "posterize")


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 16, 16), (1, 9, 31), (3, 40, 5)])
@pytest.mark.parametrize("magnitude", [0.0, 4.0, 9.0, 10.0])
def test_every_way(magnitude: float, channels: int, height: int, width: int, normalised: bool) -> None:
    count, strength = 100, magnitude / 10
    raw = bytes_of(count, channels, height, width)
    mean, std = (np.array(values[:channels])[:, None, None] for values in (MEAN, STD))
    given = (MEAN[:channels], STD[:channels]) if normalised else ()
    images = raw.astype(np.float64) / 255
    augment = RandAugment(1, magnitude, "zero", *given)
    found = augment((images - mean) / std if normalised else images, np.arange(count), 3, 2)
    seen = set()
    for sample in range(count):
        ((name, sign),) = drawn(sample, 1)
        seen.add(name)
        if name in NAMES[:9]:
            expected = from_pillow(light_of(name, strength, sign)(as_pillow(raw[sample])))
            pixels = (found[sample] * std + mean if normalised else found[sample]) * 255
            np.testing.assert_allclose(pixels, expected, atol=1e-9 if name in EXACT else 1.5, err_msg=name)
            continue
        own = (images[sample] - mean) / std if normalised else images[sample]
        theirs = [moved(name, strength, sign, plane) for plane in own]
        np.testing.assert_allclose(found[sample], theirs, atol=1e-4, err_msg=name)
    assert seen == set(NAMES)


def test_ways_come_one_after_the_other_and_each_as_often() -> None:
    count, smooth = 400, ("identity", "color", "brightness", "sharpness")
    raw = bytes_of(count, 3, 12, 12)
    images = raw.astype(np.float64) / 255
    once, twice = (RandAugment(n, 5)(images, np.arange(count), 3, 2) for n in (1, 2))
    compared = 0
    for sample in range(count):
        (first, first_sign), (second, second_sign) = drawn(sample, 2)
        if second == "identity":
            np.testing.assert_array_equal(twice[sample], once[sample])
        if first in smooth and second in smooth:
            image = light_of(first, 0.5, first_sign)(as_pillow(raw[sample]))
            expected = from_pillow(light_of(second, 0.5, second_sign)(image))
            np.testing.assert_allclose(twice[sample] * 255, expected, atol=3)
            compared += 1
    assert compared > 20
    ways = [name for sample in range(5000) for name, _ in drawn(sample, 2)]
    counts = [ways.count(name) for name in NAMES]
    assert max(counts) < 1.2 * min(counts)


def test_one_colour_with_the_noise_of_arithmetic_stays() -> None:
    flat = np.full((150, 1, 6, 6), 0.4, np.float32)
    noisy = flat + np.random.default_rng(0).uniform(-1e-6, 1e-6, flat.shape).astype(np.float32)
    one, other = (RandAugment(1, 0)(images, np.arange(150), 3, 2) for images in (flat, noisy))
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(one[inside], other[inside], atol=1e-2)


def test_what_is_reflected_has_no_black() -> None:
    images = np.full((300, 3, 8, 8), 0.5)
    assert (RandAugment(1, 10)(images, np.arange(300), 0, 0)[:, 0].min(axis=(1, 2)) < 0.04).sum() > 60
    light = [sample for sample in range(300) if drawn(sample, 1)[0][0] in NAMES[9:]]
    found = RandAugment(1, 10, "reflect")(images, np.arange(300), 3, 2)
    np.testing.assert_allclose(found[light], 0.5, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n must be an int >= 1, got 0"),
        ({"n": 1.5}, "n must be an int >= 1, got 1.5"),
        ({"magnitude": 11}, "magnitude must be at most 10, got 11"),
        ({"magnitude": -1}, "magnitude must be a number >= 0, got -1"),
        ({"magnitude": math.nan}, "magnitude must be a number >= 0, got nan"),
        ({"fill": "noise"}, 'fill must be "zero" or "reflect", got \'noise\''),
        ({"mean": (0.5,)}, "mean and std go together"),
    ],
)
def test_rand_augment_refuses(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        RandAugment(**settings)  # type: ignore[arg-type]


def test_images_of_other_channels() -> None:
    with pytest.raises(ShapeError, match=r"^RandAugment: expected images \(B, 1 or 3, H, W\), got \(5, 2, 9, 7\)"):
        RandAugment()(images_of(5, 2), np.arange(5), 0, 0)
    with pytest.raises(ShapeError, match=r"^RandAugment: expected images \(B, 1, H, W\), got \(5, 3, 9, 7\)"):
        RandAugment(mean=(0.5,), std=(0.1,))(images_of(5), np.arange(5), 0, 0)
