"""Feature maps: what is drawn are the model's activations."""

from typing import Any

import numpy as np
import pytest

from gpucnn import layers, plot
from gpucnn.autograd import Tensor, no_grad
from gpucnn.errors import ArgumentError
from tests.plot.seeing import IMAGE, Corner

pytest.importorskip("matplotlib", reason="figures need the extra plot")


def drawn(axes: Any, size: int, gap: int = 1) -> list[np.ndarray]:
    """The tiles of a row of maps (size, size)."""
    array = axes.images[0].get_array()
    return [array[:, left : left + size] for left in range(0, array.shape[1] + 1, size + gap)]


def test_every_layer_has_a_row_of_its_activations() -> None:
    model = Corner()
    figure = plot.feature_maps(model, IMAGE)
    with no_grad():
        first = model.conv(Tensor(IMAGE[None]))
        second = model.pool(first)
    image, *rows = [axes for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(image.images[0].get_array(), IMAGE[0])
    for axes, maps, name in zip(rows, (first, second), ("conv: 2 maps of 8x8", "pool: 2 maps of 4x4"), strict=True):
        assert axes.get_title(loc="left") == name
        for tile, expected in zip(drawn(axes, maps.shape[2]), maps.data[0], strict=True):
            np.testing.assert_array_equal(tile, expected)
        assert axes.images[0].norm.vmin == -axes.images[0].norm.vmax == maps.data.min()
    assert figure.alt == "An image and its feature maps: conv, 2 maps of 8x8; pool, 2 maps of 4x4."


def deep() -> layers.Sequential:
    """Ten layers, of maps of 8x8, 4x4 and 1x1."""
    same = [layers.ReLU() for _ in range(4)]
    return layers.Sequential(
        layers.Conv2d(1, 30, 1, bias=False), *same, layers.MaxPool2d(2), layers.ReLU(), layers.MaxPool2d(4), layers.ReLU(),
        layers.Flatten(),
    )  # fmt: skip


def test_of_many_layers_the_last_of_each_size_and_of_many_maps_the_strongest() -> None:
    model = deep()
    weights: Any = model[0]
    weights.weight.data[...] = np.reshape(np.arange(30)[::-1], (30, 1, 1, 1))
    figure = plot.feature_maps(model, IMAGE)
    rows = [axes for axes in figure.axes if axes.images][1:]
    assert [axes.get_title(loc="left") for axes in rows] == ["4: 30 maps of 8x8", "6: 30 maps of 4x4"]
    assert [text.get_text() for text in rows[0].get_xticklabels()] == [str(number) for number in range(12)]
    assert rows[0].images[0].norm.vmin == 0
    for number, tile in enumerate(drawn(rows[0], 8)):
        np.testing.assert_array_equal(tile, IMAGE[0] * (29 - number))
    alone = plot.feature_maps(model, IMAGE, model[0])
    (axes,) = [axes for axes in alone.axes if axes.images][1:]
    assert axes.images[0].get_array().shape == (4 * 9 - 1, 8 * 9 - 1)
    assert alone.get_suptitle() == "Feature maps of the layer 0"


def test_layers_without_maps_are_told() -> None:
    with pytest.raises(
        ArgumentError, match=r"^feature_maps: layer output gives no maps by itself; there is conv, pool$"
    ):
        plot.feature_maps(Corner(), IMAGE, "output")
    with pytest.raises(ArgumentError, match=r"^feature_maps: Corner has no layer 'con'; did you mean conv\?$"):
        plot.feature_maps(Corner(), IMAGE, "con")
    flat = layers.Sequential(layers.Flatten(), layers.Linear(64, 2))
    with pytest.raises(ArgumentError, match=r"^feature_maps: Sequential has no layer that gives maps$"):
        plot.feature_maps(flat, IMAGE)
