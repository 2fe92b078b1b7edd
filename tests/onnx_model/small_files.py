"""A dozen small ONNX files, built with onnx's own helpers: what fuzzing changes, and tests read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def file_of(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    arrays: dict[str, Any] | None = None,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    axes: int = 2,
) -> onnx.ModelProto:
    """A file whose nodes turn the input "images" of `shape` into "logits"."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (arrays or {}).items()]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [f"size {axis}" for axis in range(axes)])
    images = helper.make_tensor_value_info("images", dtype, shape)
    graph = helper.make_graph(nodes, "graph", [images], [output], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node, with the names of its inputs and outputs parted by blanks, "-" for an input that is left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(operator, names, outputs.split(), **attributes)


def numbers(*shape: int, scale: float = 0.3) -> np.ndarray:
    """Numbers of both signs, none of them 0."""
    count = int(np.prod(shape))
    return (np.sin(np.arange(count) * 1.7 + 0.5) * scale).reshape(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    """A list of int64."""
    return np.array(values, np.int64)


def small_files() -> dict[str, onnx.ModelProto]:
    """All of them, by name."""
    files = {
        "convolutions": file_of(
            [
                node("Conv", "images w b", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
                node("BatchNormalization", "c scale shift mean var", "n", epsilon=1e-3),
                node("Relu", "n", "r"),
                node("GlobalAveragePool", "r", "p"),
                node("Flatten", "p", "f"),
                node("Gemm", "f head bias", "logits", transB=1),
            ],
            ["N", 1, 6, 6],
            {
                "w": numbers(4, 1, 3, 3), "b": numbers(4), "scale": numbers(4) + 1, "shift": numbers(4), "mean": numbers(4),
                "var": np.abs(numbers(4)) + 0.5, "head": numbers(3, 4), "bias": numbers(3),
            },
        ),
        "shapes": file_of(
            [
                node("MaxPool", "images", "m", kernel_shape=[2, 2], strides=[2, 2]),
                node("Shape", "m", "s"),
                node("Gather", "s zero", "n", axis=0),
                node("Unsqueeze", "n axes", "u"),
                node("Concat", "u rest", "shape", axis=0),
                node("Reshape", "m shape", "rows"),
                node("MatMul", "rows head", "product"),
                node("Add", "product bias", "logits"),
            ],
            ["N", 1, 6, 6],
            {"zero": np.int64(0), "axes": ints(0), "rest": ints(-1), "head": numbers(9, 3), "bias": numbers(3)},
        ),
        "sizes": file_of(
            [
                node("Resize", "images - scales", "big", mode="linear", coordinate_transformation_mode="half_pixel"),
                node("Pad", "big borders", "wide", mode="reflect"),
                node("Slice", "wide starts ends axes steps", "cut"),
                node("Concat", "cut cut", "both", axis=1),
                node("ReduceMean", "both", "logits", axes=[2, 3], keepdims=0),
            ],
            [1, 3, 4, 4],
            {
                "scales": np.array([1, 1, 2, 1.5], np.float32), "borders": ints(0, 0, 1, 1, 0, 0, 2, 1), "starts": ints(1, -1),
                "ends": ints(9, -5), "axes": ints(2, 3), "steps": ints(2, -1),
            },
        ),
        "attention": file_of(
            [
                node("Reshape", "images shape", "t"),
                node("Transpose", "t", "k", perm=[0, 2, 1]),
                node("MatMul", "t k", "scores"),
                node("Div", "scores root", "scaled"),
                node("Softmax", "scaled", "shares", axis=-1),
                node("MatMul", "shares t", "mixed"),
                node("LayerNormalization", "mixed scale shift", "normed"),
                node("Erf", "normed", "e"),
                node("ReduceSum", "e axes", "logits", keepdims=0),
            ],
            ["N", 2, 4, 4],
            {"shape": ints(0, 4, 8), "root": np.float32(2.8), "scale": numbers(8) + 1, "shift": numbers(8), "axes": ints(1)},
        ),
        "conditions": file_of(
            [
                node("ConstantOfShape", "shape", "ones", value=helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])),
                node("Expand", "images shape", "wide"),
                node("Greater", "wide zero", "above"),
                node("Not", "above", "below"),
                node("Where", "below ones wide", "chosen"),
                node("Range", "start limit step", "line"),
                node("Tile", "line repeats", "lines"),
                node("Mul", "chosen lines", "m"),
                node("ReduceMax", "m", "logits", axes=[-1], keepdims=0),
            ],
            [2, 4],
            {
                "shape": ints(3, 2, 4), "zero": np.float32(0), "start": np.float32(1), "limit": np.float32(5),
                "step": np.float32(2), "repeats": ints(2),
            },
        ),
        "growing": file_of(
            [
                node("ConvTranspose", "images w", "c", strides=[2, 2], group=1, output_padding=[1, 1]),
                node("InstanceNormalization", "c scale shift", "n"),
                node("LRN", "n", "l", size=3),
                node("PRelu", "l slope", "p"),
                node("Clip", "p low high", "k"),
                node("GlobalMaxPool", "k", "g"),
                node("Squeeze", "g axes", "logits"),
            ],
            ["N", 2, 3, 3],
            {
                "w": numbers(2, 3, 3, 3), "scale": numbers(3) + 1, "shift": numbers(3), "slope": numbers(3, 1, 1),
                "low": np.float32(-1), "high": np.float32(1), "axes": ints(2, 3),
            },
        ),
        "parts": file_of(
            [
                node("Split", "images sizes", "a b", axis=1),
                node("Gather", "a places", "g", axis=2),
                node("Cast", "g", "cast", to=TensorProto.DOUBLE),
                node("Cast", "cast", "back", to=TensorProto.FLOAT),
                node("Pow", "back two", "square"),
                node("Max", "b square", "larger"),
                node("Sum", "larger b square", "sum"),
                node("Mean", "sum b", "logits"),
            ],
            [2, 3, 4],
            {"sizes": ints(1, 2), "places": ints(3, 0, 0, 1), "two": np.float32(2)},
        ),
        "places": file_of(
            [
                node("DepthToSpace", "images", "d", blocksize=2, mode="CRD"),
                node("CumSum", "d axis", "c"),
                node("ArgMax", "c", "place", axis=3, keepdims=1),
                node("Cast", "place", "f", to=TensorProto.FLOAT),
                node("GatherElements", "c place", "g", axis=3),
                node("Mul", "f g", "logits"),
            ],
            [1, 4, 2, 3],
            {"axis": np.int64(2)},
        ),
        "bytes": file_of(
            [
                node("Transpose", "images", "t", perm=[0, 3, 1, 2]),
                node("Cast", "t", "f", to=TensorProto.FLOAT),
                node("Div", "f full", "share"),
                node("Resize", "share - - sizes", "r", mode="linear", antialias=1),
                node("AveragePool", "r", "a", kernel_shape=[2, 2], count_include_pad=1, pads=[1, 1, 0, 0]),
                node("Flatten", "a", "x", axis=1),
                node("LogSoftmax", "x", "logits"),
            ],
            ["N", "H", "W", 3],
            {"full": np.float32(255), "sizes": ints(1, 3, 4, 4)},
            opset=18,
            dtype=TensorProto.UINT8,
        ),
        "constants": file_of(
            [
                helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(numbers(2, 3))),
                helper.make_node("Constant", [], ["two"], value_float=2.0),
                node("Gemm", "images k", "g", alpha=0.5),
                node("Identity", "g", "i"),
                node("Sub", "i two", "s"),
                node("LeakyRelu", "s", "e", alpha=0.2),
                node("HardSigmoid", "e", "h"),
                node("Dropout", "h", "logits"),
            ],
            ["N", 2],
        ),
        "of opset 6": file_of(
            [
                node("Pad", "images", "p", pads=[0, 0, 1, 1, 0, 0, 1, 1]),
                node("Conv", "p w", "c", kernel_shape=[3, 3]),
                node("Add", "c b", "a", broadcast=1, axis=1),
                node("Sigmoid", "a", "logits"),
            ],
            [1, 1, 4, 4],
            {"w": numbers(2, 1, 3, 3), "b": numbers(2)},
            opset=6,
        ),
    }  # fmt: skip
    files["arrays beside"] = beside(files["convolutions"])
    return files


BESIDE = "weights.bin"
"""The file beside it, in which the arrays of the last one lie."""


def beside(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same, with its arrays in `BESIDE`, one after the other: `content_beside`."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    offset = 0
    for tensor in changed.graph.initializer:
        size = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", BESIDE), ("offset", str(offset)), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)
        offset += size
    return changed


def content_beside(model: onnx.ModelProto) -> bytes:
    """What `BESIDE` has for a file that `beside` was made of."""
    return b"".join(tensor.raw_data for tensor in model.graph.initializer)
