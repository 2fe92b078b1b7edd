"""What a page gets of a model: nodes, weights as text, and a refusal of what the page could not compute."""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, models
from gpucnn import functions as F
from gpucnn.errors import GraphError
from gpucnn.layers import BatchNorm2d, Conv2d, Layer, Sequential
from gpucnn.play import browser_graph as module
from gpucnn.play.browser_graph import browser_graph


class Calling(Layer):
    """A model that is one function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def test_the_graph_of_lenet5_is_json_and_has_its_very_weights() -> None:
    model = models.create("lenet5", seed=3)
    graph = json.loads(json.dumps(browser_graph(model, (1, 1, 32, 32)), allow_nan=False))
    assert [node["function"] for node in graph["nodes"]] == [
        *("conv2d", "max_pool2d", "conv2d", "max_pool2d", "flatten", "linear", "linear", "linear")
    ]
    assert [node["inputs"] for node in graph["nodes"]] == [[number - 1] for number in range(8)]
    assert [node["is_map"] for node in graph["nodes"]] == [True] * 4 + [False] * 4
    first = graph["nodes"][0]
    assert (first["path"], first["shape"], graph["input_shape"]) == ("conv1", [1, 6, 28, 28], [1, 1, 32, 32])
    assert first["arguments"] == {
        "x": {"input": -1}, "weight": {"array": "conv1.weight"}, "bias": {"array": "conv1.bias"}, "groups": 1,
        "stride": [1, 1], "padding": [[0, 0], [0, 0]], "dilation": [1, 1], "activation": "relu",
    }  # fmt: skip
    state = model.state_dict()
    assert set(graph["arrays"]) == set(state)
    for name, saved in graph["arrays"].items():
        values = np.frombuffer(base64.b64decode(saved["base64"]), "<f4").reshape(saved["shape"])
        assert values.tobytes() == np.asarray(state[name]).tobytes()


def test_rows_of_channels_are_no_maps() -> None:
    model = Sequential(
        Conv2d(1, 3, 3), Calling(lambda x: F.transpose(F.relu(F.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2)))
    )
    nodes = browser_graph(model, (1, 1, 6, 6))["nodes"]
    assert [(node["function"], node["is_map"]) for node in nodes] == [
        ("conv2d", True), ("transpose", False), ("relu", False), ("transpose", True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            Sequential(Conv2d(1, 2, 3), Calling(F.mish)),
            (
                "1: network.js does not know mish; add it to FUNCTIONS there, or build the model of what it knows: "
                "adaptive_avg_pool2d, adaptive_max_pool2d, add, avg_pool2d, batch_norm, concatenate, conv2d,"
            ),
        ),
        (Calling(F.mish), "the model: network.js does not know mish"),
        (
            Calling(lambda x: x[:, :, [0, 2]]),
            "the model: network.js does not take an array as an index for getitem; take parts by slices",
        ),
        (
            Sequential(BatchNorm2d(1, track_running_stats=False)),
            (
                "0: network.js does not take the statistics of a batch for batch_norm; build the norm with "
                "track_running_stats=True"
            ),
        ),
        (
            Calling(lambda x: F.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), value=-np.inf)),
            "the model: network.js does not take -inf for pad; build the model without it",
        ),
        (
            Calling(lambda x: Tensor(x.array * 2)),
            "Calling: a graph cannot follow what it gives",
        ),
    ],
    ids=["in a layer", "in the model", "index", "statistics", "infinite", "NumPy"],
)
def test_what_a_page_cannot_compute_is_refused_by_layer_function_and_fix(model: Layer, expected: str) -> None:
    with pytest.raises(GraphError) as error:
        browser_graph(model, (1, 1, 6, 6))
    assert str(error.value).startswith(expected)


def test_weights_that_no_browser_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_TEXT", 329_000)
    with pytest.raises(
        GraphError, match="LeNet5: its weights are 0 MB as text, and a browser takes at most 0 MB; choose a"
    ):
        browser_graph(models.create("lenet5"), (1, 1, 32, 32))  # 61,706 numbers: 329,128 letters
    monkeypatch.setattr(module, "LARGEST_TEXT", 329_200)
    browser_graph(models.create("lenet5"), (1, 1, 32, 32))
