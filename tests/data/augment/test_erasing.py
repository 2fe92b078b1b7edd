"""Random erasing against loops over single pixels."""

import math

import numpy as np
import pytest

from gpucnn.backend import generator
from gpucnn.data import RandomErasing
from gpucnn.errors import ArgumentError, ShapeError
from tests.data.augment.test_crop import box_of
from tests.data.augment.transforms import images_of

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(9, 7), (1, 1), (16, 5)])
@pytest.mark.parametrize("fill", ["zero", "mean", "noise"])
@pytest.mark.parametrize("normalised", [False, True])
def test_erase(channels: int, height: int, width: int, fill: str, normalised: bool) -> None:
    count, scale, ratio = 30, (0.1, 0.6), (0.4, 3.0)
    images = images_of(count, channels, height, width, np.float64)
    given = (MEAN[:channels], STD[:channels]) if normalised else ()
    found = RandomErasing(0.7, scale, ratio, fill, *given)(images, np.arange(count) + 5, 3, 2)
    erased = 0
    for sample in range(count):
        draws = generator(3, "RandomErasing", 2, sample + 5).random(23).tolist()
        top, left, tall, wide = box_of(draws[1:], height, width, scale, ratio)
        expected = images[sample].copy()
        if draws[0] < 0.7 and fits(draws[1:21], height, width, scale, ratio):
            erased += 1
            noise = generator(3, "RandomErasing noise", 2, sample + 5).random((channels, tall, wide))
            for channel in range(channels):
                for row in range(tall):
                    for column in range(wide):
                        value = {
                            "zero": 0,
                            "mean": images[sample, channel].mean(),
                            "noise": noise[channel, row, column],
                        }[fill]
                        if normalised and fill == "noise":
                            value = (value - MEAN[channel]) / STD[channel]
                        expected[channel, top + row, left + column] = value
        np.testing.assert_allclose(found[sample], expected, atol=1e-12)
    assert 10 < erased < 28


def fits(draws: list[float], height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]) -> bool:
    """Whether one of the ten boxes of these draws has a place in the image."""
    for attempt in range(10):
        area = height * width * (scale[0] + draws[attempt] * (scale[1] - scale[0]))
        low, high = math.log(ratio[0]), math.log(ratio[1])
        proportion = math.exp(low + draws[10 + attempt] * (high - low))
        if round(math.sqrt(area * proportion)) <= width and round(math.sqrt(area / proportion)) <= height:
            return True
    return False


def test_what_has_no_place_is_not_erased() -> None:
    images = images_of(20, 1, 3, 30)
    np.testing.assert_array_equal(RandomErasing(1.0, (0.9, 1.0), (0.9, 1.1))(images, np.arange(20), 0, 0), images)


def test_as_many_are_erased_and_as_much_of_them_as_is_asked_for() -> None:
    images = np.ones((3000, 1, 20, 20), np.float32)
    found = RandomErasing(0.25, (0.1, 0.3))(images, np.arange(3000), 0, 0)
    areas = (found == 0).mean(axis=(1, 2, 3))
    assert abs((areas > 0).mean() - 0.25) < 0.03
    assert abs(areas[areas > 0].mean() - 0.2) < 0.01
    noise = RandomErasing(1.0, fill="noise")(images, np.arange(3000), 0, 0)
    drawn = noise[noise != 1]
    assert (drawn.min() >= 0, drawn.max() <= 1, abs(drawn.mean() - 0.5) < 0.01) == (True, True, True)
    assert (RandomErasing(0.0)(images, np.arange(3000), 0, 0) == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 1.5}, "p, the probability of erasing, must be at most 1, got 1.5"),
        ({"p": math.nan}, "p, the probability of erasing, must be a number >= 0, got nan"),
        (
            {"scale": (0, 0.3)},
            r"scale must be a pair of rising shares of the image's area, above 0 and at most 1, got \(0, 0.3\)",
        ),
        ({"ratio": (3, 0.3)}, r"ratio must be a pair of rising factors from 0.01 to 100, got \(3, 0.3\)"),
        ({"fill": "black"}, 'fill must be "zero", "mean" or "noise", got \'black\''),
        ({"std": (0.5,)}, "mean and std go together"),
    ],
)
def test_erasing_refuses(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        RandomErasing(**settings)  # type: ignore[arg-type]


def test_images_of_other_channels() -> None:
    with pytest.raises(ShapeError, match=r"^RandomErasing: expected images \(B, 1, H, W\), got \(5, 3, 9, 7\)"):
        RandomErasing(mean=(0.5,), std=(0.1,))(images_of(5), np.arange(5), 0, 0)
