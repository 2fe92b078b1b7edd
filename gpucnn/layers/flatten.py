"""From feature maps to feature vectors."""

import math
from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import Shape
from gpucnn.layers.layer import Layer


class Flatten(Layer):
    """All axes but the first as one: (N, C, H, W) to (N, C * H * W)."""

    def forward(self, x: Any) -> Tensor:
        """Input (N, ...) to (N, product of the other sizes)."""
        return F.flatten(x)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return input_shapes[0][0], math.prod(input_shapes[0][1:])
