"""An ONNX file as a layer: what it computes, node by node, and what of it learns."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Device, as_array, to_device
from gpucnn.checks import Shape, is_int
from gpucnn.errors import DTypeError, GpucnnError, OnnxError, ShapeError
from gpucnn.layers import Layer
from gpucnn.onnx_model.graph import Declared, OnnxGraph, read_onnx_graph
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.node_layer import NodeLayer, computed
from gpucnn.onnx_model.operators import Value
from gpucnn.onnx_model.operators.values import computing
from gpucnn.onnx_model.roles import folded, members_of, with_constants
from gpucnn.onnx_model.weight_tree import WeightTree
from gpucnn.text import counted, names_text, printed, shape_text

LOGITS = "logits"
"""Of several outputs, that which a model gives, if there is one of this name: what gpucnn's own files call what training takes."""


class Step(NamedTuple):
    """One node, as it is computed in a forward pass."""

    node: OnnxNode
    layer: Layer | None
    """That which computes it; None for one without parameters of its own."""
    taken: tuple[str, ...]
    """The names of the values that it is called with."""
    forgotten: tuple[str, ...]
    """Names of values that nothing needs after it."""


class OnnxModel(Layer):
    """What an ONNX file computes, as a layer that trains, as `load_onnx` gives it.

    - `input_shape`: of one input, without the batch axis; None where the file leaves a size open, or there are several inputs.
    - `class_names`: of the file's metadata, None where it has none.
    - `metadata`: all of that, texts by name. `opset`: of the file.

    Weights are parameters, under their names in the file where these can be paths, and a batch norm's running statistics are
    buffers. It is made in evaluation mode, as the file is; `train()` has batch norms and dropout learn.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self.opset, self.metadata = graph.opset, dict(graph.metadata)
        self.class_names = _class_names(self.metadata)
        self._inputs, self._outputs = list(graph.inputs), list(graph.outputs)
        self.input_shape = _open_shape(self._inputs)
        self._wanted = _wanted([one.name for one in self._outputs])
        arrays, nodes = with_constants(graph)
        members = members_of(nodes, arrays)
        constants, nodes = folded({name: one for name, one in arrays.items() if name not in members}, nodes)
        tree = WeightTree(self, nodes, members)
        tree.grow()
        self._constants, self._places = constants, tree.places
        kept = {*constants, *members, *(one.name for one in self._outputs)}
        self._steps = _steps(nodes, tree.layers, kept)
        self.eval()

    def forward(self, *inputs: Any) -> Any:
        """The output for what the file calls its inputs; for several outputs that called "logits", or else a tuple of all."""
        outputs = self.outputs(*inputs)
        if self._wanted is not None:
            return outputs[self._wanted]
        return tuple(outputs)

    def outputs(self, *inputs: Any) -> list[Tensor]:
        """All outputs, in the file's order. Raises ShapeError, DTypeError or OnnxError, which name the node, for what does not fit."""
        values: dict[str, Value] = dict(self._constants)
        values.update((name, getattr(layer, attribute)) for name, (layer, attribute) in self._places.items())
        elements = sum(math.prod(value.shape) for value in (*inputs, *values.values()))
        with computing(self._dtype, elements), np.errstate(all="ignore"):
            values.update(self._taken(inputs))
            for step in self._steps:
                given = [_value(values, name, step.node.label) for name in step.taken]
                results = computed(step.node, given, step.layer)
                values.update((name, value) for name, value in zip(step.node.outputs, results, strict=False) if name)
                for name in step.forgotten:
                    values.pop(name, None)
            return [_as_tensor(_value(values, one.name, "the model"), self._device()) for one in self._outputs]

    def built_for(self) -> Shape | None:
        return self.input_shape

    def describe(self) -> str:
        return f"{counted(len(self._steps), 'node')}, opset {self.opset}"

    def _take(self, x: Any) -> Tensor:
        """Plain arrays keep their dtype, where the file does not ask for floats."""
        wanted = [one.dtype for one in self._inputs]
        if isinstance(x, Tensor) or all(dtype is None or dtype.kind == "f" for dtype in wanted):
            return super()._take(x)
        return Tensor(to_device(as_array(x), self._device()))

    def _device(self) -> Device:
        return next((one.device for one in (*self.parameters(), *(one for _, one in self.named_buffers()))), Device())

    def _taken(self, inputs: Sequence[Any]) -> Iterator[tuple[str, Value]]:
        """The inputs by name; ShapeError or DTypeError for those that are not as the file declares them."""
        if len(inputs) != len(self._inputs):
            names = names_text([one.name for one in self._inputs])
            raise ShapeError(
                f"{self.label}: got {counted(len(inputs), 'input')}, expected {len(self._inputs)}: {names}"
            )
        sizes: dict[str, int] = {}
        for value, declared in zip(inputs, self._inputs, strict=True):
            yield declared.name, _fitting(self.label, value, declared, sizes)


def load_onnx(path: str | os.PathLike[str]) -> OnnxModel:
    """The model in an ONNX file, as a layer that trains.

    Nothing that stands in the file is run, and sizes are checked before memory is taken. OnnxError, which names the file, and the
    node, for what is damaged or not computed here, with all operators that are not; LibraryError without onnx.
    """
    graph = read_onnx_graph(path)
    try:
        return OnnxModel(graph)
    except GpucnnError as error:
        raise OnnxError(f"{printed(str(path))}: {error}") from None


def _steps(nodes: Sequence[OnnxNode], layers: Mapping[int, Layer], kept: set[str]) -> list[Step]:
    """The nodes with what they are called with. From the last on backwards it is known which values, but those `kept`, end there."""
    steps: list[Step] = []
    for number in range(len(nodes) - 1, -1, -1):
        node, layer = nodes[number], layers.get(number)
        own = layer.own if isinstance(layer, NodeLayer) else {}
        taken = tuple(
            name for position, name in enumerate(node.inputs) if position not in own and (name or layer is None)
        )
        names = dict.fromkeys(name for name in (*node.inputs, *node.outputs) if name and name not in kept)
        kept = kept.union(names)
        steps.append(Step(node, layer, taken, tuple(names)))
    return steps[::-1]


def _value(values: Mapping[str, Value], name: str, owner: str) -> Value | None:
    """The value of that name; OnnxError, which says that `owner` takes it, if its node did not give it."""
    if name and name not in values:
        raise OnnxError(f"{owner} takes {printed(name)}, an output that is not computed here")
    return values[name] if name else None


def _as_tensor(value: Value | None, device: Device) -> Tensor:
    assert value is not None
    return value if isinstance(value, Tensor) else Tensor(to_device(value, device))


def _class_names(metadata: Mapping[str, str]) -> list[str] | None:
    """The list of texts that is called class_names, as gpucnn writes it."""
    import json

    try:
        names = json.loads(metadata.get("class_names", ""))
    except (ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None


def _open_shape(inputs: Sequence[Declared]) -> Shape | None:
    """The shape of the only input without its batch axis, if all is known."""
    shape = inputs[0].shape if len(inputs) == 1 else None
    if not shape or not all(is_int(size) for size in shape[1:]):
        return None
    return tuple(size for size in shape[1:] if isinstance(size, int))


def _wanted(outputs: Sequence[str]) -> int | None:
    if len(outputs) == 1:
        return 0
    return outputs.index(LOGITS) if LOGITS in outputs else None


def _fitting(owner: str, value: Any, declared: Declared, sizes: dict[str, int]) -> Value:
    name = printed(declared.name)
    shape = tuple(value.shape)
    if declared.shape is not None:
        fits = len(shape) == len(declared.shape)
        for axis, (size, wanted) in enumerate(zip(shape, declared.shape, strict=False)):
            if isinstance(wanted, int):
                fits = fits and (size == wanted or axis == 0)  # the batch that a file was exported with
            elif isinstance(wanted, str):
                fits = fits and sizes.setdefault(wanted, size) == size
        if not fits:
            expected = shape_text(tuple("?" if size is None else size for size in declared.shape))
            raise ShapeError(f"{owner}: expected the input {name} {expected}, got {shape_text(shape)}")
    if (
        declared.dtype is not None
        and value.dtype != declared.dtype
        and not value.dtype.kind == declared.dtype.kind == "f"
    ):
        fix = "; export the run with --float for a model of floats" if declared.dtype == np.uint8 else ""
        raise DTypeError(f"{owner}: expected the input {name} of {declared.dtype}, got {value.dtype}{fix}")
    return value
