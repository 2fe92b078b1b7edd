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
    assert [axes.get_title(loc="left") for axes in rows] == [
        f"{name}, those with the highest values" for name in ("4: 12 of 30 maps of 8x8", "6: 12 of 30 maps of 4x4")
    ]
    assert [text.get_text() for text in rows[0].get_xticklabels()] == [str(number) for number in range(12)]
    assert rows[0].images[0].norm.vmin == 0
    for number, tile in enumerate(drawn(rows[0], 8)):
        np.testing.assert_array_equal(tile, IMAGE[0] * (29 - number))
    alone = plot.feature_maps(model, IMAGE, model[0])
    (axes,) = [axes for axes in alone.axes if axes.images][1:]
    assert axes.images[0].get_array().shape == (4 * 9 - 1, 8 * 9 - 1)
    alone.draw_without_rendering()
    assert axes.get_position().width > 0.6, "the image beside them leaves them their room"
    assert [text.get_text() for text in axes.texts] == [str(number) for number in range(30)]
    assert alone.get_suptitle() == "Feature maps of the layer 0"
    assert "4, 12 of 30 maps of 8x8, those with the highest values; 6, 12 of" in figure.alt


def test_a_block_has_the_maps_that_it_gives() -> None:
    net = layers.Sequential(layers.Sequential(layers.Conv2d(1, 3, 1), layers.ReLU()), layers.Flatten())
    figure = plot.feature_maps(net, IMAGE, "0")
    axes = next(axes for axes in figure.axes if axes.get_title(loc="left") == "0: 3 maps of 8x8")
    with no_grad():
        expected = net[0](Tensor(IMAGE[None])).data[0]
    for tile, one in zip(drawn(axes, 8), expected, strict=True):
        np.testing.assert_array_equal(tile, one)
    alone = plot.feature_maps(layers.ReLU(), IMAGE * 170)
    assert alone.alt == "An image and its feature maps: ReLU, 1 map of 8x8."
    assert [text.get_text() for text in alone.axes[-1].get_yticklabels()] == ["0", "170"]


def test_numbers_that_are_none_are_told() -> None:
    model, image = Corner(), IMAGE.copy()
    image[0, 0, :2] = np.nan, np.inf
    figure = plot.feature_maps(model, image)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "image; 2 of 64 numbers are NaN or infinite" in titles
    assert "conv: 2 maps of 8x8; 4 of 128 numbers are NaN or infinite" in titles
    row = next(axes for axes in figure.axes if axes.get_title(loc="left").startswith("conv"))
    assert row.images[0].norm.vmax == 1, "the scale is that of finite ones"


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
