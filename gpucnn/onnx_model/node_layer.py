"""A node with parameters of its own as a layer, and how any node is computed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor, no_grad
from gpucnn.backend import to_host
from gpucnn.checks import Shape
from gpucnn.errors import DTypeError, GpucnnError, OnnxError
from gpucnn.layers import Layer
from gpucnn.layers.trace import current_calls
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators import OPERATORS, Inputs, Value
from gpucnn.onnx_model.operators.values import are_known
from gpucnn.text import shape_text


class NodeLayer(Layer):
    """One node, whose weights are attributes."""

    def __init__(self, node: OnnxNode) -> None:
        self.node = node
        self.own: dict[int, str] = {}
        """By their positions among the node's inputs the names of attributes."""

    def _called(self, tensors: list[Tensor], options: dict[str, Any]) -> Tensor:
        """Without a look at the shape first, for which the node would be computed twice."""
        return self._compute(tensors, options) if current_calls.get() is None else super()._called(tensors, options)

    def forward(self, *inputs: Any) -> Any:
        """The node's output, or outputs in a tuple, for those of its inputs that are no weights."""
        return self._computed(self._all(inputs))

    def _computed(self, inputs: Inputs) -> Any:
        return OPERATORS[self.node.operator].function(self.node, inputs)

    def _all(self, inputs: Sequence[Any]) -> list[Value | None]:
        """The node's inputs, the weights among them, in their order."""
        given = iter(inputs)
        return [
            getattr(self, self.own[position]) if position in self.own else next(given) if name else None
            for position, name in enumerate(self.node.inputs)
        ]

    def output_shape(self, *input_shapes: Shape) -> Shape:
        with no_grad():
            zeros = [np.broadcast_to(self._dtype.type(0), shape) for shape in input_shapes]
            output = computed(self.node, self._all(list(map(Tensor, zeros))), None)[0]
        return tuple(output.shape)

    def multiply_adds(self, *input_shapes: Shape) -> int:
        weight = getattr(self, self.own[1]) if 1 in self.own else None
        if weight is None:
            return 0
        if self.node.operator == "Conv":
            return math.prod(self.output_shape(*input_shapes)) * math.prod(weight.shape[1:])
        if self.node.operator == "ConvTranspose":
            return math.prod(input_shapes[0]) * math.prod(weight.shape[1:])
        if self.node.operator in ("Gemm", "MatMul"):
            inner = weight.shape[-1] if self.node.integer("transB") else weight.shape[-2] if weight.ndim > 1 else 1
            return math.prod(self.output_shape(*input_shapes)) * inner
        return 0

    def describe(self) -> str:
        return self.node.operator


class BatchNormNode(NodeLayer):
    """A batch norm, whose running statistics move in training, as those of `layers.BatchNorm2d` do.

    ONNX's momentum is what is kept of the statistics, gpucnn's what the batch adds.
    """

    def _computed(self, inputs: Inputs) -> Any:
        x, scale, shift, mean, variance = inputs
        if not self.training:
            return super()._computed(inputs)
        share = 1 - self.node.number("momentum", 0.9)
        return F.batch_norm(x, mean, variance, scale, shift, True, share, self.node.number("epsilon", 1e-5))


LAYERS: dict[str, type[NodeLayer]] = {
    "BatchNormalization": BatchNormNode,
    **dict.fromkeys(
        (
            "Conv",
            "ConvTranspose",
            "Gemm",
            "GroupNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "MatMul",
            "PRelu",
        ),
        NodeLayer,
    ),
}
"""The operators that are layers where they have weights of their own."""


def node_layer(node: OnnxNode) -> NodeLayer:
    """The layer of a node that has weights, which are to be set as attributes."""
    return LAYERS[node.operator](node)


def computed(node: OnnxNode, inputs: Inputs, layer: Layer | None) -> list[Value]:
    """The node's outputs, as `layer` gives them, if there is one. Errors name the node."""
    try:
        for position, (value, kinds) in enumerate(zip(inputs, node.takes, strict=False)):
            if value is not None and layer is None and value.dtype.kind not in kinds:
                raise DTypeError(f"input {position + 1} is of {value.dtype}, which {node.operator} does not take")
        if layer is not None:
            found = layer(*inputs)
        else:
            found = OPERATORS[node.operator].function(node, inputs)
        results = list(found) if isinstance(found, list | tuple) else [found]
        if layer is None and are_known(inputs):
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
    error.args = (f"{node.label}: {error}", *error.args[1:])
    return error


def _given(inputs: Inputs) -> str:
    return " of " + ", ".join(shape_text(one.shape) for one in inputs if one is not None) if inputs else ""
