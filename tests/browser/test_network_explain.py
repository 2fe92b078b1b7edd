"""The numbers behind one value: those of the chapter, and of each kind of function, as a page shows them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn import models
from gpucnn.kernels import ways
from gpucnn.layers import BatchNorm2d, Conv2d, Layer, LayerNorm, MaxPool2d, Sequential
from gpucnn.play.browser_graph import browser_graph
from tests.browser.network_page import NetworkPage
from tests.browser.test_network_models import images_for, small

SHARPEN = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]


@pytest.fixture(autouse=True, scope="module")
def numpy_way() -> Iterator[None]:
    with ways.use("numpy"):
        yield


def shown(network_page: NetworkPage, model: Layer, image: Any) -> list[np.ndarray]:
    """The model in the page, with an image."""
    image = np.asarray(image, np.float32)
    network_page.load(browser_graph(model, image.shape))
    return network_page.forward(image)


def with_weights(layer: Layer, **arrays: Any) -> Layer:
    for name, values in arrays.items():
        getattr(layer, name).array[...] = values
    return layer


def test_the_chapters_convolution(network_page: NetworkPage) -> None:
    filters = with_weights(Conv2d(1, 1, 3, bias=False), weight=SHARPEN)
    (output,) = shown(network_page, filters, np.arange(1, 26).reshape(1, 1, 5, 5))
    assert output[0, 0].tolist() == [[7, 8, 9], [12, 13, 14], [17, 18, 19]]
    told = network_page.explain(0, 0, 0, 0)
    assert (told["kind"], told["value"], told["sum"], told["bias"]) == ("convolution", 7, 7, None)
    assert (told["rows"], told["columns"], told["input"]) == ([0, 1, 2], [0, 1, 2], -1)
    (channel,) = told["channels"]
    assert channel["values"] == [[1, 2, 3], [6, 7, 8], [11, 12, 13]]
    assert channel["filter"] == SHARPEN
    assert channel["products"] == [[0, -2, 0], [-6, 35, -8], [0, -12, 0]]
    told = network_page.explain(0, 0, 1, 1)
    assert told["value"] == told["sum"] == told["channels"][0]["sum"] == 13
    assert told["channels"][0]["products"] == [[0, -8, 0], [-12, 65, -14], [0, -18, 0]]


def test_the_chapters_max_pooling(network_page: NetworkPage) -> None:
    image = [[1, 3, 2, 4], [5, 7, 6, 8], [9, 11, 10, 12], [13, 15, 14, 16]]
    (output,) = shown(network_page, Sequential(MaxPool2d(2), Conv2d(1, 1, 1)), [[image]])[:1]
    assert output[0, 0].tolist() == [[7, 8], [15, 16]]
    told = network_page.explain(0, 0, 1, 0)
    assert (told["kind"], told["value"], told["winner"]) == ("maximum", 15, {"y": 3, "x": 1})
    assert (told["rows"], told["columns"], told["values"]) == ([2, 3], [0, 1], [[9, 11], [13, 15]])


def test_a_tie_has_the_first_winner_and_a_nan_wins(network_page: NetworkPage) -> None:
    model = Sequential(MaxPool2d(3, 1, padding=1), Conv2d(1, 1, 1))
    shown(network_page, model, [[[[2, 2], [2, np.nan]]]])
    assert network_page.page.evaluate("[...network.outputs[0].winners]") == [3, 3, 3, 3]
    shown(network_page, model, [[[[2, 2], [1, 2]]]])
    assert network_page.page.evaluate("[...network.outputs[0].winners]") == [0, 0, 0, 0]


def test_padding_groups_bias_and_the_activation(network_page: NetworkPage) -> None:
    rng = np.random.default_rng(1)
    layer = Conv2d(4, 4, 3, stride=2, padding=1, dilation=2, groups=2, activation="relu")
    image = rng.standard_normal((1, 4, 7, 7))
    (output,) = shown(network_page, layer, image)
    told = network_page.explain(0, 3, 0, 1)
    assert (told["rows"], told["columns"]) == ([-1, 1, 3], [1, 3, 5])
    assert [channel["channel"] for channel in told["channels"]] == [2, 3]
    first = told["channels"][0]
    assert first["values"][0] == [0, 0, 0]
    np.testing.assert_allclose(first["values"][1:], image[0, 2, 1:4:2, 1:6:2], rtol=1e-6)
    np.testing.assert_allclose(first["filter"], layer.weight.array[3, 0], rtol=1e-6)
    total = sum(np.sum(channel["products"]) for channel in told["channels"])
    assert told["sum"] == pytest.approx(total + layer.bias.array[3], rel=1e-6)
    assert (told["activation"], told["value"]) == ("relu", pytest.approx(max(told["sum"], 0), rel=1e-6))
    assert output[0, 3, 0, 1] == told["value"]


class Every(Layer):
    """A call of each kind, one after the other."""

    def __init__(self) -> None:
        self.norm, self.layer_norm = BatchNorm2d(2), LayerNorm(4)

    def forward(self, x: Any) -> Any:
        x = self.norm(x)
        x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) + x * 2
        x = F.sigmoid(self.layer_norm(x))
        x = F.concatenate([x, F.pad(x[:, :, 1:], ((0, 0), (0, 0), (0, 1), (0, 0)), value=7)], axis=1)
        return F.softmax(F.mean(x, axis=(2, 3)))


def test_the_numbers_of_every_other_kind(network_page: NetworkPage) -> None:
    rng = np.random.default_rng(2)
    model = Every()
    model.norm.running_mean.array[...], model.norm.running_var.array[...] = [1, 2], [3, 4]
    image = rng.standard_normal((1, 2, 4, 4)).astype(np.float32)
    outputs = shown(network_page, model, image)
    kinds = [network_page.explain(number, 1)["kind"] for number in range(len(outputs))]
    assert kinds == [
        *("normalisation", "mean", "arithmetic", "arithmetic", "normalisation", "function"),
        *("moved", "moved", "moved", "mean", "softmax"),
    ]
    norm = network_page.explain(0, 1, 2, 3)
    assert (norm["mean"], norm["variance"], norm["weight"], norm["bias"]) == (2, 4, 1, 0)
    assert norm["x"] == pytest.approx(image[0, 1, 2, 3])
    mean = network_page.explain(1, 1, 0, 3)
    assert (mean["rows"], mean["columns"], mean["count"]) == ([0, 1], [2, 3], 4)
    assert mean["sum"] / mean["count"] == pytest.approx(mean["value"], rel=1e-6)
    doubled = network_page.explain(2, 0, 1, 1)
    assert (doubled["operator"], doubled["terms"][1], doubled["inputs"]) == ("*", 2, [0, None])
    added = network_page.explain(3, 0, 1, 1)
    assert (added["operator"], added["inputs"], added["sum"]) == ("+", [1, 2], pytest.approx(added["value"]))
    padded = network_page.explain(7, 0, 3, 2)
    assert (padded["index"], padded["value"]) == (None, 7)
    joined = network_page.explain(8, 3, 0, 2)
    assert (joined["input"], joined["index"], joined["x"]) == (7, [0, 1, 0, 2], outputs[7][0, 1, 0, 2])
    whole = network_page.explain(9, 2)
    assert (whole["count"], len(whole["values"])) == (16, 16)
    share = network_page.explain(10, 2)
    assert np.exp(share["x"]) / share["sum"] == pytest.approx(share["value"], rel=1e-6)


@pytest.mark.parametrize("name", ["lenet5", "unet"])
def test_what_is_told_adds_up_to_what_was_computed(name: str, network_page: NetworkPage) -> None:
    model = small(name)
    outputs = shown(network_page, model, images_for(model))
    rng = np.random.default_rng(3)
    for number, output in enumerate(outputs):
        place = [int(rng.integers(size)) for size in (output.shape[1:] if output.ndim == 4 else output.shape[1:2])]
        told = network_page.explain(number, *place)
        assert told["value"] == output[(0, *place)]
        assert told["function"] == network_page.nodes[number]["function"]
        if "sum" in told and told["kind"] != "mean":
            expected = max(told["sum"], 0) if told["activation"] else told["sum"]
            assert told["value"] == pytest.approx(expected, rel=1e-4, abs=1e-5), told["kind"]


def test_an_image_of_another_size_is_refused(network_page: NetworkPage) -> None:
    network_page.load(browser_graph(models.create("lenet5"), (1, 1, 32, 32)))
    assert network_page.page.evaluate(
        "(() => { try { network.forward([1, 2]); } catch (error) { return error.message; } })()"
    ) == ("the network takes 1 x 1 x 32 x 32 numbers, 1024, and got 2")
