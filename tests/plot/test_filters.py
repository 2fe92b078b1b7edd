"""Filters: what is drawn are the weights."""

from typing import Any

import numpy as np
import pytest

from gpucnn import layers, plot
from gpucnn.errors import ArgumentError

pytest.importorskip("matplotlib", reason="figures need the extra plot")


def net(channels: int, filters: int = 5) -> layers.Sequential:
    return layers.Sequential(
        layers.Conv2d(channels, filters, (2, 3)), layers.ReLU(), layers.Conv2d(filters, 4, 3), layers.Flatten()
    )


def tile(array: np.ndarray, row: int, column: int, size: tuple[int, int]) -> np.ndarray:
    """Of a mosaic whose gaps are a pixel wide."""
    top, left = row * (size[0] + 1), column * (size[1] + 1)
    return array[top : top + size[0], left : left + size[1]]


def weights_of(model: layers.Sequential, number: int) -> np.ndarray:
    found: Any = model[number]
    return np.asarray(found.weight.data, np.float64)


def test_grey_filters_are_maps_of_one_symmetric_scale() -> None:
    model = net(1, 20)
    figure = plot.filters(model)
    drawn, weights = figure.axes[0].images[0], weights_of(model, 0)
    for number, one in enumerate(weights[:, 0]):
        np.testing.assert_array_equal(tile(drawn.get_array(), number // 16, number % 16, (2, 3)), one)
    assert drawn.norm.vmax == -drawn.norm.vmin == np.abs(weights).max()
    assert figure.get_suptitle() == "0: 20 filters of 1x2x3"
    numbers = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert list(numbers) == [str(number) for number in range(20)]
    assert numbers["17"] == (1 * 4 - 0.5, 1 * 3 - 0.5)
    low, high = weights.min(), weights.max()
    assert figure.alt == f"The 20 filters of 1x2x3 of the layer 0; weights from {low:.2g} to {high:.2g}."


def test_filters_of_colours_are_in_colour() -> None:
    model = net(3)
    drawn, weights = plot.filters(model, model[0]).axes[0].images[0].get_array(), weights_of(model, 0)
    for number, one in enumerate(weights):
        expected = 0.5 + np.moveaxis(one, 0, 2) / (2 * np.abs(weights).max())
        np.testing.assert_allclose(tile(drawn, 0, number, (2, 3))[..., :3], expected, rtol=1e-12)
        assert (tile(drawn, 0, number, (2, 3))[..., 3] == 1).all()
    assert (drawn[:, 3] == [1, 1, 1, 0]).all(), "the paper shows between them"
    assert [text.get_text() for text in plot.filters(model).axes[0].get_xticklabels()] == list("01234")


def test_a_convolution_alone_is_named_by_its_class_and_numbers_that_are_none_by_words() -> None:
    alone = layers.Conv2d(1, 2, 3)
    alone.weight.data[0, 0, 0] = np.nan, np.inf, 170
    figure = plot.filters(alone)
    said = "Conv2d: 2 filters of 1x3x3; 2 of 18 numbers are NaN or infinite"
    assert figure.get_suptitle() == said
    assert figure.axes[0].images[0].norm.vmax == 170, "of those that are finite"
    with pytest.raises(ArgumentError, match=r"^filters: layer ReLU is no Conv2d but ReLU; the first is none$"):
        plot.filters(relu := layers.ReLU(), relu)


def test_other_filters_have_a_row_for_each_input_channel() -> None:
    model = net(2)
    figure = plot.filters(model, "2")
    drawn, weights = figure.axes[0].images[0].get_array(), weights_of(model, 2)
    for number, channel in np.ndindex(4, 5):
        np.testing.assert_array_equal(tile(drawn, channel, number, (3, 3)), weights[number, channel])
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["0", "1", "2", "3"]
    many = plot.filters(layers.Sequential(layers.Conv2d(17, 70, 1)))
    assert many.get_suptitle() == "0: 70 filters of 17x1x1, the first 16, of each the first 16 channels"
    assert many.axes[0].images[0].get_array().shape == (31, 31)


def test_what_has_no_filters_is_told() -> None:
    with pytest.raises(ArgumentError, match=r"^filters: Flatten has no Conv2d$"):
        plot.filters(layers.Flatten())
    both = layers.Sequential(layers.Conv1d(1, 2, 3), layers.ConvTranspose2d(1, 2, 3))
    with pytest.raises(
        ArgumentError, match=r"^filters: Sequential has no Conv2d but Conv1d, ConvTranspose2d, whose filters are"
    ):
        plot.filters(both)
    with pytest.raises(ArgumentError, match=r"^filters: layer 1 is no Conv2d but ReLU; the first is 0$"):
        plot.filters(net(1), "1")
    with pytest.raises(ArgumentError, match=r"^filters: Sequential has no layer 'conv'; "):
        plot.filters(net(1), "conv")
    with pytest.raises(ArgumentError, match=r"^filters: model must be a layer, got 3$"):
        plot.filters(3)  # type: ignore[arg-type]
