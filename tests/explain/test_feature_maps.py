"""Feature maps are what forward hooks see."""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, explain, layers, models
from gpucnn.errors import ArgumentError
from tests.backends import Backend, host


class Twice(layers.Layer):
    """Uses a pooling twice, an own layer without others in it, and linear layers."""

    def __init__(self) -> None:
        self.conv, self.pool, self.own = layers.Conv2d(1, 2, 3, padding=1), layers.MaxPool2d(2), Own()
        self.block = layers.Sequential(layers.Conv2d(2, 3, 1), layers.ReLU(), layers.Dropout(0.5))
        self.flatten, self.head = layers.Flatten(), layers.Linear(3, 2)

    def forward(self, x: Any) -> Tensor:
        x = self.pool(self.own(self.conv(x)))
        return self.head(self.flatten(self.pool(self.block(x))))


class Own(layers.Layer):
    def __init__(self) -> None:
        self.scale = layers.Parameter(np.array(2.0, np.float32))

    def forward(self, x: Any) -> Tensor:
        return x * self.scale


def test_they_are_what_hooks_see(backend: Backend) -> None:
    model, image = (
        Twice().to(backend.device_name),
        np.random.default_rng(0).standard_normal((1, 4, 4)).astype(np.float32),
    )
    found = explain.feature_maps(model, image)
    assert list(found) == ["conv", "own", "pool", "block.0", "block.1", "block.2", "pool (2)"]
    assert [maps.shape for maps in found.values()] == [(2, 4, 4), (2, 4, 4), (2, 2, 2), *[(3, 2, 2)] * 3, (3, 1, 1)]
    seen: dict[str, list[np.ndarray]] = {}
    for path, layer in model.eval().named_layers():
        layer.register_forward_hook(
            lambda layer, inputs, output, path=path: seen.setdefault(path, []).append(host(output.array)[0])
        )
    model(image[None])
    for path, maps in found.items():
        name, _, number = path.partition(" (")
        np.testing.assert_array_equal(maps, seen[name][1 if number else 0])
        assert maps.dtype == np.float64


def test_a_block_gives_its_own_and_one_without_maps_is_told() -> None:
    model, image = Twice(), np.random.default_rng(0).standard_normal((1, 4, 4)).astype(np.float32)
    every = explain.feature_maps(model, image)
    for layer in ("block", model.block):
        found = explain.feature_maps(model, image, layer)
        assert list(found) == ["block"]
        np.testing.assert_array_equal(found["block"], every["block.2"])
    assert list(explain.feature_maps(model, image, "pool")) == ["pool", "pool (2)"]
    with pytest.raises(ArgumentError, match=r"^feature_maps: head \(Linear\) gives \(1, 2\), and no feature maps"):
        explain.feature_maps(model, image, "head")
    with pytest.raises(ArgumentError, match=r"^feature_maps: Twice has no layer 'blok'; did you mean block\?$"):
        explain.feature_maps(model, image, "blok")


def test_a_model_that_is_one_layer_has_its_own_maps() -> None:
    assert {path: maps.shape for path, maps in explain.feature_maps(layers.ReLU(), np.ones((3, 2, 2))).items()} == {
        "": (3, 2, 2)
    }


def test_a_model_without_maps_has_none() -> None:
    assert explain.feature_maps(models.MLP(image_size=4), np.ones((1, 4, 4))) == {}
