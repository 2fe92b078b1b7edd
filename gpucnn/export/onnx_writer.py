"""A model as an ONNX file."""

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpucnn.atomic_file import check_place, discard, telling_of, write_atomically
from gpucnn.checks import as_path
from gpucnn.errors import ArgumentError, GraphError
from gpucnn.export import onnx_graph
from gpucnn.export.onnx_call import Call
from gpucnn.export.onnx_graph import OPSET, OnnxGraph, bytes_of_array, bytes_of_arrays, onnx_library
from gpucnn.export.onnx_nodes import NODES, REFUSED
from gpucnn.layers.as_model import as_model
from gpucnn.layers.graph import IMAGES, Batch, ModelGraph, Sizes, graph_of_any_batch
from gpucnn.text import value_text

if TYPE_CHECKING:
    import onnx

DIGITS = 16
"""Of its content's, in the name of a file of arrays."""

SMALL = 1024
"""Bytes of arrays that stay with the nodes: shapes among them, which onnxruntime looks for nowhere else."""


OTHERS = "it is none of gpucnn.functions; write the layer with those"
"""What to do about a function that is not known here."""


def to_onnx(model: Any, example: Any, *, opset: int = OPSET) -> "onnx.ModelProto":
    """`model`, a layer of one input, as an ONNX model that computes what it does in evaluation mode.

    - `example`: images as the model takes them, (N, C, H, W) or what else it is built for; one is enough.
    - Its input is "images" (N, C, H, W) in the model's dtype, for any N; its output "logits". Parameters keep their paths as
      names, and nodes begin with the path of the layer that they are of.
    - `opset`: from 13 to the newest that the installed onnx knows.

    The model stays as it is: its mode, gradients and statistics. Raises GraphError, which names layer, function and fix, for a
    model that no graph can follow and for a function that ONNX has no nodes for, ArgumentError for an opset that there is not,
    and LibraryError without onnx.
    """
    graph = OnnxGraph(opset)
    traced = graph_of_any_batch(as_model("to_onnx", model), example)
    graph.put("Identity", [add_model(graph, traced, "images")], name="logits")
    images, output = traced.images, traced.nodes[-1].output if traced.nodes else traced.images
    return graph.finished(
        [("images", images.dtype, ("N", *images.shape[1:]))], [("logits", output.dtype, output_axes(traced))]
    )


def output_axes(model: ModelGraph) -> tuple[int | str | None, ...]:
    """The shape of a model's output, as an ONNX graph says it: "N" for as many as there are images."""
    sizes: Sizes = model.nodes[-1].sizes if model.nodes else (Batch(1), *model.images.shape[1:])
    return tuple(size if isinstance(size, int) else "N" if size.times == 1 else None for size in sizes)


def add_model(graph: OnnxGraph, model: ModelGraph, first: str) -> str:
    """The name of what the nodes of a `graph_of_any_batch` give, put into `graph`; `first` is that of the images."""
    names = {IMAGES: first}
    for number, node in enumerate(model.nodes):
        place = f"{node.path or 'the model'}: {node.function}"
        if node.function not in NODES:
            raise GraphError(f"{place} is not written as ONNX: {REFUSED.get(node.function, OTHERS)}")
        if 0 in node.shape:
            raise GraphError(
                f"{place} gives an array without elements, of shape {node.shape}; leave it out of the model"
            )
        names[number] = NODES[node.function](Call(graph, model, node, names))
    return names[len(model.nodes) - 1]


def save_onnx(model: "onnx.ModelProto", path: str | os.PathLike[str]) -> list[Path]:
    """Write an ONNX model so that the file is whole or not there; the files, of which the first is `path`.

    Above 2 GB, which one file cannot have, arrays are in a second one beside it, NAME.onnx.DIGITS.data. Its digits are those
    of its content: until the first file is there the old one, if there was any, keeps its own. Raises RunError where the
    files cannot be.
    """
    if not isinstance(model, onnx_library().ModelProto):
        raise ArgumentError(f"save_onnx: model must be what to_onnx gives, an onnx.ModelProto, got {value_text(model)}")
    path = as_path(path, "save_onnx: path")
    check_place(path)
    with telling_of(path):
        if bytes_of_arrays(model) <= onnx_graph.LARGEST_MESSAGE:
            write_atomically(path, model.SerializeToString())
            files = [path]
        else:
            files = _save_in_two(model, path)
        for other in path.parent.iterdir():
            if other not in files and _is_data_of(path, other):
                discard(other)
    return files


def _save_in_two(model: "onnx.ModelProto", path: Path) -> list[Path]:
    onnx = onnx_library()
    digest = hashlib.sha256()
    large = [array for array in model.graph.initializer if bytes_of_array(array) > SMALL]
    for array in large:
        digest.update(array.raw_data)
    data = path.with_name(f"{path.name}.{digest.hexdigest()[:DIGITS]}.data")
    outline = onnx.ModelProto()
    _copy(model, outline, "graph")
    _copy(model.graph, outline.graph, "initializer")
    offset = 0
    for array in model.graph.initializer:
        described = outline.graph.initializer.add()
        length = bytes_of_array(array)
        if length <= SMALL:
            described.CopyFrom(array)
            continue
        _copy(array, described, "raw_data")
        described.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", data.name), ("offset", str(offset)), ("length", str(length))):
            described.external_data.add(key=key, value=value)
        offset += length
    write_atomically(data, (array.raw_data for array in large))
    content = outline.SerializeToString()
    trial = data.with_suffix(".check")  # where the arrays are found, as they are from `path`
    try:
        write_atomically(trial, content)
        onnx.checker.check_model(str(trial))
    finally:
        discard(trial)
    write_atomically(path, content)
    return [path, data]


def _copy(source: Any, target: Any, left_out: str) -> None:
    """The fields of a message but one, which may be larger than protobuf copies."""
    for field, value in source.ListFields():
        if field.name == left_out:
            continue
        if hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


def _is_data_of(path: Path, other: Path) -> bool:
    """Whether a file is named as the second one of a model."""
    return re.fullmatch(rf"{re.escape(path.name)}\.[0-9a-f]{{{DIGITS}}}\.data", other.name) is not None
