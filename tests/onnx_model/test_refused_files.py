"""Files that are damaged, hostile, or have what is not computed: an OnnxError that names the file, the node, and what to do."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import gpucnn
from gpucnn.errors import DTypeError, OnnxError, ShapeError
from gpucnn.onnx_model.whole_file import whole_file
from tests.onnx_model.small_files import BESIDE, beside, content_beside, file_of, ints, node, numbers, small_files


def written(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refusal(folder: Path, model: onnx.ModelProto) -> str:
    path = written(folder, model)
    with pytest.raises(OnnxError) as raised:
        gpucnn.load_onnx(path)
    assert str(raised.value).startswith(f"{path}: ")
    return str(raised.value).removeprefix(f"{path}: ")


def relu_file(**options: Any) -> onnx.ModelProto:
    return file_of([node("Relu", "images", "logits")], [1, 4], **options)


def changed(change: Callable[[onnx.ModelProto], object], model: onnx.ModelProto | None = None) -> onnx.ModelProto:
    model = relu_file() if model is None else model
    change(model)
    return model


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it tells no opset of ONNX; is it an ONNX file?"),
        (b"\x89PNG\r\n\x1a\n", "no ONNX file, or a damaged one"),
        (b"\xff" * 100, "no ONNX file, or a damaged one"),
    ],
)
def test_what_is_no_onnx_file(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxError) as raised:
        gpucnn.load_onnx(path)
    assert str(raised.value) == f"{path}: {said}"


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="cannot be read: No such file or directory"):
        gpucnn.load_onnx(tmp_path / "none.onnx")
    with pytest.raises(OnnxError, match="cannot be read: Is a directory"):
        gpucnn.load_onnx(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(OnnxError, match="cannot be read: a named pipe, expected a file"):
        gpucnn.load_onnx(tmp_path / "pipe.onnx")
    with pytest.raises(gpucnn.errors.ArgumentError, match="load_onnx: path must be a path, got 3"):
        gpucnn.load_onnx(3)  # type: ignore[arg-type]


def test_without_onnx_it_says_what_to_install(tmp_path: Path) -> None:
    path = written(tmp_path, relu_file())
    code = f"import sys; sys.modules['onnx'] = None; import gpucnn; gpucnn.load_onnx({str(path)!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "LibraryError: ONNX files need onnx" in ended.stderr
    assert ended.stderr.rstrip().endswith('pip install "gpucnn[onnx]"')


def test_all_unknown_operators_are_named_at_once(tmp_path: Path) -> None:
    nodes = [
        node("Loop", "- images", "a"),
        helper.make_node("FancyNorm", ["a"], ["b"], domain="com.acme"),
        node("QuantizeLinear", "b s", "c"),
        node("Relu", "c", "d"),
        node("LSTM", "d s s", "logits"),
    ]
    assert refusal(tmp_path, file_of(nodes, [1, 4], {"s": np.float32(1)})) == (
        "it has operators that are not computed here: LSTM, Loop (it repeats a sub-graph: export with the loop unrolled), "
        "QuantizeLinear (the model is quantized: export the one that it was made of), com.acme.FancyNorm (of a domain of its own); "
        "gpucnn/onnx_model/README.md lists those that are"
    )
    hardly = file_of([node("Mish", "images", "logits")], [1, 4], opset=17)
    assert "an operator that is not computed here: Mish (not in opset 17)" in refusal(tmp_path, hardly)
    volume = file_of(
        [node("Conv", "images w", "logits", kernel_shape=[1, 1, 1])],
        [1, 1, 2, 2, 2],
        {"w": numbers(1, 1, 1, 1, 1)},
        axes=5,
    )
    assert (
        refusal(tmp_path, volume)
        == "node 0 (Conv): Conv of one axis or two is computed here, got kernel_shape (1, 1, 1)"
    )


def test_opsets_that_are_not_known(tmp_path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    model = changed(lambda model: model.opset_import.__getitem__(0).__setattr__("version", newest + 1))
    assert refusal(tmp_path, model) == (
        f"it is of opset {newest + 1}; those from 1 to {newest} are known to the installed onnx {onnx.__version__}: export it for one of them"
    )


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("Relu", "nothing", "logits")], "node 0 (Relu) takes nothing, which nothing gives"),
        ([node("Relu", "images", "a")], "an output takes logits, which nothing gives"),
        (
            [node("Add", "images b", "a"), node("Relu", "a", "b"), node("Relu", "b", "logits")],
            "node 0 (Add) takes, in a circle, what is computed of its own output",
        ),
        (
            [node("Relu", "images", "logits"), node("Tanh", "images", "logits")],
            "node 1 (Tanh) gives logits, which is there already",
        ),
        ([node("Relu", "images images", "logits")], "node 0 (Relu) has 2 inputs, expected 1"),
        ([node("Add", "images", "logits")], "node 0 (Add) has 1 input, expected 2"),
        ([node("Add", "images -", "logits")], "node 0 (Add) has no input 2, B, which it needs"),
        ([node("Sum", "images - images", "logits")], "node 0 (Sum) has no input 2, data_0, which it needs"),
        ([node("Relu", "images", "logits more")], "node 0 (Relu) has 2 outputs, expected 1"),
        (
            [node("LeakyRelu", "images", "logits", aplha=0.1)],
            "node 0 (LeakyRelu) has an attribute 'aplha' that LeakyRelu does not know; did you mean alpha?",
        ),
        (
            [node("LeakyRelu", "images", "logits", alpha=1)],
            "node 0 (LeakyRelu) has an attribute alpha twice, or of another type than FLOAT",
        ),
        ([node("Concat", "images images", "logits")], "node 0 (Concat) has no attribute axis, which Concat needs"),
    ],
)
def test_graphs_that_are_none(nodes: list[onnx.NodeProto], said: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, file_of(nodes, [1, 4])) == said


def of_array(change: Callable[[onnx.TensorProto], object]) -> onnx.ModelProto:
    """A file with an array w, (2, 3) of float32, that is changed."""
    model = file_of([node("MatMul", "images w", "logits")], [1, 2], {"w": numbers(2, 3)})
    change(model.graph.initializer[0])
    return model


def typed(tensor: onnx.TensorProto, **fields: Any) -> None:
    tensor.ClearField("raw_data")
    for name, values in fields.items():
        getattr(tensor, name).extend(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.dims.__setitem__(0, -2), "the array w has no shape that an array can have: (-2, 3)"),
        (lambda w: w.dims.__setitem__(0, 1 << 40), f"the array w ({1 << 40}, 3) of float32 needs {12 << 40:,} bytes, got 24"),
        (lambda w: w.dims.extend([1 << 60]), f"the array w has no shape that an array can have: (2, 3, {1 << 60})"),
        (lambda w: w.dims.extend([1] * 70), "the array w has 72 axes; an array has at most 64"),
        (lambda w: w.__setattr__("raw_data", w.raw_data[:-1]), "the array w (2, 3) of float32 needs 24 bytes, got 23"),
        (lambda w: typed(w, float_data=[1.0] * 5), "the array w (2, 3) needs 6 numbers, got 5"),
        (lambda w: typed(w, int32_data=[1] * 6), "the array w (2, 3) needs 6 numbers, got 0"),
        (lambda w: w.__setattr__("data_type", 8), "the array w is of dtype string, which is not computed here"),
        (lambda w: w.__setattr__("data_type", 14), "the array w is of dtype complex64, which is not computed here"),
        (
            lambda w: w.__setattr__("data_type", 17),
            "the array w is of dtype float8e4m3fn, which is not computed here; export the model as it was before it was quantized",
        ),
        (lambda w: w.__setattr__("data_type", 99), "the array w is of dtype number 99, which is not computed here; export the model as it was before it was quantized"),
        (lambda w: w.segment.__setattr__("begin", 1), "the array w is a segment of an array; save the model with onnx.save, which writes whole ones"),
        (lambda w: w.__setattr__("name", "images"), "node 0 (MatMul) takes w, which nothing gives"),
    ],
)  # fmt: skip
def test_arrays_that_are_none(change: Callable[[onnx.TensorProto], object], said: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, of_array(change)) == said


def test_numbers_that_a_dtype_cannot_hold(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", dims=[2], data_type=TensorProto.UINT8, int32_data=[1, 256])
    model = file_of([node("Relu", "images", "logits")], [1, 2])
    model.graph.initializer.append(tensor)
    assert refusal(tmp_path, model) == "the array w has numbers that uint8 cannot hold"


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (TensorProto.FLOAT16, [1.5, -2.0]), (TensorProto.BFLOAT16, [1.5, -2.0]), (TensorProto.DOUBLE, [1.5, -2.0]),
        (TensorProto.INT8, [3, -4]), (TensorProto.UINT64, [3, 1 << 62]), (TensorProto.BOOL, [True, False]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("raw", [False, True])
def test_every_dtype_is_read_typed_and_raw(dtype: int, values: list[Any], raw: bool, tmp_path: Path) -> None:
    wanted = helper.tensor_dtype_to_np_dtype(dtype)
    given = np.array(values, wanted).tobytes() if raw else values
    nodes = [node("Identity", "w", "logits"), node("Relu", "images", "unused")]
    model = file_of(nodes, [1, 2], axes=1)
    model.graph.initializer.append(helper.make_tensor("w", dtype, [2], given, raw))
    model.graph.output[0].type.tensor_type.elem_type = dtype
    (found,) = gpucnn.load_onnx(written(tmp_path, model)).outputs(gpucnn.Tensor(numbers(1, 2)))
    assert found.dtype == (np.float32 if wanted.itemsize == 2 else wanted)
    np.testing.assert_array_equal(found.array, np.array(values, found.dtype))


def place(tensor: onnx.TensorProto, **entries: str) -> None:
    for entry in tensor.external_data:
        entry.value = entries.get(entry.key, entry.value)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"location": "../weights.bin"}, "expected one beside the model, given without .. and not from the root"),
        ({"location": "a/../../weights.bin"}, "expected one beside the model, given without .. and not from the root"),
        ({"location": "/etc/passwd"}, "expected one beside the model, given without .. and not from the root"),
        ({"location": r"C:\weights.bin"}, "expected one beside the model, given without .. and not from the root"),
        ({"location": ""}, "expected one beside the model, given without .. and not from the root"),
        ({"location": "none.bin"}, "lies in none.bin, which cannot be read: No such file or directory"),
        ({"location": "away.bin"}, "to which a link leads; expected a file in"),
        ({"location": "linked/weights.bin"}, "to which a link leads; expected a file in"),
        ({"offset": "-8"}, "from -8 on"),
        ({"offset": "100000"}, "from 100,000 on, and weights.bin has"),
        ({"length": "12"}, "needs 144 bytes, and the file tells of 12"),
        ({"length": "many"}, "has an offset or a length in weights.bin that is no number"),
    ],
)
def test_arrays_beside_the_file_stay_there(entries: dict[str, str], said: str, tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    whole = small_files()["convolutions"]
    model = beside(whole)
    for where in (folder / BESIDE, outside / BESIDE, tmp_path / BESIDE):
        where.write_bytes(content_beside(whole))
    (folder / "away.bin").symlink_to(outside / BESIDE)
    (folder / "linked").symlink_to(outside)
    images = numbers(2, 1, 6, 6)
    expected = gpucnn.load_onnx(written(tmp_path, whole))(images).array
    np.testing.assert_array_equal(gpucnn.load_onnx(written(folder, model))(images).array, expected)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "model.onnx").write_bytes(whole_file(folder / "model.onnx"))  # which needs no other file
    np.testing.assert_array_equal(gpucnn.load_onnx(tmp_path / "copy" / "model.onnx")(images).array, expected)
    place(model.graph.initializer[0], **entries)
    assert said in refusal(folder, model)
    with pytest.raises(OnnxError) as raised:
        whole_file(folder / "model.onnx")
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("nodes", "arrays"),
    [
        ([node("ConstantOfShape", "shape", "big"), node("Add", "images big", "logits")], {"shape": ints(1 << 40)}),
        ([node("Expand", "images shape", "logits")], {"shape": ints(1 << 20, 1 << 20, 1, 1)}),
        ([node("Tile", "images shape", "logits")], {"shape": ints(1 << 30, 1 << 20)}),
        ([node("Pad", "images shape", "logits")], {"shape": ints(0, 1 << 50, 0, 0)}),
        ([node("Range", "start end step", "big"), node("Add", "images big", "logits")],
         {"start": np.int64(0), "end": np.int64(1 << 60), "step": np.int64(1)}),
        ([node("MaxPool", "square", "p", kernel_shape=[1 << 30, 1], pads=[1 << 29, 0, 1 << 29, 0]), node("Reshape", "images s", "square"),
          node("Squeeze", "p", "logits")], {"s": ints(1, 1, 2, 2)}),
        ([node("Reshape", "images s", "square"), node("Conv", "square w", "logits", pads=[1 << 30, 1 << 30, 0, 0])],
         {"s": ints(1, 1, 2, 2), "w": numbers(1, 1, 1, 1)}),
        ([node("Reshape", "images s", "square"), node("ConvTranspose", "square w", "logits", strides=[1 << 30, 1 << 30])],
         {"s": ints(1, 1, 2, 2), "w": numbers(1, 1, 1, 1)}),
        ([node("Reshape", "images s", "square"), node("ConvTranspose", "square w", "logits", output_shape=[1 << 30, 1 << 30])],
         {"s": ints(1, 1, 2, 2), "w": numbers(1, 1, 1, 1)}),
        ([node("Reshape", "images s", "square"), node("Resize", "square - scales", "logits")],
         {"s": ints(1, 1, 2, 2), "scales": np.array([1, 1, 1e9, 1e9], np.float32)}),
        ([node("Reshape", "images column", "c"), node("Reshape", "images row", "r"), *[
            node("MatMul", f"c{'' if step == 0 else step} r{'' if step == 0 else step}", f"m{step}") if step == 0 else
            node("Concat", f"m{step - 1} " * 64, f"m{step}", axis=0) for step in range(6)], node("Identity", "m5", "logits")],
         {"column": ints(4, 1), "row": ints(1, 4)}),
    ],
)  # fmt: skip
def test_no_node_makes_more_than_the_images_and_the_file_allow(
    nodes: list[onnx.NodeProto], arrays: dict[str, Any], tmp_path: Path
) -> None:
    path = written(tmp_path, file_of(nodes, [1, 4], arrays))
    with pytest.raises((OnnxError, ShapeError), match=r"it would make an array|make more than"):
        gpucnn.load_onnx(path)(numbers(1, 4))


def test_inputs_that_do_not_fit_are_named(tmp_path: Path) -> None:
    model = gpucnn.load_onnx(written(tmp_path, small_files()["convolutions"]))
    with pytest.raises(ShapeError) as shape:
        model(numbers(2, 3, 6, 6))
    assert str(shape.value) == "OnnxModel: expected the input images (N, 1, 6, 6), got (2, 3, 6, 6)"
    with pytest.raises(ShapeError) as count:
        model(numbers(2, 1, 6, 6), numbers(2))
    assert str(count.value) == "OnnxModel: got 2 inputs, expected 1: images"
    taken = gpucnn.load_onnx(written(tmp_path, small_files()["bytes"]))
    with pytest.raises(DTypeError) as dtype:
        taken(gpucnn.Tensor(numbers(1, 4, 5, 3)))
    assert str(dtype.value) == (
        "OnnxModel: expected the input images of uint8, got float32; a model of floats is that of `gpucnn export --float`"
    )


def test_a_node_that_does_not_fit_is_named(tmp_path: Path) -> None:
    nodes = [node("Reshape", "images s", "square"), node("Conv", "square w", "logits")]
    nodes[1].name = "first"
    model = file_of(nodes, ["N", 8], {"s": ints(-1, 2, 2, 2), "w": numbers(3, 1, 2, 2)}, axes=4)
    with pytest.raises(ShapeError) as raised:
        gpucnn.load_onnx(written(tmp_path, model))(numbers(1, 8))
    assert str(raised.value) == (
        "first (Conv): a weight for 1 channels, 3 filters and group=1 does not fit images (1, 2, 2, 2)"
    )


def test_a_file_of_a_run_that_prepares_bytes_says_which_one_trains(tmp_path: Path) -> None:
    model = small_files()["bytes"]
    model.producer_name = "gpucnn"
    model.graph.node.append(node("MatMulInteger", "images images", "unused"))
    assert refusal(tmp_path, model) == (
        "it takes decoded images as bytes, and prepares them by MatMulInteger, which is not computed here; a file that can be trained "
        "is that of gpucnn export RUN --float"
    )
