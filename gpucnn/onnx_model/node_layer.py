"""A node with parameters of its own as a layer, and how any node is computed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor, as_tensor, no_grad
from gpucnn.backend import to_host
from gpucnn.checks import Shape
from gpucnn.errors import DTypeError, GpucnnError, OnnxError
from gpucnn.layers import Layer, Parameter
from gpucnn.layers.trace import current_calls
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators import OPERATORS, Inputs, Value
from gpucnn.onnx_model.operators.operands import all_needed
from gpucnn.onnx_model.operators.values import are_known, unnoted
from gpucnn.text import shape_text
from gpucnn.text_table import shortened

LONGEST = 800
"""Columns of a message: texts in a file may be of any length."""


class NodeLayer(Layer):
    """One node, whose weights are attributes."""

    def __init__(self, node: OnnxNode) -> None:
        self.onnx_node = node
        self.weight_names: dict[int, str] = {}
        """By their positions among the node's inputs the names of attributes."""

    def _called(self, tensors: list[Tensor], options: dict[str, Any]) -> Tensor:
        """Without a look at the shape first, for which the node would be computed twice."""
        return self._compute(tensors, options) if current_calls.get() is None else super()._called(tensors, options)

    def forward(self, *inputs: Any) -> Tensor:
        """The node's first output, the only one that is used, for those of its inputs that are no weights."""
        return self._computed(self._all(inputs))

    def _computed(self, inputs: Inputs) -> Tensor:
        found = OPERATORS[self.onnx_node.operator].function(self.onnx_node, inputs)
        first = found[0] if isinstance(found, list | tuple) else found
        assert isinstance(first, Tensor)
        return first

    def _all(self, inputs: Sequence[Any]) -> list[Value | None]:
        """The node's inputs, the weights among them, in their order."""
        given = iter(inputs)
        return [
            getattr(self, self.weight_names[position])
            if position in self.weight_names
            else next(given)
            if name
            else None
            for position, name in enumerate(self.onnx_node.inputs)
        ]

    def output_shape(self, *input_shapes: Shape) -> Shape:
        with no_grad():
            zeros = [np.broadcast_to(self._dtype.type(0), shape) for shape in input_shapes]
            output = computed(self.onnx_node, self._all(list(map(Tensor, zeros))), None)[0]
        return tuple(output.shape)

    def multiply_adds(self, *input_shapes: Shape) -> int:
        return 0

    def describe(self) -> str:
        weight = self._weight()
        return "" if weight is None else shape_text(weight.shape)

    def _weight(self) -> Parameter | None:
        """That which the second input is, if it is the layer's own."""
        return getattr(self, self.weight_names[1]) if 1 in self.weight_names else None


class Conv(NodeLayer):
    """A convolution."""

    def multiply_adds(self, *input_shapes: Shape) -> int:
        weight = self._weight()
        return 0 if weight is None else math.prod(self.output_shape(*input_shapes)) * math.prod(weight.shape[1:])


class ConvTranspose(NodeLayer):
    """A transposed convolution."""

    def multiply_adds(self, *input_shapes: Shape) -> int:
        weight = self._weight()
        return 0 if weight is None else math.prod(input_shapes[0]) * math.prod(weight.shape[1:])


class MatMul(NodeLayer):
    """A product with a matrix."""

    def multiply_adds(self, *input_shapes: Shape) -> int:
        inner = input_shapes[0][-2 if self.onnx_node.integer("transA") else -1]
        return math.prod(self.output_shape(*input_shapes)) * inner


class Gemm(MatMul):
    """A product with a matrix, and a bias."""


class BatchNormalization(NodeLayer):
    """A batch norm, whose running statistics move in training, as those of `layers.BatchNorm2d` do.

    The layer's mode says whether they do, not the file's training_mode: PyTorch writes that for models that are to be trained.
    ONNX's momentum is what is kept of the statistics, gpucnn's what the batch adds.
    """

    def _computed(self, inputs: Inputs) -> Tensor:
        x, scale, shift, mean, variance = map(as_tensor, all_needed(inputs))
        share = float(f"{1 - self.onnx_node.number('momentum', 0.9):.7g}")  # 0.1, not 0.09999999999999998
        return F.batch_norm(
            x, mean, variance, scale, shift, self.training, share, self.onnx_node.number("epsilon", 1e-5)
        )


class InstanceNormalization(NodeLayer):
    """Each channel of each image normalised by itself."""


class GroupNormalization(NodeLayer):
    """Groups of channels normalised."""


class LayerNormalization(NodeLayer):
    """The last axes normalised."""


class RMSNormalization(NodeLayer):
    """The last axes divided by the root of their mean square."""


class PRelu(NodeLayer):
    """A leaky ReLU with slopes that are learnt."""


LAYERS: dict[str, type[NodeLayer]] = {
    layer.__name__: layer
    for layer in (
        Conv, ConvTranspose, MatMul, Gemm, BatchNormalization, InstanceNormalization, GroupNormalization,
        LayerNormalization, RMSNormalization, PRelu,
    )
}  # fmt: skip
"""The operators that are layers where they have weights of their own."""


def node_layer(node: OnnxNode) -> NodeLayer:
    """The layer of a node that has weights, which are to be set as attributes."""
    return LAYERS[node.operator](node)


def computed(node: OnnxNode, inputs: Inputs, layer: Layer | None) -> list[Value]:
    """The node's outputs, as `layer` gives them, if there is one. Errors name the node."""
    is_known = layer is None and are_known(inputs)
    try:
        for position, (value, kinds) in enumerate(zip(inputs, node.takes, strict=False)):
            if value is not None and layer is None and value.dtype.kind not in kinds:
                raise DTypeError(f"input {position + 1} is of {value.dtype}, which {node.operator} does not take")
        if is_known:
            with unnoted():
                found: Any = OPERATORS[node.operator].function(node, inputs)
        else:
            found = layer(*inputs) if layer is not None else OPERATORS[node.operator].function(node, inputs)
        results: list[Value] = list(found) if isinstance(found, list | tuple) else [found]
        if is_known:
            return [to_host(one.array) if isinstance(one, Tensor) else one for one in results]
        return results
    except GpucnnError as error:
        if layer is not None and str(error).startswith(layer.label):
            raise
        raise _named(error, node, inputs) from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise OnnxError(f"{node.label}: cannot be computed{_given(inputs)}: {error}") from None


def _named(error: GpucnnError, node: OnnxNode, inputs: Inputs) -> GpucnnError:
    """The error with the node before it, and what it was given behind."""
    error.args = (f"{node.label}: {shortened(str(error), LONGEST)}", *error.args[1:])
    return error


def _given(inputs: Inputs) -> str:
    return " of " + ", ".join(shape_text(one.shape) for one in inputs if one is not None) if inputs else ""
