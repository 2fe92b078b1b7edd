"""Means over several views of an image, against views that NumPy makes."""

import numpy as np
import pytest

from gpucnn import layers
from gpucnn.errors import ArgumentError, ShapeError

IMAGES = np.random.default_rng(0).standard_normal((3, 2, 4, 5)).astype(np.float32)


class Place(layers.Layer):
    """Answers with the squares of all pixels, each multiplied by a number of its own."""

    def forward(self, x: layers.Layer) -> layers.Layer:
        return (x * x * np.arange(40, dtype=np.float32).reshape(2, 4, 5)).sum(axis=(1, 2, 3))  # type: ignore[attr-defined,operator]


def answers(images: np.ndarray) -> np.ndarray:
    """What `Place` answers, in float64."""
    found: np.ndarray = (images.astype(np.float64) ** 2 * np.arange(40).reshape(2, 4, 5)).sum(axis=(1, 2, 3))
    return found


def moved(images: np.ndarray, step: int) -> np.ndarray:
    """The images in a frame of mirrored pixels, cut out a pixel further up and left, or down and right."""
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect")
    return framed[:, :, 1 - step : 5 - step, 1 - step : 6 - step]


def test_mirror() -> None:
    expected = (answers(IMAGES) + answers(IMAGES[:, :, :, ::-1])) / 2
    np.testing.assert_allclose(layers.MeanOfViews(Place())(IMAGES).numpy(), expected, rtol=1e-5)


def test_mirror_and_shift() -> None:
    both = [(answers(one) + answers(one[:, :, :, ::-1])) / 2 for one in (IMAGES, moved(IMAGES, 1), moved(IMAGES, -1))]
    expected = both[0] / 2 + both[1] / 4 + both[2] / 4
    assert not np.allclose(both[1], both[2])
    np.testing.assert_allclose(layers.MeanOfViews(Place(), "mirror_shift")(IMAGES).numpy(), expected, rtol=1e-5)


def test_what_is_refused() -> None:
    with pytest.raises(ArgumentError, match='^MeanOfViews: views must be "mirror" or "mirror_shift", got \'crop\'$'):
        layers.MeanOfViews(Place(), "crop")
    with pytest.raises(ArgumentError, match="^MeanOfViews: model must be a layer, got 3$"):
        layers.MeanOfViews(3)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"expected images \(N, C, H, W\), got \(3, 2\)$"):
        layers.MeanOfViews(layers.Linear(2, 2))(IMAGES[:, :, 0, 0])
