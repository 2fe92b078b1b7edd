"""The gradient of a score by the image is what differences say."""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, explain, layers, no_grad
from gpucnn.errors import ArgumentError


def test_it_is_what_differences_say() -> None:
    model = layers.Sequential(
        layers.Conv2d(2, 3, 3), layers.BatchNorm2d(3), layers.Tanh(), layers.Dropout(0.5), layers.Flatten(), layers.Linear(18, 4)
    ).astype("float64")  # fmt: skip
    image = np.random.default_rng(0).standard_normal((2, 5, 4))
    with no_grad():  # of the user's; the tape is needed all the same
        found = explain.input_gradient(model, image, 2)
    assert model.training
    model.eval()
    expected = np.zeros(image.shape)
    for place in np.ndindex(image.shape):
        step = np.zeros(image.shape)
        step[place] = 1e-6
        up, down = (np.asarray(model(one[None]).data)[0, 2] for one in (image + step, image - step))
        expected[place] = (up - down) / 2e-6
    np.testing.assert_allclose(found, expected, atol=1e-8)


class Pixels(layers.Layer):
    """Gives every pixel logits of two classes: x and -2x."""

    def __init__(self) -> None:
        self.head = layers.Conv2d(1, 2, 1)
        self.head.weight.assign(np.array([1, -2], np.float32).reshape(2, 1, 1, 1))

    def forward(self, x: Any) -> Tensor:
        return self.head(x)


def test_of_a_model_of_pixels_it_is_that_of_the_sum() -> None:
    np.testing.assert_array_equal(explain.input_gradient(Pixels(), np.ones((1, 2, 3)), 1), np.full((1, 2, 3), -2.0))


class Deaf(layers.Layer):
    """Says the same to every image."""

    def __init__(self) -> None:
        self.bias = layers.Parameter(np.zeros((1, 3), np.float32))

    def forward(self, x: Any) -> Tensor:
        return self.bias * 1


def test_a_model_that_does_not_look_is_told_of() -> None:
    with pytest.raises(ArgumentError, match="input_gradient: the scores of Deaf do not depend on the image"):
        explain.input_gradient(Deaf(), np.ones((1, 2, 3)), 1)
