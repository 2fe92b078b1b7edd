"""A call of a function of the model, as those see it who write it as ONNX nodes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpucnn.backend import to_host
from gpucnn.checks import Shape, as_items
from gpucnn.errors import GraphError
from gpucnn.export.onnx_graph import OnnxGraph
from gpucnn.functions.broadcasting import as_axes
from gpucnn.layers.graph import IMAGES, Batch, Constant, GraphNode, Input, ModelGraph, Repeated, Saved, Sizes

INT64 = np.dtype(np.int64)

Nodes: TypeAlias = "dict[str, Callable[[Call], str]]"
"""For functions, by their names, what puts them into a graph and gives the name of what comes out."""


OPERANDS = (
    *("x", "a", "b", "tensors", "condition", "low", "high", "exponent", "weight", "bias", "residual", "index", "shape"),
    *("running_mean", "running_var"),
)
"""The arguments that are arrays, or may depend on the number of images; all others are settings, which are written down."""


class Call:
    """One node of a model's graph, with the names that what it takes has in the ONNX graph."""

    def __init__(self, graph: OnnxGraph, model: ModelGraph, node: GraphNode, names: Mapping[int, str]) -> None:
        self.graph, self._model, self.node, self._names = graph, model, node, names
        self.arguments: dict[str, Any] = {
            name: value if name in OPERANDS else self._setting(value) for name, value in node.arguments.items()
        }
        self.dtype: np.dtype = node.output.dtype

    def put(self, op: str, *inputs: str | None, **attributes: Any) -> str:
        """The name of what a new node of the call's layer gives."""
        return self.graph.put(op, inputs, at=self.node.path, **attributes)

    @property
    def x(self) -> str:
        """The name of the argument x, in its own dtype."""
        return self.value(self.arguments["x"])

    def value(self, argument: Any, dtype: np.dtype | None = None) -> str:
        """The name of an argument; as an array of `dtype`, if that is given."""
        if isinstance(argument, Input | Saved):
            own = self.dtype_of(argument)
            if isinstance(argument, Input):
                name = self._names[argument.number]
            else:
                name = self.graph.array(to_host(self._model.saved[argument.path]), argument.path)
            return name if dtype in (None, own) else self.cast(name, np.dtype(dtype))
        if isinstance(argument, Repeated):
            single = argument.array if dtype is None else argument.array.astype(dtype)
            return self.put("Expand", self.graph.array(single), self.whole(argument.sizes))
        if isinstance(argument, Batch):
            count = self.put("Squeeze", self.whole([argument]), self.ints([0]))
            return count if dtype in (None, INT64) else self.cast(count, np.dtype(dtype))
        return self.graph.array(np.asarray(argument.array if isinstance(argument, Constant) else argument, dtype))

    def optional(self, name: str) -> str | None:
        """The name of an argument in the call's dtype; None for None."""
        argument = self.arguments[name]
        return None if argument is None else self.value(argument, self.dtype)

    def sizes_of(self, argument: Any) -> Sizes:
        """The shape of an argument."""
        if isinstance(argument, Input):
            if argument.number == IMAGES:
                return (Batch(1), *self._model.images.shape[1:])
            return self._model.nodes[argument.number].sizes
        if isinstance(argument, Repeated):
            return argument.sizes
        if isinstance(argument, Saved):
            return tuple(self._model.saved[argument.path].shape)
        return np.shape(argument.array if isinstance(argument, Constant) else argument)

    def dtype_of(self, argument: Any) -> np.dtype:
        """The dtype of an argument that is another node's, or the model's."""
        if isinstance(argument, Saved):
            array: Any = self._model.saved[argument.path]
        else:
            array = self._model.images if argument.number == IMAGES else self._model.nodes[argument.number].output
        dtype: np.dtype = np.dtype(array.dtype)
        return dtype

    @property
    def sizes(self) -> Sizes:
        """The shape of x."""
        return self.sizes_of(self.arguments["x"])

    @property
    def spatial(self) -> Shape:
        """The sizes of x after images and channels."""
        return self.fixed(self.sizes[2:])

    def fixed(self, sizes: Sizes) -> Shape:
        """Sizes as ints; GraphError where one depends on the number of images."""
        found = tuple(size for size in sizes if isinstance(size, int))
        if len(found) != len(sizes):
            raise self.refused(
                "images whose size depends on their number",
                "keep the number of images on an axis of its own, the first",
            )
        return found

    def axes(self, argument: str = "axis") -> tuple[int, ...]:
        """The axes of x that an argument names, from 0."""
        return as_axes(self.node.function, len(self.sizes), self.arguments[argument])

    def number(self, value: float) -> str:
        """The name of a number in the call's dtype."""
        return self.graph.array(np.asarray(value, self.dtype))

    def ints(self, values: Sequence[int]) -> str:
        """The name of a row of whole numbers."""
        return self.graph.array(np.asarray(values, np.int64))

    def whole(self, values: Sequence[int | Batch]) -> str:
        """The name of a row of whole numbers, of which some may depend on the number of images."""
        if not any(isinstance(value, Batch) for value in values):
            return self.ints([value for value in values if isinstance(value, int)])
        images = self.put("Gather", self.put("Shape", self._names[IMAGES]), self.ints([0]), axis=0)
        parts = []
        for value in values:
            if not isinstance(value, Batch):
                parts.append(self.ints([value]))
            elif value.times is None:
                raise self.refused("a shape of which two sizes depend on the number of images", "let one be -1")
            else:
                parts.append(images if value.times == 1 else self.put("Mul", images, self.ints([value.times])))
        return parts[0] if len(parts) == 1 else self.put("Concat", *parts, axis=0)

    def cast(self, name: str, dtype: np.dtype) -> str:
        """An array in another dtype."""
        from onnx import helper

        return self.put("Cast", name, to=helper.np_dtype_to_tensor_dtype(dtype))

    def reshaped(self, name: str, sizes: Sizes) -> str:
        """An array in another shape."""
        growing = [size for size in sizes if isinstance(size, Batch)]
        if len(growing) == 1:  # one size is worked out
            return self.put("Reshape", name, self.ints([size if isinstance(size, int) else -1 for size in sizes]))
        return self.put("Reshape", name, self.whole(sizes))

    def reduced(self, op: str, name: str, axes: Sequence[int], keepdims: bool = True) -> str:
        """Sums, means or extremes over `axes`: an input of ReduceSum, and since opset 18 of all others."""
        if not axes:
            return name
        if op == "ReduceSum" or self.graph.opset >= 18:
            return self.put(op, name, self.ints(axes), keepdims=int(keepdims))
        return self.put(op, name, axes=list(axes), keepdims=int(keepdims))

    def activated(self, name: str) -> str:
        """What the argument `activation` makes of a result."""
        return name if self.arguments["activation"] is None else self.put("Relu", name)

    def holds(self, value: float) -> bool:
        """Whether an ONNX attribute, a float32, has the value as exactly as the call's dtype."""
        return bool(self.dtype.type(np.float32(value)) == self.dtype.type(value))

    def refused(self, what: str, fix: str) -> GraphError:
        """That a call cannot be written."""
        return GraphError(f"{self.node.path or 'the model'}: {self.node.function}: ONNX has no form for {what}; {fix}")

    def _setting(self, value: Any) -> Any:
        """An argument that is written down: an array as the numbers in it."""
        if isinstance(value, tuple):
            return tuple(map(self._setting, value))
        if isinstance(value, Batch | Repeated):
            raise self.refused("a size that depends on the number of images", "take one that does not")
        return value.array.tolist() if isinstance(value, Constant) else value


def numbers_of(value: Any) -> tuple[Any, ...]:
    """One value or several, as a tuple."""
    items = as_items(value)
    return (value,) if items is None else items
