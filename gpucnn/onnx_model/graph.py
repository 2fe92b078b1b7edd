"""The graph in an ONNX file, checked as a whole before anything is computed."""

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.checks import as_path
from gpucnn.errors import OnnxError
from gpucnn.onnx_model.graph_order import in_order
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.onnx_file import naming, read_message
from gpucnn.onnx_model.operators import OPERATORS
from gpucnn.onnx_model.operators.values import MOST_INTEGERS
from gpucnn.onnx_model.tensor import TensorReader, dtype_of
from gpucnn.text import MOST_AXES, counted, names_text, printed, shape_text, value_text

MOST_NODES = 100_000

OLDEST = 1

MOST_WINDOW_AXES = 2
"""Of windows: those of sequences and of images."""

DOMAINS = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""

GPUCNN = "gpucnn"
"""What wrote a file, if we did."""

DeclaredShape = tuple[int | str | None, ...]
"""Of an input or output, as the file tells it: ints, names of free sizes, None where nothing is said."""


class Declared(NamedTuple):
    """An input or output, as the file declares it."""

    name: str
    dtype: np.dtype | None
    shape: DeclaredShape | None
    """None if the file does not tell."""


class OnnxGraph(NamedTuple):
    """What is computed of what."""

    inputs: list[Declared]
    outputs: list[Declared]
    arrays: dict[str, np.ndarray]
    """The values that the file has, by name."""
    nodes: list[OnnxNode]
    """In an order in which they can be computed; those that no output needs are left out."""
    opset: int
    metadata: dict[str, str]
    producer: str
    """What wrote the file."""


def read_onnx_graph(path: str | os.PathLike[str]) -> OnnxGraph:
    """The graph in the file at `path`.

    OnnxError, which names the file, if it is damaged, or has what is not computed here; LibraryError without onnx.
    """
    path = as_path(path, "load_onnx: path")
    with naming(path):
        return _GraphReader(read_message(path).message, path.parent).graph()


class _GraphReader:
    """Reads a ModelProto."""

    def __init__(self, model: Any, folder: Path) -> None:
        self.model, self.tensors = model, TensorReader(folder)
        self.opset = self._opset()

    def graph(self) -> OnnxGraph:
        """The graph; OnnxError for what it must not have."""
        found = self.model.graph
        if len(found.node) > MOST_NODES:
            raise OnnxError(f"{counted(len(found.node), 'node')} are more than {MOST_NODES:,}")
        self._check_operators(found.node)
        if found.sparse_initializer:
            raise OnnxError("it has sparse arrays, which are not computed here; save it with dense ones")
        arrays = {}
        for tensor in found.initializer:
            if not tensor.name or tensor.name in arrays:
                raise OnnxError(f"two arrays, or one without a name, are called {value_text(tensor.name)}")
            arrays[tensor.name] = self.tensors.array(tensor, f"the array {printed(tensor.name)}")
        inputs = [self._declared(one, "input") for one in found.input if one.name not in arrays]
        outputs = [self._declared(one, "output") for one in found.output]
        nodes = [self._node(number, node) for number, node in enumerate(found.node)]
        if not outputs:
            raise OnnxError("it has no output")
        metadata = {entry.key: entry.value for entry in self.model.metadata_props}
        ordered = in_order(nodes, [one.name for one in inputs], list(arrays), [one.name for one in outputs])
        return OnnxGraph(inputs, outputs, arrays, ordered, self.opset, metadata, self.model.producer_name)

    def _opset(self) -> int:
        import onnx

        versions = [one.version for one in self.model.opset_import if one.domain in DOMAINS]
        newest = onnx.defs.onnx_opset_version()
        if not versions:
            nodes = self.model.graph.node
            other = sorted({printed(f"{node.domain}.{node.op_type}") for node in nodes if node.domain not in DOMAINS})
            fix = f", and has what is not computed here: {names_text(other)}" if other else "; is it an ONNX file?"
            raise OnnxError(f"it tells no opset of ONNX{fix}")
        if len(set(versions)) > 1 or not OLDEST <= versions[0] <= newest:
            raise OnnxError(
                f"it is of opset {names_text([str(one) for one in versions])}; those from {OLDEST} to {newest} are known to the installed onnx "
                f"{onnx.__version__}: export it for one of them"
            )
        return int(versions[0])

    def _check_operators(self, nodes: Iterable[Any]) -> None:
        """OnnxError that names all operators that are not computed here."""
        import onnx

        missing: dict[str, str] = {}
        for node in nodes:
            domain = "" if node.domain in DOMAINS else node.domain
            name = printed(f"{domain}.{node.op_type}" if domain else node.op_type)
            if domain or node.op_type not in OPERATORS:
                missing[name] = REFUSED.get(node.op_type, "") if not domain else "of a domain of its own"
                continue
            try:
                schema = onnx.defs.get_schema(node.op_type, self.opset, "")
            except onnx.defs.SchemaError:
                missing[name] = f"not in opset {self.opset}"
                continue
            if schema.since_version not in OPERATORS[node.op_type].since:
                missing[name] = f"not as opset {schema.since_version} has it"
        if missing:
            listed = [f"{name} ({reason})" if reason else name for name, reason in sorted(missing.items())]
            if self.model.producer_name == GPUCNN and any(
                one.type.tensor_type.elem_type == 2 for one in self.model.graph.input
            ):
                raise OnnxError(
                    f"it takes decoded images as bytes, and prepares them by {names_text(list(missing))}, which is not computed here; "
                    f"a file that can be trained is that of gpucnn export RUN --float"
                )
            raise OnnxError(
                f"it has {'operators that are' if len(listed) > 1 else 'an operator that is'} not computed here: {names_text(listed, 30)}; "
                f"gpucnn/onnx_model/README.md lists those that are"
            )

    def _declared(self, value: Any, what: str) -> Declared:
        owner = f"the {what} {printed(value.name)}"
        kind = value.type.WhichOneof("value")
        if not value.name or kind not in (None, "tensor_type"):
            raise OnnxError(f"{owner} is a {kind or 'value without a name'}, expected a tensor")
        if kind is None:
            return Declared(value.name, None, None)
        tensor = value.type.tensor_type
        dtype = dtype_of(tensor.elem_type, owner) if tensor.elem_type else None
        if not tensor.HasField("shape"):
            return Declared(value.name, dtype, None)
        if len(tensor.shape.dim) > MOST_AXES:
            raise OnnxError(f"{owner} has {len(tensor.shape.dim):,} axes; an array has at most {MOST_AXES}")
        sizes: list[int | str | None] = []
        for size in tensor.shape.dim:
            given = size.WhichOneof("value")
            sizes.append(None if given is None else getattr(size, given) or None)
            if given == "dim_value" and size.dim_value < 0:
                raise OnnxError(f"{owner} has the size {size.dim_value}, expected sizes >= 0")
            if given == "dim_value":
                sizes[-1] = size.dim_value
        return Declared(value.name, dtype, tuple(sizes))

    def _node(self, number: int, node: Any) -> OnnxNode:
        import onnx

        schema = onnx.defs.get_schema(node.op_type, self.opset, "")
        name = node.name or f"node {number}"
        label = f"{printed(name)} ({node.op_type})"
        takes = _takes(schema, label, list(node.input))
        if not schema.min_output <= len(node.output) <= schema.max_output:
            raise OnnxError(
                f"{label} has {counted(len(node.output), 'output')}, expected {_range(schema.min_output, schema.max_output)}"
            )
        attributes = self._attributes(schema, label, node.attribute)
        if len(kernel := attributes.get("kernel_shape", ())) > MOST_WINDOW_AXES:
            raise OnnxError(
                f"{label}: {node.op_type} of one axis or two is computed here, got kernel_shape {shape_text(kernel)}"
            )
        inputs = list(node.input)
        while inputs and not inputs[-1]:
            inputs.pop()
        return OnnxNode(name, node.op_type, schema.since_version, tuple(inputs), tuple(node.output), attributes, takes)

    def _attributes(self, schema: Any, label: str, given: Sequence[Any]) -> dict[str, Any]:
        from onnx.helper import get_attribute_value

        values = {}
        for name, definition in schema.attributes.items():
            if definition.default_value.type:
                values[name] = _plain(get_attribute_value(definition.default_value))
        seen = set()
        for attribute in given:
            name = attribute.name
            if name not in schema.attributes:
                like = difflib.get_close_matches(name, schema.attributes, 1)
                raise OnnxError(
                    f"{label} has an attribute {value_text(name)} that {schema.name} does not know{f'; did you mean {like[0]}?' if like else ''}"
                )
            wanted = schema.attributes[name].type
            if attribute.type != int(wanted.value) or name in seen or attribute.ref_attr_name:
                raise OnnxError(f"{label} has an attribute {name} twice, or of another type than {wanted.name}")
            seen.add(name)
            if len(attribute.ints) > MOST_INTEGERS and schema.name != "Constant":
                raise OnnxError(f"{label} has {len(attribute.ints):,} integers as {name}, expected at most {MOST_INTEGERS:,}")
            if wanted.name == "TENSOR":
                values[name] = self.tensors.array(attribute.t, f"{label}: {name}")
            elif wanted.name in ("FLOAT", "INT", "STRING", "FLOATS", "INTS", "STRINGS"):
                values[name] = _plain(get_attribute_value(attribute))
            else:
                raise OnnxError(f"{label} has an attribute {name} of type {wanted.name}, which is not computed here")
        for name, definition in schema.attributes.items():
            if definition.required and name not in seen:
                raise OnnxError(f"{label} has no attribute {name}, which {schema.name} needs")
        return values


REFUSED = {
    "QuantizeLinear": "the model is quantized: export the one that it was made of",
    "DequantizeLinear": "the model is quantized: export the one that it was made of",
    "DynamicQuantizeLinear": "the model is quantized: export the one that it was made of",
    "QLinearConv": "the model is quantized: export the one that it was made of",
    "QLinearMatMul": "the model is quantized: export the one that it was made of",
    "ConvInteger": "the model is quantized: export the one that it was made of",
    "MatMulInteger": "the model is quantized: export the one that it was made of",
    "If": "it chooses between sub-graphs: export with fixed choices",
    "Loop": "it repeats a sub-graph: export with the loop unrolled",
    "Scan": "it repeats a sub-graph: export with the loop unrolled",
}
"""Why some operators are not computed, and what to do."""


def _plain(value: Any) -> Any:
    """An attribute's value: bytes as texts, lists as tuples, floats as they were written before they were float32: 1e-05."""
    if isinstance(value, float):
        return float(str(np.float32(value)))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _range(least: int, most: int) -> str:
    if least == most:
        return str(least)
    return f"{least} or more" if most >= 1 << 30 else f"{least} to {most}"


def _takes(schema: Any, label: str, inputs: Sequence[str]) -> tuple[str, ...]:
    """The kinds of dtypes, as NumPy calls them, that each input may have; OnnxError for too few or too many inputs."""
    if not schema.min_input <= len(inputs) <= schema.max_input:
        raise OnnxError(
            f"{label} has {counted(len(inputs), 'input')}, expected {_range(schema.min_input, schema.max_input)}"
        )
    allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
    kinds = []
    for position, name in enumerate(inputs):
        formal = schema.inputs[min(position, len(schema.inputs) - 1)]
        if not name and formal.option.name != "Optional":
            raise OnnxError(f"{label} has no input {position + 1}, {formal.name}, which it needs")
        types = " ".join(allowed.get(formal.type_str, [formal.type_str]))
        has = {
            "f": "float" in types or "double" in types,
            "i": "(int" in types,
            "u": "uint" in types,
            "b": "bool" in types,
        }
        kinds.append("".join(kind for kind, is_there in has.items() if is_there))
    return tuple(kinds)
