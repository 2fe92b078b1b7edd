"""Activation layers."""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import Shape
from gpucnn.layers.layer import Layer


class ReLU(Layer):
    """max(0, x), element by element, for input of any shape."""

    def forward(self, x: Any) -> Tensor:
        """Input of any shape to output of the same shape."""
        return F.relu(x)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return input_shapes[0]
