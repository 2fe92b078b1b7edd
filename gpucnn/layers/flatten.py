"""From feature maps to feature vectors."""

import math
from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import Shape
from gpucnn.errors import ShapeError
from gpucnn.layers.layer import Layer
from gpucnn.text import shape_text


class Flatten(Layer):
    """All axes but the first as one: (N, C, H, W) to (N, C * H * W). ShapeError for input of a single axis, or of none."""

    def forward(self, x: Any) -> Tensor:
        """Input (N, ...) to (N, product of the other sizes)."""
        return F.flatten(x)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        shape = input_shapes[0]
        if len(shape) < 2:
            raise ShapeError(
                f"{self.label}: expected input (N, ...) of two axes or more, got {shape_text(shape)}; "
                f"give single samples a batch axis with x[None]"
            )
        return shape[0], math.prod(shape[1:])
