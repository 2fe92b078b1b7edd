"""Changes of ONNX files that keep them files of protobuf: other sizes, attributes, names, orders, places of arrays, deep graphs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

NUMBERS = [0, 1, -1, 2, 3, 7, 255, 65536, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63), -2, -7]
FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, -1e30, float("inf"), float("-inf"), float("nan"), 0.5, 3.4e38]
TEXTS = ["", "weights.bin", "../weights.bin", "/etc/passwd", "a/../../b", ".", "..", "\0", "x" * 3000, "\u202e", "é" * 70, "images", "logits",
         "VALID", "SAME_UPPER", "constant", "wrap", "cubic", "nearest", "-5", "1e9", "relu", "/dev/zero", "\x1b[2J"]  # fmt: skip
DEPTHS = (3, 40, 90, 200, 5_000)
"""Graphs in graphs; protobuf reads a hundred messages in one another."""


def changed_model(model: onnx.ModelProto, draw: np.random.Generator) -> bytes:
    """The file after one to four changes."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for _ in range(1 + int(draw.integers(4))):
        CHANGES[draw.integers(len(CHANGES))](changed, draw)
    try:
        content = bytes(changed.SerializeToString())
        return content if draw.integers(20) else content + _deep(draw)
    except Exception:  # what protobuf itself does not write
        return bytes(model.SerializeToString())


def _one(items: Any, draw: np.random.Generator) -> Any:
    return items[int(draw.integers(len(items)))] if len(items) else None


def _integer(draw: np.random.Generator) -> int:
    return int(_one(NUMBERS, draw)) if draw.integers(3) else int(draw.integers(-9, 10))


def _array(model: onnx.ModelProto, draw: np.random.Generator) -> Any:
    attributes = [one.t for node in model.graph.node for one in node.attribute if one.HasField("t")]
    return _one([*model.graph.initializer, *attributes], draw)


def _dims(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    tensor = _array(model, draw)
    if tensor is None:
        return
    kind = draw.integers(4)
    if kind == 0 and len(tensor.dims):
        tensor.dims[int(draw.integers(len(tensor.dims)))] = _integer(draw)
    elif kind == 1:
        tensor.dims.append(_integer(draw))
    elif kind == 2 and len(tensor.dims):
        tensor.dims.pop()
    else:
        order = draw.permutation(len(tensor.dims))
        tensor.dims[:] = [tensor.dims[int(place)] for place in order]


def _content(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    tensor = _array(model, draw)
    if tensor is None:
        return
    kind = draw.integers(5)
    if kind == 0:
        tensor.data_type = int(draw.integers(-1, 30))
    elif kind == 1:
        tensor.raw_data = tensor.raw_data[: int(draw.integers(len(tensor.raw_data) + 1))]
    elif kind == 2:
        tensor.raw_data = bytes(draw.bytes(len(tensor.raw_data)))
    elif kind == 3:
        tensor.float_data.extend([float(_one(FLOATS, draw))] * int(draw.integers(1, 5)))
    else:
        tensor.int64_data.extend([_integer(draw)] * int(draw.integers(1, 5)))
        if draw.integers(2):
            tensor.ClearField("raw_data")


def _numbers(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    """Of an array of integers, such as a shape, one is another."""
    arrays = [one for one in model.graph.initializer if one.data_type == TensorProto.INT64 and one.raw_data]
    tensor = _one(arrays, draw)
    if tensor is not None:
        values = np.frombuffer(tensor.raw_data, np.int64, len(tensor.raw_data) // 8).copy()
        if len(values):
            values[int(draw.integers(len(values)))] = _integer(draw)
            tensor.raw_data = values.tobytes()


def _floats(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    arrays = [one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT and one.raw_data]
    tensor = _one(arrays, draw)
    if tensor is not None:
        values = np.frombuffer(tensor.raw_data, np.float32, len(tensor.raw_data) // 4).copy()
        if len(values):
            values[int(draw.integers(len(values)))] = np.float32(_one(FLOATS, draw))
            tensor.raw_data = values.tobytes()


def _attribute(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    node = _one(model.graph.node, draw)
    attribute = None if node is None else _one(node.attribute, draw)
    if attribute is None:
        return
    kind = draw.integers(6)
    if kind == 0:
        attribute.name = str(_one([*TEXTS, "axis", "pads", "axes", "kernel_shape"], draw)).replace("\0", "")
    elif kind == 1:
        attribute.type = int(draw.integers(0, 15))
    elif kind == 2 and len(attribute.ints):
        attribute.ints[int(draw.integers(len(attribute.ints)))] = _integer(draw)
    elif kind == 3:
        attribute.ints.extend([_integer(draw)] * int(draw.integers(1, 4)))
    elif kind == 4:
        node.attribute.remove(attribute)
    elif attribute.HasField("s"):
        attribute.s = str(_one(TEXTS, draw)).encode()
    elif attribute.HasField("f"):
        attribute.f = float(np.float32(_one(FLOATS, draw)))
    else:
        attribute.i = _integer(draw)


def _another_attribute(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    """One that the operator knows gets a value."""
    node = _one(model.graph.node, draw)
    if node is None or not onnx.defs.has(node.op_type):
        return
    name = _one(list(onnx.defs.get_schema(node.op_type).attributes), draw)
    if name is not None:
        value = _one(
            [_integer(draw), float(_one(FLOATS, draw)), str(_one(TEXTS, draw)), [_integer(draw), _integer(draw)]], draw
        )
        node.attribute.append(helper.make_attribute(name, value))


def _name(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    graph = model.graph
    names = [name for node in graph.node for name in [*node.input, *node.output]] + [*TEXTS]
    name = str(_one(names, draw))
    node = _one(graph.node, draw)
    kind = draw.integers(5)
    if node is None:
        return
    if kind == 0 and len(node.input):
        node.input[int(draw.integers(len(node.input)))] = name
    elif kind == 1 and len(node.output):
        node.output[int(draw.integers(len(node.output)))] = name
    elif kind == 2 and len(graph.initializer):
        _one(graph.initializer, draw).name = name
    elif kind == 3:
        _one([*graph.input, *graph.output], draw).name = name
    elif draw.integers(2):
        node.input.append(name)
    elif len(node.input):
        del node.input[-1]


def _operator(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    from gpucnn.onnx_model.operators import OPERATORS

    node = _one(model.graph.node, draw)
    if node is not None:
        node.op_type = str(_one([*OPERATORS, "If", "Loop", "", "Relu\0", "QuantizeLinear"], draw))
        if draw.integers(10) == 0:
            node.domain = str(_one([*TEXTS, "ai.onnx", "com.microsoft"], draw))


def _order(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    nodes = list(model.graph.node)
    kind = draw.integers(4)
    if not nodes:
        return
    if kind == 0:
        nodes = [nodes[int(place)] for place in draw.permutation(len(nodes))]
    elif kind == 1:
        nodes.pop(int(draw.integers(len(nodes))))
    elif kind == 2:
        nodes.insert(int(draw.integers(len(nodes))), _one(nodes, draw))
    else:
        place = int(draw.integers(len(nodes)))
        nodes[place : place + 1] = [nodes[place]] * int(draw.integers(2, 60))
    kept = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        kept.append(copy)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _chain(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    """What a node gives grows, node by node."""
    node = _one(model.graph.node, draw)
    if node is None or not len(node.output):
        return
    name, count = node.output[0], int(draw.integers(2, 40))
    operator = str(_one(["Concat", "Add", "Tile", "Expand", "MatMul"], draw))
    for number in range(count):
        model.graph.node.append(
            helper.make_node(
                operator, [name, name], [f"{name}{number}"], **({"axis": 0} if operator == "Concat" else {})
            )
        )
        name = f"{name}{number}"
    for output in model.graph.output:
        output.name = name


def _declared(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    value = _one([*model.graph.input, *model.graph.output], draw)
    if value is None:
        return
    tensor = value.type.tensor_type
    kind = draw.integers(5)
    if kind == 0 and len(tensor.shape.dim):
        _one(tensor.shape.dim, draw).dim_value = _integer(draw)
    elif kind == 1 and len(tensor.shape.dim):
        _one(tensor.shape.dim, draw).dim_param = str(_one(TEXTS, draw))
    elif kind == 2:
        tensor.elem_type = int(draw.integers(-1, 30))
    elif kind == 3:
        tensor.shape.dim.add().dim_value = _integer(draw)
    else:
        value.type.ClearField("tensor_type")


def _beside(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    tensor = _one(model.graph.initializer, draw)
    if tensor is None:
        return
    if tensor.data_location != TensorProto.EXTERNAL:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
    entry = _one(tensor.external_data, draw)
    kind = draw.integers(3)
    if kind == 0 and entry is not None:
        entry.value = str(_one([*TEXTS, *map(str, NUMBERS)], draw))
    elif kind == 1 and entry is not None:
        entry.key = str(_one(["location", "offset", "length", "checksum", *TEXTS], draw))
    else:
        tensor.external_data.add(
            key=str(_one(["location", "offset", "length"], draw)), value=str(_one([*TEXTS, *map(str, NUMBERS)], draw))
        )


def _deep(draw: np.random.Generator) -> bytes:
    """Graphs in graphs, in protobuf's own bytes, which follow those of a file: it then has this node, too."""
    graph = b""
    for _ in range(int(_one(DEPTHS, draw))):
        attribute = _field(1, b"then_branch") + b"\xa0\x01\x05" + _field(6, graph)
        graph = _field(1, _field(4, b"If") + _field(2, b"y") + _field(5, attribute))
    return _field(7, graph)


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf that has a length."""
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def _head(model: onnx.ModelProto, draw: np.random.Generator) -> None:
    kind = draw.integers(6)
    if kind == 0 and len(model.opset_import):
        model.opset_import[0].version = _integer(draw) if draw.integers(2) else int(draw.integers(1, 30))
    elif kind == 1:
        model.opset_import.add(
            domain=str(_one(["", "ai.onnx", "com.microsoft"], draw)), version=int(draw.integers(1, 30))
        )
    elif kind == 2:
        model.ir_version = _integer(draw)
    elif kind == 3:
        model.metadata_props.add(
            key="class_names", value=str(_one(["[1]", "[" * 5000, '["a"]', '{"a": NaN}', "\ud7ff"], draw))
        )
    elif kind == 4:
        del model.graph.output[:]
    else:
        model.functions.add(name="f", domain="g")


CHANGES: list[Callable[[onnx.ModelProto, np.random.Generator], None]] = [
    _dims, _content, _numbers, _floats, _attribute, _attribute, _another_attribute, _name, _operator, _order, _chain, _declared, _beside, _head,
]  # fmt: skip
