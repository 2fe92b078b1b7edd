"""How a model reads as code, and what cannot be written."""

import ast
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, models, no_grad
from gpucnn import functions as F
from gpucnn.errors import GraphError
from gpucnn.export.numpy_code import quoted
from gpucnn.export.numpy_network import numpy_network
from gpucnn.layers import BatchNorm2d, Conv2d, Layer, Parameter, Sequential
from gpucnn.layers.graph import graph_of_any_batch
from gpucnn.models.vgg import VGG
from tests.export.written_network import as_function
from tests.layers.test_graph import SMALLEST

SAMPLE = ("lenet5", "resnet20")
"""What the suite compares each time; all with --onnx."""

BATCHES = (1, 5)


class Calling(Layer):
    """A model that is one function, with a parameter."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.scale = Parameter(np.arange(1.0, 4.0)[:, None, None])

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def lines(model: Layer, shape: tuple[int, ...] = (2, 3, 6, 6)) -> list[str]:
    return [line.strip() for line in numpy_network(graph_of_any_batch(model, np.zeros(shape, np.float32))).lines]


def agree(model: Layer, shape: tuple[int, ...], folder: Path) -> None:
    draw = np.random.default_rng(0)
    function = as_function(model, np.zeros((2, *shape), np.float32), folder)
    for batch in BATCHES:
        images = draw.random((batch, *shape), np.float32)
        with no_grad():
            expected = model.eval()(Tensor(images)).numpy()
        found = function(images.copy())
        assert found.shape == expected.shape
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_lenet5_reads_as_a_person_would_write_it() -> None:
    assert lines(models.create("lenet5"), (2, 1, 32, 32)) == [
        'x = relu(conv2d(x, w["conv1.weight"], w["conv1.bias"]))',
        "x = max_pool2d(x, 2, 2)",
        'x = relu(conv2d(x, w["conv2.weight"], w["conv2.bias"]))',
        "x = max_pool2d(x, 2, 2)",
        "x = x.reshape(-1, 400)",
        'x = relu(linear(x, w["fc1.weight"], w["fc1.bias"]))',
        'x = relu(linear(x, w["fc2.weight"], w["fc2.bias"]))',
        'x = linear(x, w["output.weight"], w["output.bias"])',
        "return x",
    ]


def test_a_residual_block_has_a_name_for_what_is_kept_and_a_line_that_says_where_it_is() -> None:
    assert lines(models.create("resnet20", image_size=8), (2, 3, 8, 8))[2:8] == [
        "",
        "# layer1.0",
        'y = conv2d(x, w["layer1.0.conv1.weight"], padding=1)',
        'y = relu(batch_norm(y, w, "layer1.0.bn1"))',
        'y = conv2d(y, w["layer1.0.conv2.weight"], padding=1)',
        'x = relu(batch_norm(y, w, "layer1.0.bn2") + x)',
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        every = metafunc.config.getoption("--onnx")
        metafunc.parametrize("name", models.names() if every else SAMPLE)


def test_a_model_computes_the_same(name: str, tmp_path: Path) -> None:
    size = SMALLEST[name]
    model = models.create(name, **({} if size is None else {"image_size": size}))
    if isinstance(model, VGG):  # whose linear layers take half a gigabyte
        model.classifier[0], model.classifier[3] = layers.Linear(512 * 7 * 7, 16), layers.Linear(16, 16)
        model.classifier[6] = layers.Linear(16, 10)
    rng = np.random.default_rng(1)
    with no_grad():
        for _ in range(3):
            model.train()(Tensor(rng.random((8, *model.built_for()), np.float32)))
    agree(model, model.built_for(), tmp_path)


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (lambda m, x: (x + 1) * 2 - x, None),
        (lambda m, x: F.relu(x * m.scale) + x, None),
        (lambda m, x: F.concatenate([x, F.sigmoid(x), x.mean((2, 3), keepdims=True) + x], 1), None),
        (lambda m, x: x[:, 1:, ::2, None, [0, 2]].reshape(x.shape[0], -1), None),
        (lambda m, x: x.reshape(x.shape[0] * 3, 36).transpose().reshape(36, x.shape[0], 3).transpose(1, 2, 0), None),
        (lambda m, x: F.concatenate([x, Tensor(np.ones((x.shape[0], 1, 6, 6), np.float32))], 1), None),
        (lambda m, x: F.pad(x, ((0, 0), (0, 1), (-1, 2), (0, 0)), value=0.5), None),
        (lambda m, x: F.max_pool2d(x, 3, 2, ceil_mode=True), "x = max_pool2d(x, 3, 2, padding=((0, 1), (0, 1)))"),
        (lambda m, x: F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False), None),
        (lambda m, x: F.adaptive_avg_pool2d(x, 1), "x = x.mean((2, 3), keepdims=True)"),
        (lambda m, x: F.adaptive_max_pool2d(x, (3, 2)), "x = max_pool2d(x, (2, 3), (2, 3))"),
        (lambda m, x: F.adaptive_avg_pool2d(x, 4), "x = adaptive_avg_pool2d(x, (4, 4))"),
        (lambda m, x: F.interpolate(x, scale_factor=2), "x = x.repeat(2, 2).repeat(2, 3)"),
        (lambda m, x: F.interpolate(x, (9, 4), mode="bicubic"), None),
        (lambda m, x: x / x.shape[0] + x[-x.shape[0] :], None),
        (lambda m, x: F.concatenate([x[:1], x]).reshape(-1, 9) * 2, None),
        (lambda m, x: x, None),
    ],
)
def test_functions_together(function: Any, line: str | None, tmp_path: Path) -> None:
    model = Calling(function)
    agree(model, (3, 6, 6), tmp_path)
    if line is not None:
        assert lines(model) == [line, "return x"]


def test_norms_are_named_by_their_layer_also_where_its_members_are_others(tmp_path: Path) -> None:
    class Own(Layer):
        def __init__(self) -> None:
            self.mean, self.variance = Parameter(np.array([1.0, 2.0, 3.0])), Parameter(np.array([0.5, 1.0, 1.5]))

        def forward(self, x: Any) -> Any:
            return F.batch_norm(x, self.mean, self.variance)

    model = Sequential(Conv2d(3, 3, 1), BatchNorm2d(3, eps=1e-3, affine=False), Own())
    agree(model, (3, 6, 6), tmp_path)
    assert lines(model)[1:3] == [
        'x = batch_norm(x, w, "1", eps=0.001)',
        'x = normalized(x, w["2.mean"], w["2.variance"], None, None)',
    ]


def test_what_cannot_be_written_names_the_layer_the_function_and_what_to_do() -> None:
    loss = Sequential(Conv2d(3, 3, 1), Calling(lambda m, x: F.mse_loss(x, x + 1)))
    with pytest.raises(GraphError, match="1: a predictor of NumPy alone has no mse_loss; it is a loss"):
        lines(loss)


HOSTILE = (
    "a\n    raise SystemExit\n    #",
    "b\r    raise SystemExit",
    "\x00\x0c",
    "c\u2028\u202e",
    '"); raise SystemExit  #',
    "\\'",
    "constant 0",
)


def named(names: Sequence[str]) -> Layer:
    """A model whose layers, one within the other, have these names; an array of numbers is added at the end."""

    class Named(Layer):
        def __init__(self, left: Sequence[str]) -> None:
            self.name, *rest = left
            setattr(self, self.name, Named(rest) if rest else Parameter(np.arange(1.0, 4.0)[:, None, None]))
            self.norm = BatchNorm2d(3)

        def forward(self, x: Any) -> Any:
            own = getattr(self, self.name)
            x = F.relu(self.norm(own(x) if isinstance(own, Layer) else x * own))
            return x + np.arange(6, dtype=np.float32)

    return Named(names)


def test_names_of_layers_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("numpy_code", "numpy_network"):  # no line depends on how long a name is
        monkeypatch.setattr(f"gpucnn.export.{module}.COLUMNS", 10**6)

    def shape(names: Sequence[str]) -> str:
        network = numpy_network(graph_of_any_batch(named(names), np.zeros((2, 3, 6, 6), np.float32)))
        tree = ast.parse("def logits(x, w):\n" + "\n".join(network.lines))
        for part in ast.walk(tree):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                part.value = ""
        return ast.dump(tree)

    plain = [f"layer{number}" for number in range(len(HOSTILE))]
    for place, name in enumerate(HOSTILE):
        assert shape([*plain[:place], name, *plain[place + 1 :]]) == shape(plain)
    assert shape(HOSTILE) == shape(plain)
    agree(named(HOSTILE), (3, 6, 6), tmp_path)


def test_texts_are_quoted() -> None:
    alphabet = ("\\", "'", '"', "a", "\n", "\x00", "\u2028", "\ud800", "ä", "𝄞")
    texts = ["".join(letters) for size in range(4) for letters in itertools.product(alphabet, repeat=size)]
    written = "\n".join(map(quoted, texts))
    assert [ast.literal_eval(line) for line in written.split("\n")] == texts
    assert [quoted(text) for text in ('say "hi"', "it's", "\\'")] == ["'say \"hi\"'", '"it\'s"', '"\\\\\'"']
