"""What a script for PyTorch finds in a layer: walks, moves, members by name; and the word for what has another name here."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor, layers, models
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, GpucnnError, UnknownNameError
from gpucnn.layers import torch_names
from tests.backends import Backend, host


class Shared(layers.Layer):
    """One layer under two names, and one within."""

    def __init__(self) -> None:
        self.first = layers.Linear(2, 2)
        self.again = self.first
        self.block = layers.Sequential(layers.Linear(2, 2), self.first, layers.BatchNorm1d(2))

    def forward(self, x: Any) -> Tensor:
        return self.block(self.again(self.first(x)))


def test_walks_over_the_tree_see_a_shared_layer_once() -> None:
    model = Shared()
    assert [name for name, _ in model.named_children()] == ["first", "block"]
    assert list(model.children()) == [model.first, model.block]
    assert [name for name, _ in model.named_modules()] == ["", "first", "block", "block.0", "block.2"]
    assert list(model.modules()) == [model, model.first, model.block, model.block[0], model.block[2]]
    assert [buffer.path for buffer in model.buffers()] == ["block.2.running_mean", "block.2.running_var"]
    assert len(list(model.named_layers())) == 7, "our own walk has every place"


def test_apply_goes_from_the_innermost_outwards() -> None:
    model, seen = Shared(), []
    assert model.apply(lambda layer: seen.append(layer)) is model
    assert seen == [model.first, model.block[0], model.first, model.block[2], model.block, model]

    def start(layer: layers.Layer) -> None:
        if isinstance(layer, layers.Linear):
            layer.weight.assign(np.full(layer.weight.shape, 0.25))

    model.apply(start)
    assert (model.block[0].weight.data == 0.25).all()  # type: ignore[attr-defined]


def test_gradients_are_forgotten() -> None:
    model = Shared()
    model(np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_moves_and_dtypes(backend: Backend) -> None:
    model = Shared().to(backend.device_name)
    weight = host(model.first.weight.data)
    assert model.double() is model
    assert {parameter.dtype for parameter in model.parameters()} == {np.dtype("float64")}
    np.testing.assert_array_equal(host(model.float().first.weight.data), weight)
    assert {str(buffer.dtype) for buffer in model.buffers()} == {"float32"}
    assert model.cpu() is model
    assert {str(parameter.device) for parameter in model.parameters()} == {"cpu"}
    if backend.device_name != "cpu":
        assert (
            str(next(model.cuda().parameters()).device)
            == str(next(model.cpu().cuda(0).parameters()).device)
            == "cuda:0"
        )
    assert not model.train(False).training
    assert model.train().training


class Bare(layers.Layer):
    """Gets its members by name."""

    def __init__(self) -> None:
        self.register_buffer("counts", np.arange(3))
        self.register_parameter("scale", layers.Parameter(np.ones(2)))
        self.register_parameter("shift", None)
        self.add_module("fc", layers.Linear(2, 2))

    def forward(self, x: Any) -> Tensor:
        return self.fc(x) * self.scale


def test_members_by_name() -> None:
    model = Bare()
    assert {path: array.dtype.kind for path, array in model.state_dict().items()} == {
        "counts": "i", "scale": "f", "fc.weight": "f", "fc.bias": "f",
    }  # fmt: skip
    assert (model.shift, model.scale.path, model.fc.label) == (None, "scale", "fc (Linear)")
    assert [parameter.path for parameter in model.parameters()] == ["scale", "fc.weight", "fc.bias"]
    model.load_state_dict({**model.state_dict(), "counts": np.array([5, 6, 7])})
    assert model.counts.numpy().tolist() == [5, 6, 7]
    model.register_parameter("scale", layers.Parameter([2.0, 3.0]))
    assert model.scale.numpy().tolist() == [2, 3]
    outer = layers.Sequential(models.LeNet5(), model)
    assert outer.get_submodule("1.fc") is model.fc
    assert outer.get_submodule("") is outer


def test_a_parameter_from_values() -> None:
    values = np.array([1.5, -2.0])
    parameter = layers.Parameter(values)
    assert (parameter.dtype, parameter.shape, parameter.requires_grad) == (np.float32, (2,), True)
    values[:] = 0
    assert parameter.numpy().tolist() == [1.5, -2], "the values are copied"
    for given in ([1.5, -2], Tensor(np.array([1.5, -2])), np.array([1.5, -2], np.float16)):
        np.testing.assert_array_equal(layers.Parameter(given).data, np.array([1.5, -2], np.float32))
    assert layers.Parameter(0.5).shape == ()
    assert layers.Parameter(values, dtype="float64").dtype == np.float64
    assert not layers.Parameter(values, requires_grad=False).requires_grad
    assert (layers.Buffer(np.arange(3)).dtype, layers.Buffer(np.array([True])).dtype) == (np.int64, np.bool_)
    assert (layers.Buffer(values).dtype, layers.Buffer(np.arange(3), dtype="float32").dtype) == (np.float32, np.float32)
    (layers.Parameter([3.0]) * 2).sum().backward()


def test_a_parameter_from_values_lives_where_they_are(backend: Backend) -> None:
    parameter = layers.Parameter(backend.array(np.ones(3)))
    assert str(parameter.device) == str(Tensor(backend.array(np.ones(1))).device)
    parameter.grad = None
    F.sum(parameter * 2).backward()
    np.testing.assert_array_equal(host(parameter.grad), [2, 2, 2])


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: layers.Parameter((3, 4)), "Parameter: (3, 4) is a shape, which needs an initializer, e.g. layers.Parameter((3, 4), layers.initializer('he_normal')); give values as an array, e.g. np.zeros((3, 4))"),
    (lambda: layers.Parameter(3), "Parameter: 3 is a shape, which needs an initializer"),
    (lambda: layers.Parameter("abc"), "Parameter: expected numbers, got str"),
    (lambda: layers.Parameter(np.ones(1), dtype="int32"), "Parameter: dtype must be a float, got int32"),
    (lambda: layers.Parameter(np.ones(1), requires_grad=2), "Parameter: requires_grad must be True or False, got 2"),
    (lambda: Bare().add_module("a.b", layers.ReLU()), "Bare: a name is a text without dots, got 'a.b'"),
    (lambda: Bare().add_module("forward", layers.ReLU()), "Bare: self.forward is something else already; choose another name"),
    (lambda: Bare().add_module("act", F.relu), "Bare: self.act must be a layer, got <function relu"),
    (lambda: Bare().register_parameter("w", np.ones(2)), "Bare: self.w must be a layers.Parameter or None, got an array (2,) of float64"),
    (lambda: Bare().register_parameter("w", layers.Buffer(np.ones(2))), "Bare: self.w must be a layers.Parameter or None, got an array (2,)"),
    (lambda: Bare().register_buffer("path", np.ones(2)), "Bare: self.path is something else already; choose another name"),
    (lambda: Bare().register_buffer("b", "text"), "Buffer: expected numbers, got str"),
    (lambda: Bare().cuda("one"), "Bare: a GPU's number is an int, got 'one'"),
    (lambda: Bare().train("yes"), "Bare: mode must be True or False, got 'yes'"),
    (lambda: models.LeNet5().get_submodule("conv9"), "LeNet5 has no conv9; did you mean conv2?"),
    (lambda: layers.Sequential(Bare()).get_submodule("0.fd"), "Sequential has no 0.fd; did you mean 0.fc?"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message[:50] for _, message in WRONG])
def test_the_message(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(GpucnnError) as raised:
        call()
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("owner", "name", "message"),
    [
        (models.LeNet5(), "half", 'LeNet5 has no half; it is astype("float16")'),
        (models.LeNet5(), "conv", "LeNet5 has no conv; did you mean conv1?"),
        (models.LeNet5(), "named_module", "LeNet5 has no named_module; did you mean named_modules?"),
        (models.LeNet5(), "_secret", "LeNet5 has no _secret"),
        (models.LeNet5().conv1, "wieght", "conv1 (Conv2d) has no wieght; did you mean weight?"),
        (layers, "ModuleList", "layers has no ModuleList; it is LayerList"),
        (layers, "Conv2D", "layers has no Conv2D; did you mean Conv2d?"),
        (layers, "LSTM", "layers has no LSTM; it is not here: gpucnn has the layers of convolutional networks"),
        (layers, "zzz", "layers has no zzz"),
    ],
)
def test_a_name_from_elsewhere_is_answered_with_the_word(owner: Any, name: str, message: str) -> None:
    assert not hasattr(owner, name)
    assert getattr(owner, name, None) is None
    with pytest.raises(UnknownNameError) as raised:
        getattr(owner, name)
    assert str(raised.value) == message


@pytest.mark.parametrize("table", [torch_names.ELSEWHERE, layers._ELSEWHERE])
def test_the_words_are_there(table: dict[str, str]) -> None:
    for name, word in table.items():
        assert not hasattr(layers.Layer if table is torch_names.ELSEWHERE else layers, name), name
        for module, member in re.findall(r"\b(functions|training|optim|files)\.(\w+)", word):
            package = getattr(gpucnn, module) if module != "files" else __import__("gpucnn.files.model_file").files
            assert hasattr(package, member), (name, word)
        for member in re.findall(r"\b([A-Z]\w+)\b", word) if table is layers._ELSEWHERE else ():
            assert hasattr(layers, member) or member in ("GPU",), (name, word)
        for member in re.findall(r"^(\w+)\(", word) if table is torch_names.ELSEWHERE else ():
            assert member == "next" or member == "dict" or hasattr(layers.Layer, member), (name, word)


def test_a_property_that_fails_is_told_by_its_own_error() -> None:
    class Failing(layers.Layer):
        @property
        def size(self) -> int:
            return self.sizes  # type: ignore[attr-defined, no-any-return]

    with pytest.raises(UnknownNameError, match=r"^Failing has no sizes; did you mean size\?$"):
        Failing().size  # noqa: B018


def test_a_plain_list_of_buffers_is_refused() -> None:
    with pytest.raises(
        ArgumentError, match="^Bare: parameters in a plain list would not be trained; use self.kept = layers.Par"
    ):
        Bare().kept = [layers.Buffer(np.ones(1))]
