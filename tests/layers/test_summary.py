"""`model.summary()`: the table that `gpucnn summary` prints, of a model at hand, which stays as it is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import layers, models, optim
from gpucnn.cli.main import main
from gpucnn.errors import GpucnnError
from gpucnn.kernels import ways
from tests.backends import Backend
from tests.html_page import Page


@pytest.mark.parametrize("name", ["lenet5", "mlp"])
def test_it_is_the_table_of_the_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ways.use("numpy"):
        assert main(["summary", name, "--classes", "3"]) == 0
        expected = capsys.readouterr().out
        models.create(name, 3).summary()
        assert capsys.readouterr().out == expected
    assert max(map(len, expected.splitlines())) <= 80


def test_a_model_of_one_s_own_needs_the_shape(capsys: pytest.CaptureFixture[str]) -> None:
    model = layers.Sequential({"fc": layers.Linear(4, 3), "act": layers.ReLU()})
    for shape in ((4,), [4], 4):
        model.summary(shape)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[2:5]] == ["input", "fc", "act"]
        assert lines[-3].split()[:3] == ["total", "15", "12"]
    models.LeNet5(2, 3, 32).summary()
    assert "(N, 3, 32, 32)" in capsys.readouterr().out


def test_the_model_stays_as_it_is(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    model = layers.Sequential(layers.Conv2d(1, 2, 3), layers.BatchNorm2d(2), layers.Flatten(), layers.Linear(8, 2))
    model.to(backend.device_name).requires_grad_(False).eval()
    model[3].requires_grad_(True)
    optimizer = optim.SGD(model[3].parameters(), 0.1, momentum=0.9)
    optimizer.gather()
    seen: list[Any] = []
    handle = model[0].register_forward_hook(lambda *_: seen.append(1))
    before, arrays = model.state_dict(), [parameter.data for parameter in model.parameters()]
    model.summary((1, 4, 4))
    assert "total" in capsys.readouterr().out
    assert seen == []
    assert all(one is parameter.data for one, parameter in zip(arrays, model.parameters(), strict=True))
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[path])
    assert (model.training, model[0].has_hooks, model[0].is_frozen) == (False, True, True)
    handle.remove()


def test_a_model_in_a_notebook_has_its_layers_and_shapes() -> None:
    model = models.LeNet5()
    shown = Page(model._repr_html_())
    shown.check_harmless()
    assert shown.texts[0] == "LeNet5: 61,706 parameters"
    assert shown.rows == [
        ["layer", "kind", "output shape", "parameters", "multiply-adds"],
        ["input", "", "(N, 1, 32, 32)", "", ""],
        ["conv1", "Conv2d", "(N, 6, 28, 28)", "156", "117,600"],
        ["pool1", "MaxPool2d", "(N, 6, 14, 14)", "0", "0"],
        ["conv2", "Conv2d", "(N, 16, 10, 10)", "2,416", "240,000"],
        ["pool2", "MaxPool2d", "(N, 16, 5, 5)", "0", "0"],
        ["flatten", "Flatten", "(N, 400)", "0", "0"],
        ["fc1", "Linear", "(N, 120)", "48,120", "48,000"],
        ["fc2", "Linear", "(N, 84)", "10,164", "10,080"],
        ["output", "Linear", "(N, 10)", "850", "840"],
    ]


def test_a_model_on_a_gpu_is_shown_as_on_the_cpu(gpu: Backend) -> None:
    for name in ("lenet5", "resnet20"):
        model = models.create(name)
        expected = model._repr_html_()
        assert model.to("cuda")._repr_html_() == expected is not None


def test_what_has_no_size_of_its_own_or_does_not_fit_is_shown_as_text() -> None:
    assert linear()._repr_html_() is None
    assert layers.Conv2d(1, 2, 3)._repr_html_() is None
    model = models.create("vgg_mini")
    model.classifier = layers.Linear(1, 2)
    assert model._repr_html_() is None
    assert "classifier" in repr(model)


def linear() -> layers.Layer:
    return layers.Sequential(layers.Linear(4, 3))


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: linear().summary(), "Sequential: summary needs the shape of an input, without the batch axis, e.g. summary((3, 32, 32))"),
    (lambda: linear().summary((5,)), "0 (Linear): expected input (N, 4), got (1, 5); build it with in_features=5"),
    (lambda: linear().summary("big"), "Sequential: an input's shape is a tuple (N, ...) of ints >= 0, got (1, 'big')"),  # type: ignore[arg-type]
    (lambda: models.LeNet5().summary((1, 28, 28)), "LeNet5: expected images (N, 1, 32, 32), got (1, 1, 28, 28)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_the_message(call: Callable[[], object], message: str) -> None:
    with pytest.raises(GpucnnError) as raised:
        call()
    assert str(raised.value).startswith(message)
