"""An ONNX file as a layer: what it computes, node by node, and what of it learns."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import Device, as_array, to_device
from gpucnn.checks import Shape, as_path, is_int
from gpucnn.errors import DTypeError, OnnxError, ShapeError
from gpucnn.layers import Layer
from gpucnn.onnx_model.gelu import with_gelu
from gpucnn.onnx_model.graph import GPUCNN, Declared, OnnxGraph, read_onnx_graph
from gpucnn.onnx_model.graph_order import leading_to
from gpucnn.onnx_model.node_layer import computed
from gpucnn.onnx_model.onnx_file import naming
from gpucnn.onnx_model.operators import Value
from gpucnn.onnx_model.operators.values import check_all, computing, float_dtype
from gpucnn.onnx_model.roles import folded, members_of, with_constants
from gpucnn.onnx_model.step import Step, steps_of
from gpucnn.onnx_model.weight_tree import WeightTree
from gpucnn.text import counted, names_text, shape_text
from gpucnn.text_table import shortened

LOGITS = "logits"
"""Of several outputs, that which a model gives, if there is one of this name: what gpucnn's own files call what training takes."""


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
        names = [one.name for one in self._outputs]
        unfolded = with_constants(graph)
        unfolded = unfolded._replace(nodes=with_gelu(unfolded.nodes, unfolded.arrays, names))
        self._elements = sum(array.size for array in unfolded.arrays.values())  # of the file, not what is made of them
        members = members_of(unfolded, graph.producer == GPUCNN)
        plain = {name: array for name, array in unfolded.arrays.items() if name not in members}
        constants, nodes = folded(plain, unfolded.nodes)
        tree = WeightTree(self, nodes, members, constants, names)
        tree.grow()
        self._constants, self._places = constants, tree.places
        self._file_dtype = self._dtype_of([one for one in self._inputs if one.dtype is not None])
        layers = {node: tree.layers[number] for number, node in enumerate(nodes) if number in tree.layers}
        self._steps = steps_of(nodes, layers, {*constants, *members, *names})
        wanted = names if self._wanted is None else names[self._wanted : self._wanted + 1]
        self._steps_to_wanted = steps_of(leading_to(wanted, nodes), layers, {*constants, *members, *wanted})
        self.eval()

    def forward(self, *inputs: Any) -> Any:
        """The output for what the file calls its inputs; for several outputs that called "logits", or else a tuple of all."""
        if self._wanted is None:
            return tuple(self.outputs(*inputs))
        return self._computed(self._steps_to_wanted, [self._outputs[self._wanted].name], inputs)[0]

    def outputs(self, *inputs: Any) -> list[Tensor]:
        """All outputs, in the file's order. Raises ShapeError, DTypeError or OnnxError, which name the node, for what does not fit."""
        return self._computed(self._steps, [one.name for one in self._outputs], inputs)

    def _computed(self, steps: Sequence[Step], names: Sequence[str], inputs: Sequence[Any]) -> list[Tensor]:
        """The values of these names."""
        values: dict[str, Value] = dict(self._constants)
        dtype = self._dtype_of(inputs)
        if dtype != self._file_dtype:
            for name, array in self._constants.items():
                if array.dtype == self._file_dtype:
                    values[name] = array.astype(dtype)
        values.update((name, getattr(layer, attribute)) for name, (layer, attribute) in self._places.items())
        elements = self._elements + sum(math.prod(value.shape) for value in inputs)
        with computing(None if dtype == self._file_dtype else dtype, elements), np.errstate(all="ignore"):
            values.update(self._taken(inputs))
            moved = 0
            for step in steps:
                given = [_value(values, name, step.node.label) for name in step.taken]
                results = computed(step.node, given, step.layer)
                moved += sum(math.prod(one.shape) for one in (*given, *results) if one is not None)
                check_all(moved)
                values.update((name, value) for name, value in zip(step.node.outputs, results, strict=False) if name)
                for name in step.forgotten:
                    values.pop(name, None)
            return [_as_tensor(_value(values, name, "the model"), self._device()) for name in names]

    def built_for(self) -> Shape | None:
        return self.input_shape

    def describe(self) -> str:
        return f"{counted(len(self._steps), 'node')}, opset {self.opset}"

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`forward`. Plain arrays are taken in the dtype that the file declares, floats in the model's."""
        taken = [*map(self._as_declared, inputs, self._inputs), *inputs[len(self._inputs) :]]
        return super().__call__(*taken, **options)

    def _take(self, x: Any) -> Tensor:
        """What goes in first, as a tensor: so a graph of the model begins."""
        taken = self._as_declared(x, self._inputs[0]) if self._inputs else x
        return super()._take(taken)

    def _as_declared(self, x: Any, declared: Declared) -> Any:
        """A plain array of what the file calls no floats as a tensor of that dtype; anything else as it is."""
        dtype = declared.dtype
        if isinstance(x, Tensor) or dtype is None or dtype.kind == "f":
            return x
        array = as_array(x)
        with np.errstate(invalid="ignore"):
            converted = array.astype(dtype)
        if bool((converted != array).any()):
            raise _other_dtype(self.label, declared, array.dtype)
        return Tensor(to_device(converted, self._device()))

    def _dtype_of(self, inputs: Sequence[Any]) -> np.dtype:
        """That of the model's weights; of one without any float64 also where its inputs are, and the file does not say so."""
        given = zip(inputs, self._inputs, strict=False)
        wide = any(x.dtype == np.float64 and declared.dtype == np.float32 for x, declared in given)
        return np.dtype(np.float64) if wide and next(self.parameters(), None) is None else self._dtype

    def _device(self) -> Device:
        return next((one.device for one in (*self.parameters(), *(one for _, one in self.named_buffers()))), Device())

    def _taken(self, inputs: Sequence[Any]) -> Iterator[tuple[str, Value]]:
        """The inputs by name; ShapeError or DTypeError for those that are not as the file declares them."""
        if len(inputs) != len(self._inputs):
            names = names_text([shortened(one.name) for one in self._inputs])
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
    with naming(as_path(path, "load_onnx: path")):
        return OnnxModel(graph)


def _value(values: Mapping[str, Value], name: str, owner: str) -> Value | None:
    """The value of that name; OnnxError, which says that `owner` takes it, if its node did not give it."""
    if name and name not in values:
        raise OnnxError(f"{owner} takes {shortened(name)}, an output that is not computed here")
    return values[name] if name else None


def _as_tensor(value: Value | None, device: Device) -> Tensor:
    assert value is not None
    return value if isinstance(value, Tensor) else Tensor(to_device(value, device))


def _class_names(metadata: Mapping[str, str]) -> list[str] | None:
    """The list of texts that is called class_names, as gpucnn writes it."""
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
    name = shortened(declared.name)
    shape = tuple(value.shape)
    if declared.shape is not None:
        fits = len(shape) == len(declared.shape)
        for axis, (size, wanted) in enumerate(zip(shape, declared.shape, strict=False)):
            if isinstance(wanted, int):
                fits = fits and (size == wanted or axis == 0)  # the batch that a file was exported with
            elif isinstance(wanted, str):
                fits = fits and sizes.setdefault(wanted, size) == size
        if not fits:
            sizes_told = [shortened(size) if isinstance(size, str) else size for size in declared.shape]
            expected = shape_text(["?" if size is None else size for size in sizes_told])
            raise ShapeError(f"{owner}: expected the input {name} {expected}, got {shape_text(shape)}")
    taken: Value = value
    if declared.dtype is None or taken.dtype == declared.dtype:
        return taken
    if value.dtype.kind != "f" or declared.dtype.kind != "f":
        raise _other_dtype(owner, declared, value.dtype)
    return F.astype(taken, float_dtype()) if taken.dtype == np.float16 else taken


def _other_dtype(owner: str, declared: Declared, dtype: np.dtype) -> DTypeError:
    fix = "; a model of floats is that of `gpucnn export --float`" if declared.dtype == np.uint8 else ""
    return DTypeError(f"{owner}: expected the input {shortened(declared.name)} of {declared.dtype}, got {dtype}{fix}")
