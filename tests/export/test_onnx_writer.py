"""A model as an ONNX file: any number of images, what is refused and how, names, and files that are whole or not there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor, export, layers, no_grad
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, GraphError, LibraryError, RunError
from gpucnn.export import onnx_graph, onnx_writer
from tests.backends import Backend, host

onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra onnx")

from onnx.reference import ReferenceEvaluator  # noqa: E402

IMAGES = np.random.default_rng(3).random((5, 2, 4, 3), np.float32)


class Forward(layers.Layer):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.token = layers.Parameter(np.arange(3.0).reshape(1, 1, 3))
        self.places = layers.Buffer(np.array([1, 0]))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def outputs(model: Any, images: Any) -> np.ndarray:
    mode = model.training
    with no_grad():
        found: np.ndarray = model.eval()(Tensor(images)).numpy()
    model.train(mode)
    return found


def run(proto: Any, images: np.ndarray) -> np.ndarray:
    found: np.ndarray = ReferenceEvaluator(proto).run(None, {"images": images})[0]
    return found


def check(model: Any, images: np.ndarray = IMAGES, opset: int = 17) -> Any:
    """The file, which gives what the model gives, for one image and for several."""
    proto = export.to_onnx(model, images[:1], opset=opset)
    for batch in (1, 4, len(images)):
        expected, found = outputs(model, images[:batch]), run(proto, images[:batch])
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    return proto


def positions_as_rows(self: Forward, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    rows = x.transpose(0, 2, 3, 1).reshape(n * h * w, c)
    return rows.reshape(n, h * w, c).transpose(0, 2, 1).reshape(n, c, h, w)


ANY_BATCH: dict[str, Callable[[Forward, Tensor], Any]] = {
    "positions as rows and back": positions_as_rows,
    "vectors by a size": lambda self, x: x.reshape(x.shape[0], -1),
    "vectors by what is left": lambda self, x: x.reshape(-1, 24),
    "images on the last axis": lambda self, x: x.reshape(x.shape[0] * 2, 12).transpose().reshape(3, 4, 2 * x.shape[0]),
    "two axes of images": lambda self, x: (x.flatten() @ x.flatten().T).reshape(x.shape[0], 1, x.shape[0]),
    "as many tokens as images": lambda self, x: F.concatenate(
        [self.token + np.zeros((x.shape[0], 1, 3), np.float32), x.reshape(-1, 8, 3)], axis=1
    ),
    "as many ones as images": lambda self, x: F.concatenate([np.ones((len(x), 2, 4, 1), np.float32), x], axis=3),
    "over the number of images": lambda self, x: x.sum(0) / x.shape[0],
    "times the number of images": lambda self, x: x * (3 * len(x)),
    "sums over images": lambda self, x: F.concatenate([x.mean(0), x.max(axis=0), x.sum(axis=0)]),
    "a variance over images": lambda self, x: x.reshape(-1, 2)[:2].var((0,)) + F.concatenate([x, x]).var((0, 2)).sum(1),
    "a variance over one image more": lambda self, x: F.concatenate([x, x[:1]]).var((0, 1)),
    "products of images with one more": lambda self, x: F.concatenate([x, x[:1]]).flatten() @ x.flatten().T[None],
    "slices of images": lambda self, x: F.concatenate([x[: len(x)], x[-len(x) :], x[:1], x[-1:], x[::-1]]),
    "a slice of rows of images": lambda self, x: F.concatenate([x, x + 1])[len(x) :],
    "the last image": lambda self, x: x[-1],
    "places of images": lambda self, x: x[[0, -1, 0]],
    "places that are a buffer": lambda self, x: x[:, self.places],
    "places that are computed": lambda self, x: x.reshape(-1, 24)[0][x.reshape(-1, 24).argmax(1)],
    "the largest, by places": lambda self, x: x.reshape(-1, 24).transpose()[x.flatten().argmax(axis=1), [0]],
    "images in two halves": lambda self, x: F.stack(F.split(F.concatenate([x, x * 2]), [len(x)]), axis=1),
    "two equal parts of images": lambda self, x: F.stack(F.split(F.concatenate([x, x * 2]), 2)),
    "parts of channels": lambda self, x: F.concatenate(F.split(x, [1, -1], axis=2)[1:], axis=2),
    "a condition on each": lambda self, x: F.where((x.reshape(-1, 24).argmax(1) - 5).astype("bool"), self.token.sum(), x[:, 0, 0, 0]),
    "borders of images": lambda self, x: F.pad(x, ((0, 0), (1, 0), (0, 0), (2, 1)), "circular"),
    "one more than there are images": lambda self, x: F.concatenate([x, x[:1]]).reshape(-1, 24) + 1,
    "borders around the images": lambda self, x: F.pad(x, ((1, 2), (0, 0), (0, 0), (0, 0)), "constant", 0.5).flatten(),
    "one image less": lambda self, x: F.concatenate([x, x, x])[1:-1].mean((0, 1)),
    "a softmax of all": lambda self, x: F.softmax(x, (0, 1, 2, 3)),
    "statistics of a batch": lambda self, x: F.batch_norm(x, None, None, training=True),
    "x itself": lambda self, x: x,
    "a shorter number": lambda self, x: x.astype("float64").astype("float32") ** 2.0,
    "whole numbers": lambda self, x: (x * 10).astype("int64") * 2 + 1,
}  # fmt: skip


@pytest.mark.parametrize("name", ANY_BATCH)
def test_a_graph_is_for_any_number_of_images(name: str) -> None:
    check(Forward(ANY_BATCH[name]))


REFUSED: dict[str, tuple[Callable[[Forward, Tensor], Any], str]] = {
    "less than the images": (
        lambda self, x: x[: len(x) - 1],
        r"^Forward: .* is 1 for two of them and 4 for five, which is not so many .*, e.g. x\[-1\], .* \(found at index of getitem\)$",
    ),
    "half of the images": (lambda self, x: x[: len(x) // 2], "is 1 for two of them and 2 for five, which is not so many times"),
    "the square of the images": (
        lambda self, x: (x.flatten() @ x.flatten().T).reshape(len(x) ** 2),
        "is 4 for two of them and 25 for five",
    ),
    "a share of each image": (lambda self, x: x.sum(0) * (1 / len(x)), r"a graph cannot follow .* \(found at b of multiply\)"),
    "a loop over images": (lambda self, x: F.stack([x[i] for i in range(len(x))]), "which functions it calls depends on"),
    "the same number of images": (
        lambda self, x: x.reshape(2, 24),
        r"^Forward: .*, and this takes 2 but not 5 of them \(reshape: .*\); take sizes from x.shape, or let one be -1$",
    ),
    "numbers of NumPy's for each": (
        lambda self, x: x + np.arange(len(x), dtype=np.float32)[:, None, None, None],
        "an array made with NumPy has other numbers for each of them; make it of one element along that axis",
    ),
    "a size of the images": (
        lambda self, x: F.adaptive_avg_pool2d(x, len(x)),
        r"^the model: adaptive_avg_pool2d: ONNX has no form for a size that depends on the number of images; take one",
    ),
    "images as columns": (
        lambda self, x: F.avg_pool2d(x.transpose(1, 2, 3, 0), 1),
        "^the model: avg_pool2d: ONNX has no form for images whose size depends on their number; keep the number of images",
    ),
    "chance": (lambda self, x: F.dropout(x, 0.5), "dropout: ONNX has no form for what is drawn anew at each call; call it with"),
    "a loss": (lambda self, x: F.mse_loss(x, x * 2), "^the model: mse_loss is not written as ONNX: it is a loss, which an"),
    "places of maxima": (
        lambda self, x: F.max_unpool2d(x, np.arange(24).reshape(1, 2, 4, 3) % 12 + np.zeros((len(x), 1, 1, 1), int), 1),
        "max_unpool2d is not written as ONNX: it takes the places of maxima, and no node gives these; use F.interpolate",
    ),
    "a computed mask": (
        lambda self, x: self.token[(x.reshape(-1)[:1] * 0 + 1).astype("bool")],
        r"getitem: ONNX has no form for a mask that the model computes, as its values tell the shape; use F\.where",
    ),
    "nothing": (lambda self, x: x[:, :0], r"getitem gives an array without elements, of shape \(2, 0, 4, 3\); leave it out"),
    "sums of truth values": (
        lambda self, x: x.astype("bool").sum(1),
        r"sum: ONNX has no form for truth values; convert them first: x.astype\('int64'\)",
    ),
    "two heads": (lambda self, x: (x, x), "^Forward: a graph is that of one output, a tensor; got"),
    "NumPy": (lambda self, x: Tensor(np.tanh(x.numpy())), "^Forward: a graph cannot follow what it gives, as not all of it"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_by_layer_function_and_fix(name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(GraphError, match=message):
        export.to_onnx(Forward(function), IMAGES)


def test_a_message_names_the_layer_within_a_model() -> None:
    model = layers.Sequential(layers.Conv2d(2, 2, 1), Forward(lambda self, x: F.mse_loss(x, x + 1)))
    with pytest.raises(GraphError, match=r"^1: mse_loss is not written as ONNX"):
        export.to_onnx(model, IMAGES)


@pytest.mark.parametrize("example", [np.zeros((0, 2, 4, 3), np.float32), np.float32(1)])
def test_an_example_has_images(example: Any) -> None:
    with pytest.raises(GraphError, match=r"Conv2d: a graph needs an example, images \(N, C, H, W\), got \("):
        export.to_onnx(layers.Conv2d(2, 2, 1), example)


class Shared(layers.Layer):
    """A layer called twice, a parameter in two places, one used twice, one not at all, and hooks that change what is given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layers.Conv2d(2, 2, 3, padding=1)
        self.other = layers.Conv2d(2, 2, 3, padding=1, bias=False)
        self.other.weight = self.conv.weight
        self.norm = layers.BatchNorm2d(2)
        self.scale = layers.Parameter([[[2.0]], [[3.0]]])
        self.unused = layers.Parameter([1.0])
        self.norm.register_forward_hook(lambda layer, inputs, output: output + 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.other(self.conv(self.conv(x)))) * self.scale
        return F.dropout(x + self.scale, 0.5, self.training)


def test_a_model_stays_as_it_was_on_every_backend(backend: Backend) -> None:
    model = Shared().to(backend.device_name)
    images = backend.array(IMAGES)
    (model(images) ** 2).sum().backward()
    model.conv.eval()
    state = {path: array.copy() for path, array in model.state_dict().items()}
    gradients = [host(one.grad).copy() for one in model.parameters() if one.grad is not None]
    proto = export.to_onnx(model, images)
    assert (model.training, model.conv.training, model.norm.training) == (True, False, True)
    assert all(np.array_equal(one, state[path]) for path, one in model.state_dict().items())
    left = [host(one.grad) for one in model.parameters() if one.grad is not None]
    assert all(np.array_equal(a, b) for a, b in zip(gradients, left, strict=True))
    np.testing.assert_allclose(run(proto, IMAGES), host(outputs(model, images)), rtol=1e-5, atol=1e-6)


def test_names_are_those_of_the_model() -> None:
    proto = check(Shared())
    assert [node.name for node in proto.graph.node] == [
        "conv/Conv", "conv/Conv_1", "other/Conv", "norm/BatchNormalization", "norm/Add", "Mul", "Add", "Identity",
    ]  # fmt: skip
    assert [one.name for one in proto.graph.initializer][:3] == ["conv.weight", "conv.bias", "norm.weight"]
    assert not any("unused" in one.name for one in proto.graph.initializer)
    (images,), (logits,) = proto.graph.input, proto.graph.output
    assert (images.name, logits.name) == ("images", "logits")
    for value in (images, logits):
        assert [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] == ["N", 2, 4, 3]
    assert (proto.producer_name, proto.producer_version) == ("gpucnn", gpucnn.__version__)
    assert (proto.ir_version, proto.opset_import[0].version) == (8, 17)


def test_a_parameter_may_have_the_name_of_the_images() -> None:
    class Named(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.images = layers.Parameter(np.arange(24.0))
            self.logits = layers.Parameter([[2.0] * 4] * 24)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x.flatten() * self.images + self.images, self.logits.transpose())

    assert [one.name for one in check(Named()).graph.initializer] == ["images_1", "logits_1"]


def test_vectors_and_rows_of_any_size() -> None:
    model = layers.Sequential(layers.Linear(24, 5), layers.ReLU(), layers.Linear(5, 3, bias=False))
    vectors = IMAGES.reshape(5, 24)
    assert [node.op_type for node in check(model, vectors).graph.node] == ["Gemm", "Relu", "Gemm", "Identity"]


def test_a_model_that_computes_nothing() -> None:
    check(layers.Identity())
    check(layers.Sequential(layers.Dropout(0.3)))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_model_of_another_dtype(dtype: str) -> None:
    model = Shared().astype(dtype)
    images = IMAGES.astype(dtype)
    proto = export.to_onnx(model, images)
    found, expected = run(proto, images), outputs(model, images)
    assert found.dtype == expected.dtype == np.dtype(dtype)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=1e-13 if dtype == "float64" else 1e-2)


def test_plain_images_take_the_dtype_of_the_model() -> None:
    (images,) = export.to_onnx(layers.Conv2d(2, 2, 1), IMAGES.astype(np.float64)).graph.input
    assert images.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("opset", [12, 10**6, 17.0, True, None, "17"])
def test_an_opset_that_there_is_not(opset: Any) -> None:
    with pytest.raises(
        ArgumentError, match=r"opset must be from 13 to \d\d, the newest that the installed onnx knows, got "
    ):
        export.to_onnx(layers.Identity(), IMAGES, opset=opset)


def test_without_onnx_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(LibraryError, match=r'an ONNX file needs onnx \(.*\); pip install "gpucnn\[onnx\]"'):
        export.to_onnx(layers.Identity(), IMAGES)


def loaded(path: Path) -> Any:
    onnx.checker.check_model(str(path), full_check=True)
    return onnx.load(path)


def test_a_file_of_one_part(tmp_path: Path) -> None:
    model, path = Shared(), tmp_path / "model.onnx"
    assert export.save_onnx(export.to_onnx(model, IMAGES), path) == [path]
    np.testing.assert_allclose(run(loaded(path), IMAGES), outputs(model, IMAGES), rtol=1e-5, atol=1e-6)


def test_a_file_that_is_too_large_for_one_has_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "LARGEST_MESSAGE", 100)
    monkeypatch.setattr(onnx_writer, "SMALL", 7)
    path, model = tmp_path / "m.onnx", Shared()
    proto = export.to_onnx(model, IMAGES)
    before = proto.SerializeToString()
    first, data = export.save_onnx(proto, str(path))
    assert proto.SerializeToString() == before
    assert first == path
    assert data.name.startswith("m.onnx.")
    assert sorted(tmp_path.iterdir()) == sorted([path, data])
    sizes = [len(one.raw_data) for one in proto.graph.initializer]
    assert data.stat().st_size == sum(size for size in sizes if size > 7) > 100
    left = [len(one.raw_data) for one in onnx.load(path, load_external_data=False).graph.initializer]
    assert left == [size if size <= 7 else 0 for size in sizes]
    np.testing.assert_allclose(run(loaded(path), IMAGES), outputs(model, IMAGES), rtol=1e-5, atol=1e-6)
    # Other weights have another second file; the one before goes, and what only seems to be one stays.
    kept = tmp_path / "m.onnx.notes.data"
    kept.write_bytes(b"mine")
    model.scale.assign([[[5.0]], [[7.0]]])
    _, other = export.save_onnx(export.to_onnx(model, IMAGES), path)
    assert sorted(tmp_path.iterdir()) == sorted([path, other, kept])
    assert other != data
    np.testing.assert_allclose(run(loaded(path), IMAGES), outputs(model, IMAGES), rtol=1e-5, atol=1e-6)
    monkeypatch.undo()
    assert export.save_onnx(export.to_onnx(model, IMAGES), path) == [path]
    assert sorted(tmp_path.iterdir()) == sorted([path, kept])


def test_an_export_that_fails_leaves_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "LARGEST_MESSAGE", 100)
    monkeypatch.setattr(onnx_writer, "SMALL", 7)
    path, model = tmp_path / "m.onnx", Shared()
    export.save_onnx(export.to_onnx(model, IMAGES), path)
    expected = outputs(model, IMAGES)
    model.scale.assign([[[5.0]], [[7.0]]])
    written = onnx_writer.write_atomically

    def full(place: Path, content: Any) -> None:
        if place == path:
            raise OSError(28, os.strerror(28), str(place))
        written(place, content)

    monkeypatch.setattr(onnx_writer, "write_atomically", full)
    with pytest.raises(
        RunError, match=r"m\.onnx: cannot be written \(No space left on device\); make room on the disk"
    ):
        export.save_onnx(export.to_onnx(model, IMAGES), path)
    np.testing.assert_allclose(run(loaded(path), IMAGES), expected, rtol=1e-5, atol=1e-6)


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    proto = export.to_onnx(layers.Identity(), IMAGES)
    with pytest.raises(RunError, match=r"cannot be written \(a folder\); give the name of a file"):
        export.save_onnx(proto, tmp_path)
    with pytest.raises(RunError, match=r"cannot be written \(no folder .*\); make it first"):
        export.save_onnx(proto, tmp_path / "none" / "m.onnx")
