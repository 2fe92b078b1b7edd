"""What is typed in a first hour, and what is pasted from a PyTorch script: each works, or is answered with what to write."""

import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor, data, layers, optim, training
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, KeywordError, RunError, UnknownNameError
from gpucnn.training.metrics import History


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "from gpucnn import nn",
            "gpucnn has no nn; it is gpucnn.layers, and gpucnn.functions for torch.nn.functional",
        ),
        ("from gpucnn.layers import Module", "layers has no Module; it is Layer"),
        (
            "from gpucnn.data import DataLoader, TensorDataset",
            "data has no TensorDataset; it is ArrayDataset(images, labels)",
        ),
        ("from gpucnn.functions import cat", "functions has no cat; it is F.concatenate(tensors, axis)"),
        ("from gpucnn.models import ResNet19", "models has no ResNet19; did you mean ResNet18?"),
    ],
)
def test_an_import_says_the_word_too(line: str, message: str) -> None:
    with pytest.raises(ImportError) as raised:
        exec(line, {})
    assert str(raised.value) == message


def test_a_name_with_other_capitals_is_nearer_than_one_that_begins_so() -> None:
    with pytest.raises(UnknownNameError, match=r"functions has no Relu; did you mean relu\?"):
        _ = F.Relu


LEARNS = layers.Linear(2, 3)


@pytest.mark.parametrize(
    ("made", "given", "options", "message"),
    [
        (layers.ReLU, (), {"inplace": True}, "ReLU has no inplace; leave it out: tensors do not change in place"),
        (layers.LeakyReLU, (0.1,), {"inplace": True}, "LeakyReLU has no inplace; leave it out: tensors do not change in place"),
        (layers.ReLU, (True,), {}, "ReLU takes no arguments, got True"),
        (layers.Flatten, (), {"start": 1}, "Flatten takes no arguments, got start=1"),
        (layers.Softmax, (), {"dim": 1}, "Softmax has no dim; it is axis"),
        (
            layers.Conv2d,
            (1, 4, 3),
            {"padding_mode": "reflect"},
            "Conv2d has no padding_mode; leave it out, and pad in forward: F.pad(x, padding, mode)",
        ),
        (layers.Linear, (1, 4), {"device": "cpu"}, "Linear has no device; make the layer, and move it: layer.to(device)"),
        (optim.Adam, (LEARNS.parameters(),), {"learning_rate": 0.1}, "Adam has no learning_rate; it is lr"),
        (optim.AdamW, (LEARNS.parameters(),), {"fused": True}, "AdamW has no fused; leave it out: all parameters take a step at once"),
    ],
)  # fmt: skip
def test_an_argument_of_another_library_is_answered(
    made: Any, given: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(KeywordError) as raised:
        made(*given, **options)
    assert str(raised.value) == message


def test_help_shows_a_layers_arguments() -> None:
    assert str(inspect.signature(layers.ReLU)) == "()"
    assert list(inspect.signature(layers.Conv2d).parameters)[:3] == ["in_channels", "out_channels", "kernel_size"]
    assert list(inspect.signature(optim.SGD).parameters)[:2] == ["parameters", "lr"]


def test_a_layer_of_ones_own_may_have_such_arguments() -> None:
    class Own(layers.Layer):
        def __init__(self, dim: int, **others: Any) -> None:
            self.dim, self.others = dim, others

    assert Own(dim=3, inplace=True).others == {"inplace": True}
    assert pickle.loads(pickle.dumps(layers.ReLU())).training


@pytest.mark.parametrize("owner", [LEARNS, optim.SGD(LEARNS.parameters(), lr=0.1)], ids=["layer", "optimizer"])
def test_gradients_become_none(owner: Any) -> None:
    LEARNS(np.ones((1, 2), "float32")).sum().backward()
    with pytest.raises(
        ArgumentError, match="set_to_none=False keeps zeros for gradients, which become None here; leave it out"
    ):
        owner.zero_grad(set_to_none=False)
    assert LEARNS.weight.grad is not None
    owner.zero_grad(set_to_none=True)
    assert LEARNS.weight.grad is None


def test_tensors_do_not_change_in_place() -> None:
    x = Tensor([1.25, 2.0])
    with pytest.raises(
        KeywordError, match=r"write parameter\.assign\(values\) for what learns, x\.data\[\.\.\.\] = values, or"
    ):
        x[0] = 3
    assert (round(x[0], 1), round(x[1])) == (1.2, 2)


def test_numpys_variance_of_a_tensor_is_numpys() -> None:
    values = np.arange(6, dtype="float32")
    x = Tensor(values, requires_grad=True)
    assert np.var(x).item() == pytest.approx(values.var())
    assert np.var(x, ddof=1).item() == pytest.approx(values.var(ddof=1)) == x.var().item()
    assert np.var(x.reshape(2, 3), axis=1, correction=1).tolist() == [1, 1]


IMAGES = data.ArrayDataset(np.zeros((4, 1, 2, 2), "uint8"), np.array([0, 1, 0, 1]))


def test_a_data_set_is_no_loader() -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(4, 2))
    optimizer, loader = optim.SGD(model.parameters(), lr=0.1), data.DataLoader(IMAGES, batch_size=2)
    fix = r"expected a data\.DataLoader, got ArrayDataset.*; make one: data\.DataLoader\(dataset, batch_size=256\)"
    with pytest.raises(ArgumentError, match=f"^evaluate: {fix}"):
        training.evaluate(model, IMAGES)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=f"^Trainer: train_loader: {fix}"):
        training.Trainer(model, optimizer, IMAGES)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=f"^Trainer: test_loader: {fix}"):
        training.Trainer(model, optimizer, loader, IMAGES)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=f"^Trainer: val_loader: {fix}"):
        training.Trainer(model, optimizer, loader, val_loader=IMAGES)  # type: ignore[arg-type]


def test_a_printed_confusion_matrix_is_the_matrix() -> None:
    matrix = training.ConfusionMatrix(["cat", "dog"])
    matrix.update(np.array([0, 1, 1]), np.array([0, 0, 1]))
    assert str(matrix).splitlines() == matrix.matrix_lines()
    assert repr(matrix) == "ConfusionMatrix(2 classes, 2 of 3 images right)"


def test_a_column_of_the_history_is_a_list() -> None:
    history = History([{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0, "test_loss": 3.0}])
    assert (history["train_loss"], history["test_loss"], history[-1]["epoch"]) == ([2.0, 1.0], [3.0], 2)
    with pytest.raises(ArgumentError, match="History: no 'loss'; there is epoch, train_loss, test_loss"):
        _ = history["loss"]
    with pytest.raises(
        UnknownNameError, match=r'History has no history; it is the rows themselves: history\["train_loss"\]'
    ):
        _ = history.history
    with pytest.raises(UnknownNameError, match=r'History has no train_loss; it is history\["train_loss"\]'):
        _ = history.train_loss
    assert pickle.loads(pickle.dumps(history)) == history


def test_a_file_of_weights_is_no_run(tmp_path: Any) -> None:
    (tmp_path / "net.pth").write_bytes(b"x")
    with pytest.raises(RunError, match=r"weights go to models\.create\(name, weights='.*net\.pth'\)"):
        gpucnn.load(tmp_path / "net.pth")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunError, match="a file, not the folder of a run; give that, e.g. "):
        gpucnn.load(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (layers.Conv2d(4, 4, 3), "Conv2d(4, 4, kernel_size=3, stride=1, padding=0)"),
        (
            layers.Conv2d(4, 4, 3, dilation=2, groups=4, bias=False),
            "Conv2d(4, 4, kernel_size=3, stride=1, padding=0, dilation=2, groups=4, bias=False)",
        ),
        (layers.Conv2d(4, 4, 3, dilation=(1, 2)), "Conv2d(4, 4, kernel_size=3, stride=1, padding=0, dilation=(1, 2))"),
        (layers.Conv1d(4, 4, 3, dilation=2), "Conv1d(4, 4, kernel_size=3, stride=1, padding=0, dilation=2)"),
    ],
)
def test_a_convolution_tells_what_is_not_as_usual(layer: layers.Layer, text: str) -> None:
    assert repr(layer) == text


def test_what_is_offered_is_ours() -> None:
    assert "TYPE_CHECKING" not in dir(training)
