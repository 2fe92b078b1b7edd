"""What a loaded file is as a layer: where its weights stand, what learns, how it is called, copied, moved and shown."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import gpucnn
from gpucnn import Tensor, functions, layers
from gpucnn.backend import to_host
from gpucnn.export import to_onnx
from gpucnn.layers.graph import model_graph
from tests.backends import Backend
from tests.onnx_model.small_files import file_of, node, numbers, small_files


def loaded(folder: Path, model: onnx.ModelProto) -> Any:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return gpucnn.load_onnx(folder / "model.onnx")


def named(operator: str, inputs: str, output: str, name: str, **attributes: Any) -> onnx.NodeProto:
    made = node(operator, inputs, output, **attributes)
    made.name = name
    return made


def pytorch_like() -> onnx.ModelProto:
    """Nodes and weights as PyTorch calls them, where it names them, and where it folds or turns them."""
    nodes = [
        named("Conv", "images stem.weight onnx::Conv_41", "a", "/stem/Conv"),
        named("Conv", "a onnx::Conv_42 onnx::Conv_43", "b", "/layer1/layer1.0/conv1/Conv"),
        named(
            "BatchNormalization", "b bn.weight bn.bias bn.running_mean bn.running_var", "c", "/bn/BatchNormalization"
        ),
        named("Mul", "c gamma", "d", "/Mul"),
        named("GlobalAveragePool", "d", "e", "/pool/GlobalAveragePool"),
        named("Flatten", "e", "f", "/Flatten"),
        named("MatMul", "f onnx::MatMul_50", "g", "/head/fc/MatMul"),
        named("Add", "head.fc.bias g", "h", "/head/fc/Add"),
        named("Mul", "h half", "logits", "/Mul_1"),
    ]
    weights = {
        "stem.weight": numbers(2, 1, 1, 1), "onnx::Conv_41": numbers(2), "onnx::Conv_42": numbers(2, 2, 1, 1),
        "onnx::Conv_43": numbers(2), "bn.weight": numbers(2), "bn.bias": numbers(2), "bn.running_mean": numbers(2),
        "bn.running_var": numbers(2) ** 2, "gamma": numbers(2, 1, 1), "onnx::MatMul_50": numbers(2, 3), "head.fc.bias": numbers(3),
        "half": np.float32(0.5),
    }  # fmt: skip
    return file_of(nodes, ["N", 1, 3, 3], weights)


def test_weights_have_the_paths_that_pytorch_calls_them_by(tmp_path: Path) -> None:
    model = loaded(tmp_path, pytorch_like())
    assert [path for path, _ in model.named_parameters()] == [
        "stem.weight", "stem.bias", "layer1.0.conv1.weight", "layer1.0.conv1.bias", "bn.weight", "bn.bias", "head.fc.weight",
        "head.fc.bias", "gamma",
    ]  # fmt: skip
    assert [path for path, _ in model.named_buffers()] == ["bn.running_mean", "bn.running_var"]
    kinds = {path: type(layer).__name__ for path, layer in model.named_layers()}
    assert kinds == {
        "": "OnnxModel", "stem": "Conv", "layer1": "Part", "layer1.0": "Part", "layer1.0.conv1": "Conv", "bn": "BatchNormalization",
        "head": "Part", "head.fc": "MatMul",
    }  # fmt: skip
    assert all(parameter.path == path for path, parameter in model.named_parameters())


def test_names_that_no_attribute_can_have(tmp_path: Path) -> None:
    """Those of a layer's own methods, of one another, and of hundreds of parts."""
    deep = ".".join(["a"] * 500)
    nodes = [
        node("Conv", "images forward.weight seed", "a"),
        node("Conv", f"a {deep} forward", "b"),
        node("Conv", "b a/b:0 _hooks", "c"),
        node("Conv", "c training.path path", "logits"),
    ]
    names = ["forward.weight", deep, "a/b:0", "training.path"]
    biases = ["seed", "forward", "_hooks", "path"]
    weights = {name: numbers(1, 1, 1, 1) for name in names} | {name: numbers(1) for name in biases}
    model = loaded(tmp_path, file_of(nodes, [1, 1, 2, 2], weights, axes=4))
    paths = [path for path, _ in model.named_parameters()]
    assert len(set(paths)) == len(paths) == 8
    assert model.parameter_count() == 8
    model.load_state_dict({path: np.zeros_like(array) for path, array in model.state_dict().items()})
    assert not model(numbers(1, 1, 2, 2)).array.any()


def test_a_layer_with_others_inside_is_none_of_a_single_node(tmp_path: Path) -> None:
    nodes = [node("PRelu", "images block.slope", "a"), node("Conv", "a block.conv.weight", "logits")]
    weights = {"block.slope": numbers(1), "block.conv.weight": numbers(1, 1, 1, 1)}
    model = loaded(tmp_path, file_of(nodes, [1, 1, 2, 2], weights, axes=4))
    kinds = {path: type(layer).__name__ for path, layer in model.named_layers()}
    assert kinds == {"": "OnnxModel", "block": "Part", "block.conv": "Conv"}
    assert sorted(model.state_dict()) == ["block.conv.weight", "block.slope"]


def test_a_shared_weight_is_one_parameter(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "images part.w", "a"),
        node("MatMul", "a part.w", "b"),
        node("Identity", "part.w", "own.w"),
        node("MatMul", "b own.w", "logits"),
    ]
    model = loaded(tmp_path, file_of(nodes, [1, 2], {"part.w": numbers(2, 2)}))
    assert [path for path, _ in model.named_parameters()] == ["part.w", "own.w"]
    model(numbers(1, 2)).sum().backward()
    first, x, w = dict(model.named_parameters())["part.w"], numbers(1, 2).astype(float), numbers(2, 2).astype(float)
    ones = np.ones((1, 2))
    expected = x.T @ (ones @ (w @ w).T) + (x @ w).T @ (ones @ w.T)
    np.testing.assert_allclose(first.grad, expected, rtol=1e-5)


def test_what_learns_and_what_does_not(tmp_path: Path) -> None:
    """Preparing the images is no weight, nor a single number, nor limits, nor what an exporter put where there is no weight."""
    nodes = [
        node("Sub", "images mean", "a"),
        node("Mul", "a scale", "b"),
        node("Conv", "b w", "c"),
        node("InstanceNormalization", "c ones zeros", "d"),
        node("Mul", "d gamma", "e"),
        node("Clip", "e low high", "f"),
        node("Div", "f two", "g"),
        node("Transpose", "turned", "head", perm=[1, 0]),
        node("ReduceMean", "g", "h", axes=[2, 3], keepdims=0),
        node("MatMul", "h head", "i"),
        node("Add", "i half", "logits"),
        helper.make_node("Constant", [], ["ones"], value=numpy_helper.from_array(np.ones(3, np.float32))),
        helper.make_node("Constant", [], ["zeros"], value=numpy_helper.from_array(np.zeros(3, np.float32))),
    ]
    arrays = {
        "mean": numbers(1, 2, 1, 1), "scale": numbers(1, 2, 1, 1), "w": numbers(3, 2, 1, 1), "gamma": numbers(3, 1, 1),
        "low": np.float32(-1), "high": np.float32(1), "two": np.array([2], np.float32), "turned": numbers(4, 3), "half": np.float32(0.5),
    }  # fmt: skip
    model = loaded(tmp_path, file_of(nodes, ["N", 2, 4, 4], arrays))
    assert sorted(path.rpartition(".")[2] for path, _ in model.named_parameters()) == ["gamma", "turned", "w"]
    own = loaded(tmp_path, small_files()["constants"])
    assert [parameter.shape for parameter in own.parameters()] == [(2, 3)]


def test_batch_norm_learns_in_training_alone(tmp_path: Path) -> None:
    model = loaded(tmp_path, small_files()["convolutions"])
    x = numbers(4, 1, 6, 6)
    before, calm = model.state_dict(), model(x).array
    assert not model.training
    model.train()(x)
    after = model.state_dict()
    convolved = functions.conv2d(x, before["w" if "w" in before else "Conv_0.w"], numbers(4), 2, 1).array
    moved = 0.9 * before["BatchNormalization_1.mean"] + 0.1 * convolved.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(after["BatchNormalization_1.mean"], moved, rtol=1e-5)
    moved = 0.9 * before["BatchNormalization_1.var"] + 0.1 * convolved.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(after["BatchNormalization_1.var"], moved, rtol=1e-5)
    model.load_state_dict(before)
    np.testing.assert_array_equal(model.eval()(x).array, calm)


def test_a_frozen_batch_norm_stays_as_it_is(tmp_path: Path) -> None:
    model = loaded(tmp_path, small_files()["convolutions"]).train()
    dict(model.named_layers())["BatchNormalization_1"].requires_grad_(False)
    before = model.state_dict()
    model(numbers(4, 1, 6, 6))
    np.testing.assert_array_equal(model.state_dict()["BatchNormalization_1.mean"], before["BatchNormalization_1.mean"])


@pytest.mark.parametrize("opset", [6, 11, 13])
def test_dropout_is_a_layer(opset: int, tmp_path: Path) -> None:
    ratio, more = ({}, " ratio") if opset >= 12 else ({"ratio": 0.25}, "")
    nodes = [named("Dropout", f"images{more}", "logits", "/head/drop/Dropout", **ratio)]
    model = loaded(tmp_path, file_of(nodes, ["N", 100], {"ratio": np.float32(0.25)} if more else None, opset))
    x = numbers(20, 100)
    np.testing.assert_array_equal(model(x).array, x)
    dropped = model.train()(x).array
    assert 0.2 < (dropped == 0).mean() < 0.3
    np.testing.assert_allclose(dropped[dropped != 0], (x / 0.75)[dropped != 0], rtol=1e-6)
    assert [path for path, layer in model.named_layers() if isinstance(layer, layers.Dropout)] == ["head.drop"]


def test_any_number_of_images_goes_through_what_exporters_compute_of_shapes(tmp_path: Path) -> None:
    model = loaded(tmp_path, small_files()["shapes"])
    images = numbers(5, 1, 6, 6)
    together = model(images).array
    for image, row in zip(images, together, strict=True):
        np.testing.assert_allclose(model(image[None]).array, row[None], rtol=1e-6)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    nodes = [node("MatMul", "images w", "a"), node("Mul", "a factors", "b"), node("Softmax", "b", "c")]
    model = file_of(nodes, ["N", 2], {"w": numbers(2, 3)})
    del model.graph.output[:]
    model.graph.input.append(helper.make_tensor_value_info("factors", TensorProto.FLOAT, ["N", 3]))
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("b", "c"))
    x, factors = numbers(4, 2), numbers(4, 3)
    found = loaded(tmp_path, model)(x, factors)
    assert isinstance(found, tuple)
    np.testing.assert_allclose(found[0].array, x @ numbers(2, 3) * factors, rtol=1e-5)
    np.testing.assert_allclose(found[1].array.sum(axis=1), 1, rtol=1e-6)
    with pytest.raises(gpucnn.errors.ShapeError, match="expected the input factors"):
        loaded(tmp_path, model)(x, factors[:3])  # N of both is one
    model.graph.node[1].output[0] = model.graph.node[2].input[0] = model.graph.output[0].name = "logits"
    logits = loaded(tmp_path, model)(x, factors)  # what training takes
    np.testing.assert_array_equal(logits.array, found[0].array)
    assert [one.shape for one in loaded(tmp_path, model).outputs(Tensor(x), Tensor(factors))] == [(4, 3), (4, 3)]


def test_metadata(tmp_path: Path) -> None:
    file = small_files()["convolutions"]
    assert loaded(tmp_path, file).class_names is None
    helper.set_model_props(file, {"class_names": json.dumps(["cat", "dog", "öl"]), "run": "runs/1"})
    model = loaded(tmp_path, file)
    assert (model.class_names, model.metadata["run"], model.opset) == (["cat", "dog", "öl"], "runs/1", 17)
    assert model.input_shape == (1, 6, 6)
    assert loaded(tmp_path, small_files()["bytes"]).input_shape is None
    for text in ("[1, 2]", "{}", "[", "[" * 100_000):
        helper.set_model_props(file, {"class_names": text})
        assert loaded(tmp_path, file).class_names is None


@pytest.mark.parametrize("name", small_files())
def test_copies_are_of_their_own(name: str, tmp_path: Path) -> None:
    """deepcopy and pickle, and float64, in which nothing of the file stays behind."""
    file = small_files()[name]
    if name == "arrays beside":
        pytest.skip("as convolutions")
    model = loaded(tmp_path, file)
    shape = [2 if isinstance(size, str) else size for size in model._inputs[0].shape]
    images = np.abs(numbers(*shape) * 900).astype(np.uint8) if name == "bytes" else numbers(*shape)
    expected = model(images).array
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copied(images).array, expected)
        for parameter in copied.parameters():
            parameter.assign(np.zeros(parameter.shape, np.float32))
        np.testing.assert_array_equal(model(images).array, expected)
    wide = model.astype("float64")(Tensor(images) if name == "bytes" else Tensor(images.astype(np.float64)))
    assert wide.dtype == (np.float32 if name == "bytes" else np.float64)  # without weights it is as its images are
    np.testing.assert_allclose(wide.array, expected, rtol=1e-5, atol=1e-6)


def test_it_is_drawn_summarised_and_exported_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = loaded(tmp_path, pytorch_like())
    model.summary((1, 3, 3))
    table = capsys.readouterr().out
    assert "stem" in table
    assert " Conv " in table
    assert f"{model.parameter_count():,}" in table
    assert "layer1.0.conv1" in str(model.diagram())
    assert [one.function for one in model_graph(model, numbers(2, 1, 3, 3)).nodes][:3] == [
        "conv2d",
        "conv2d",
        "batch_norm",
    ]
    again = loaded(tmp_path, to_onnx(model, numbers(2, 1, 3, 3)))
    assert set(again.state_dict()) == set(model.state_dict())
    np.testing.assert_allclose(again(numbers(5, 1, 3, 3)).array, model(numbers(5, 1, 3, 3)).array, rtol=1e-5)
    shapes = loaded(tmp_path, small_files()["shapes"])
    again = loaded(tmp_path, to_onnx(shapes, numbers(2, 1, 6, 6)))  # what it computes of shapes fits any batch again
    np.testing.assert_allclose(again(numbers(5, 1, 6, 6)).array, shapes(numbers(5, 1, 6, 6)).array, rtol=1e-5)


def test_multiply_adds(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "images a.w", "b", group=2), node("ConvTranspose", "b c.w", "d"), node("Flatten", "d", "e"), node("Gemm", "e f.w", "logits", transB=1)
    ]  # fmt: skip
    weights = {"a.w": numbers(4, 1, 2, 2), "c.w": numbers(4, 3, 2, 2), "f.w": numbers(5, 27)}
    model = loaded(tmp_path, file_of(nodes, ["N", 2, 3, 3], weights))
    # 4 filters of 1x2x2 at 2x2 places, 2x2 pixels of 4 channels each times 3x2x2, and 27 numbers times 5.
    assert model.multiply_adds((1, 2, 3, 3)) == 4 * 4 * 4 + 16 * 12 + 27 * 5


def test_bytes_are_taken_as_they_are(tmp_path: Path) -> None:
    model = loaded(tmp_path, small_files()["bytes"])
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    np.testing.assert_array_equal(model(images).array, model(Tensor(images)).array)
    np.testing.assert_array_equal(model(images).array, model(images.astype(np.int64)).array)
    with pytest.raises(gpucnn.errors.DTypeError, match="expected the input images of uint8, got int64"):
        model(images.astype(np.int64) + 200)


@pytest.mark.parametrize("name", small_files())
def test_a_gpu_computes_and_learns_the_same(name: str, gpu: Backend, tmp_path: Path) -> None:
    if name == "arrays beside":
        pytest.skip("as convolutions")
    model = loaded(tmp_path, small_files()[name])
    shape = [2 if isinstance(size, str) else size for size in model._inputs[0].shape]
    images = np.abs(numbers(*shape) * 900).astype(np.uint8) if name == "bytes" else numbers(*shape)
    there = copy.deepcopy(model).to(gpu.device_name)
    found, expected = there(Tensor(gpu.array(images))), model(images)
    assert found.device.kind == "cuda"
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    if next(model.parameters(), None) is not None:
        for one in (found, expected):
            (one * one).sum().backward()
        for (path, parameter), other in zip(there.named_parameters(), model.parameters(), strict=True):
            np.testing.assert_allclose(to_host(parameter.grad), other.grad, rtol=1e-3, atol=1e-5, err_msg=path)


def test_what_no_function_computes_is_not_exported_again(tmp_path: Path) -> None:
    model = loaded(
        tmp_path, file_of([node("Sin", "images", "a"), node("MatMul", "a w", "logits")], ["N", 2], {"w": numbers(2, 2)})
    )
    with pytest.raises(gpucnn.errors.GraphError) as raised:
        to_onnx(model, numbers(2, 2))
    assert str(raised.value) == (
        "the model: curve is not written as ONNX: it is none of gpucnn.functions; write the layer with those"
    )
