"""Colour jitter against one pixel after the other in float64."""

import numpy as np
import pytest

from gpucnn.backend import generator
from gpucnn.data import ColorJitter
from gpucnn.errors import ArgumentError, ShapeError
from tests.data.augment.transforms import images_of

LUMA = np.array([0.299, 0.587, 0.114])


def jittered(image: np.ndarray, amounts: tuple[float, float, float], draws: np.ndarray) -> np.ndarray:
    """An image (C, H, W) with its factors, step by step."""
    brightness, contrast, saturation = (
        max(0, 1 - amount) + draw * (1 + amount - max(0, 1 - amount))
        for amount, draw in zip(amounts, draws, strict=True)
    )
    channels, height, width = image.shape
    pixels = [[min(max(float(value) * brightness, 0), 1) for value in plane.ravel()] for plane in image]

    def grey(place: int) -> float:
        if channels == 1:
            return pixels[0][place]
        return sum(share * plane[place] for share, plane in zip(LUMA, pixels, strict=True))

    middle = sum(grey(place) for place in range(height * width)) / (height * width)
    pixels = [[min(max(middle + contrast * (value - middle), 0), 1) for value in plane] for plane in pixels]
    if channels == 3:
        greys = [grey(place) for place in range(height * width)]
        pixels = [
            [min(max(dull + saturation * (value - dull), 0), 1) for value, dull in zip(plane, greys, strict=True)]
            for plane in pixels
        ]
    return np.array(pixels).reshape(image.shape)


AMOUNTS = [(0.0, 0.0, 0.0), (0.4, 0.0, 0.0), (0.0, 0.8, 0.0), (0.0, 0.0, 0.9), (0.5, 0.4, 0.3), (2.5, 3.0, 4.0)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("amounts", AMOUNTS)
@pytest.mark.parametrize("normalised", [False, True])
def test_color_jitter(channels: int, amounts: tuple[float, float, float], normalised: bool) -> None:
    images = images_of(8, channels)
    mean, std = np.array([0.4, 0.5, 0.6])[:channels], np.array([0.2, 0.3, 0.25])[:channels]
    shift, scale = (mean[:, None, None], std[:, None, None]) if normalised else (0.0, 1.0)
    augment = ColorJitter(*amounts, *((tuple(mean.tolist()), tuple(std.tolist())) if normalised else ()))
    changed = augment(((images - shift) / scale).astype(np.float32), np.arange(8) + 2, 3, 1)
    for sample in range(8):
        draws = generator(3, "ColorJitter", 1, sample + 2).random(3)
        expected = (jittered(images[sample], amounts, draws) - shift) / scale
        np.testing.assert_allclose(changed[sample], expected, atol=1e-5)


def test_amounts_of_zero_change_nothing_and_one_amount_does_not_move_the_others() -> None:
    images, indices = images_of(20), np.arange(20)
    np.testing.assert_array_equal(ColorJitter()(images, indices, 0, 0), images)
    dim = ColorJitter(0.5)(images / 2, indices, 0, 0) / (images / 2)
    factors = dim[:, 0, 0, 0]
    np.testing.assert_allclose(dim, np.broadcast_to(factors[:, None, None, None], dim.shape), rtol=1e-5)
    assert (factors.min() < 0.7, factors.max() > 1.3) == (True, True)
    grey_alike = images[:, :1].repeat(3, 1)
    np.testing.assert_allclose(
        ColorJitter(0.5, 0, 0.9)(grey_alike, indices, 0, 0), ColorJitter(0.5)(grey_alike, indices, 0, 0), atol=1e-6
    )


def test_color_jitter_refuses() -> None:
    for name in ("brightness", "contrast", "saturation"):
        for wrong in (-0.1, "1", float("nan"), True):
            with pytest.raises(ArgumentError, match=f"{name} must be a number >= 0, got"):
                ColorJitter(**{name: wrong})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"mean and std go together, got mean=\(0.5,\) and std=None; give both or"):
        ColorJitter(0.1, mean=(0.5,))
    with pytest.raises(ShapeError, match=r"ColorJitter: expected images \(B, 1 or 3, H, W\), got \(5, 2, 9, 7\)"):
        ColorJitter(0.1)(images_of(5, 2), np.arange(5), 0, 0)
    with pytest.raises(ShapeError, match=r"ColorJitter: expected images \(B, 1, H, W\), got \(5, 3, 9, 7\)"):
        ColorJitter(0.1, mean=(0.5,), std=(0.1,))(images_of(5), np.arange(5), 0, 0)
