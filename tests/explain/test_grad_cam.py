"""Grad-CAM looks where the object is, and is what its formula says, by differences."""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, explain, layers, models
from gpucnn import functions as F
from gpucnn.errors import ArgumentError
from tests.backends import Backend


class Detector(layers.Layer):
    """Class 0 is a bright spot, class 1 a dark one: a map of each, and its mean."""

    def __init__(self) -> None:
        self.spots = layers.Conv2d(1, 2, 3, padding=1, activation="relu")
        self.spots.weight.assign(np.stack([np.full((1, 3, 3), sign, np.float32) for sign in (1, -1)]))
        self.dropout = layers.Dropout(0.9)

    def forward(self, x: Any) -> Tensor:
        return self.dropout(self.spots(x)).mean(axis=(2, 3))


def with_spot(row: int, column: int, value: float) -> np.ndarray:
    image = np.zeros((1, 12, 16))
    image[0, row : row + 3, column : column + 3] = value
    return image


@pytest.mark.parametrize(("row", "column"), [(0, 0), (9, 0), (9, 13)])
def test_it_is_largest_where_the_object_is(backend: Backend, row: int, column: int) -> None:
    model = Detector().to(backend.device_name)
    image = with_spot(row, column, 1.0) + with_spot(9 - row, 13 - column, -1.0)
    for label, (top, left) in enumerate([(row, column), (9 - row, 13 - column)]):
        heat = explain.grad_cam(model, image, label)
        assert (heat.shape, heat.dtype, heat.max()) == ((12, 16), np.float64, 1.0)
        assert np.unravel_index(heat.argmax(), heat.shape) == (top + 1, left + 1)
        assert heat[11 - top, 15 - left] == 0
    assert model.dropout.training


def by_differences(model: layers.Sequential, at: int, image: np.ndarray, label: int) -> np.ndarray:
    """The formula, its gradients by differences, for maps as large as the image: no upscaling."""

    def score(maps: np.ndarray) -> float:
        x: Any = Tensor(maps)
        for layer in list(model)[at + 1 :]:
            x = layer(x)
        return float(np.asarray(x.data)[0, label])

    maps = np.asarray(Tensor(image[None]).data)
    for layer in list(model)[: at + 1]:
        maps = np.asarray(layer(Tensor(maps)).data)
    gradient = np.zeros(maps.shape)
    for place in np.ndindex(maps.shape):
        step = np.zeros(maps.shape)
        step[place] = 1e-5
        gradient[place] = (score(maps + step) - score(maps - step)) / 2e-5
    heat = np.maximum((gradient.mean(axis=(2, 3), keepdims=True) * maps).sum(axis=(0, 1)), 0)
    return heat / (heat.max() or 1)


@pytest.mark.parametrize("label", [0, 2])
def test_it_is_what_differences_say(label: int) -> None:
    model = layers.Sequential(
        layers.Conv2d(1, 2, 3, padding=1), layers.Sigmoid(), layers.Conv2d(2, 3, 3, padding=1), layers.Tanh(),
        layers.MaxPool2d(2), layers.Flatten(), layers.Linear(3 * 2 * 3, 5), layers.Sigmoid(), layers.Linear(5, 3), seed=3,
    ).astype("float64").eval()  # fmt: skip
    image = np.random.default_rng(1).standard_normal((1, 4, 6))
    for at in (0, 1, 3):
        heat = explain.grad_cam(model, image, label, str(at))
        np.testing.assert_allclose(heat, by_differences(model, at, image, label), atol=1e-8)
        np.testing.assert_array_equal(explain.grad_cam(model, Tensor(image[None]), label, model[at]), heat)


def test_it_is_enlarged_with_centres_of_pixels_upon_centres() -> None:
    """Of a 2x2 map, one of whose cells is 1, in an image of 8x8."""
    model = layers.Sequential(layers.AvgPool2d(4), layers.AdaptiveAvgPool2d(1), layers.Flatten())
    image = np.zeros((1, 8, 8))
    image[:, :4, :4] = 1
    centres = (np.arange(8) + 0.5) / 4 - 0.5  # in cells
    line = np.interp(centres, [0, 1], [1, 0])
    np.testing.assert_allclose(explain.grad_cam(model, image, 0), np.outer(line, line), rtol=1e-12)


class ByFunctions(layers.Layer):
    """A batch norm whose ReLU is a function, as in DenseNet."""

    def __init__(self) -> None:
        self.conv, self.norm = layers.Conv2d(1, 3, 3, padding=1), layers.BatchNorm2d(3)
        self.head = layers.Linear(3, 2)

    def forward(self, x: Any) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x))).mean(axis=(2, 3)))


def test_the_activation_that_follows_is_looked_at_and_what_it_cuts_off_does_not_count() -> None:
    model, image = ByFunctions().astype("float64").eval(), np.random.default_rng(0).standard_normal((1, 5, 5))
    assert explain.last_map(model, image) == "norm"
    maps = np.maximum(explain.feature_maps(model, image)["norm"], 0)
    weights = (
        np.asarray(model.head.weight.data)[1] * (maps > 0).mean(axis=(1, 2)) * 0 + np.asarray(model.head.weight.data)[1]
    )
    expected = np.maximum(np.tensordot(weights, maps, 1), 0)
    np.testing.assert_allclose(explain.grad_cam(model, image, 1), expected / expected.max(), rtol=1e-9)
    assert (explain.grad_cam(model, image, 1, "norm") != explain.grad_cam(model, image, 1)).any()


LAST_MAPS = {
    "lenet5": (32, "pool2"), "vgg_mini": (8, "features.13"), "resnet20": (8, "layer3.2.bn2"), "densenet40_12": (8, "norm"),
    "unet": (8, "join1.5"),
}  # fmt: skip


@pytest.mark.parametrize("name", LAST_MAPS)
def test_the_last_map_of_each_family_of_models(name: str) -> None:
    size, path = LAST_MAPS[name]
    model = models.create(name, image_size=size)
    image = np.random.default_rng(0).standard_normal(model.built_for())
    assert explain.last_map(model, image) == path
    assert explain.grad_cam(model, image, 3).shape == (size, size)


def test_maps_that_were_only_enlarged_are_not_the_last() -> None:
    """As in a VGG for images of 32x32, which makes 7x7 of a single pixel."""
    model = layers.Sequential(
        layers.Conv2d(1, 2, 1), layers.MaxPool2d(4), layers.AdaptiveAvgPool2d(7), layers.Flatten(), layers.Linear(98, 2)
    )
    assert explain.last_map(model, np.ones((1, 4, 4))) == "0"
    assert explain.last_map(model, np.ones((1, 8, 8))) == "1"


def test_where_nothing_speaks_for_a_class_it_is_zero() -> None:
    model = Detector()
    assert not explain.grad_cam(model, np.zeros((1, 6, 6)), 0).any()


class Odd(layers.Layer):
    """Has layers that are not called, or on which the answer does not depend."""

    def __init__(self) -> None:
        self.conv, self.idle = layers.Conv2d(1, 2, 1), layers.Conv2d(1, 2, 1)
        self.aside = layers.Conv2d(1, 2, 1)
        self.inner = layers.Checkpoint(layers.Sequential(layers.Conv2d(2, 2, 1)))
        self.head = layers.Linear(2, 2)

    def forward(self, x: Any) -> Tensor:
        self.aside(x)
        return self.head(self.inner(self.conv(x)).mean(axis=(2, 3)))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("idle", r"grad_cam: idle \(Conv2d\) is not called by the model in evaluation mode; give another layer"),
        ("aside", r"grad_cam: the scores do not depend on what aside \(Conv2d\) gives; give another layer"),
        ("head", r"grad_cam: head \(Linear\) gives \(1, 2\), and no feature maps \(N, C, H, W\); give an earlier layer"),
        ("inner.block.0", r"grad_cam: no gradient comes to inner.block.0 \(Conv2d\), as in a Checkpoint; give the layer around"),
        ("cnov", r"grad_cam: Odd has no layer 'cnov'; did you mean conv\?"),
        ("zzzz", r"grad_cam: Odd has no layer 'zzzz'; it has conv, idle, aside, inner, inner.block, inner.block.0, head"),
        (layers.ReLU(), r"grad_cam: ReLU is no layer of this Odd; give its path or itself"),
        (3, r"grad_cam: Odd has no layer 3; it has conv"),
    ],
)  # fmt: skip
def test_layers_that_will_not_do_are_refused(layer: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        explain.grad_cam(Odd(), np.ones((1, 4, 4)), 0, layer)


def test_a_checkpoint_can_be_looked_at_from_outside() -> None:
    heat = explain.grad_cam(Odd(), np.ones((1, 4, 4)), 0, "inner")
    assert heat.shape == (4, 4)
    assert explain.last_map(Odd(), np.ones((1, 4, 4))) == "inner.block.0"
    np.testing.assert_array_equal(explain.grad_cam(Odd(), np.ones((1, 4, 4)), 0), heat)


def test_a_model_without_maps_is_told_what_explains_it() -> None:
    message = "grad_cam: MLP has no feature maps larger than 1x1; input_gradient and occlusion explain any model"
    with pytest.raises(ArgumentError, match=message):
        explain.grad_cam(models.MLP(image_size=4), np.ones((1, 4, 4)), 0)
