"""The fully connected layer, and Flatten, which makes its input of feature maps."""

import math
from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import Shape, as_count, as_flag, check_activation
from gpucnn.errors import ShapeError
from gpucnn.geometry import linear_shape
from gpucnn.layers.initialization import initializer, zeros
from gpucnn.layers.layer import Layer
from gpucnn.layers.parameter import Initializer, Parameter
from gpucnn.text import shape_text


class Linear(Layer):
    """x @ weight^T + bias: (..., in_features) to (..., out_features), with any leading axes, e.g. (N,) or (N, L).

    - `weight`: (out_features, in_features). `bias`: (out_features,), zeros at the start; None if `bias=False`.
    - `activation`: None, or "relu", which then costs no pass of its own.
    - `initialize`: how the weight starts, by name or as a function, see `layers.initialization`.

    Raises ArgumentError for sizes below 1, ShapeError for input that does not fit.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: str | None = None,
        initialize: "str | Initializer" = "he_normal",
    ) -> None:
        self.in_features = as_count(in_features, "Linear: in_features")
        self.out_features = as_count(out_features, "Linear: out_features")
        self.weight = Parameter((out_features, in_features), initializer(initialize))
        self.activation = activation
        check_activation("Linear", activation)
        self.bias = Parameter((out_features,), zeros) if as_flag(bias, "Linear: bias") else None

    def forward(self, x: Any, activation: str | None = None) -> Tensor:
        """Input (..., in_features) to (..., out_features)."""
        return F.linear(x, self.weight, self.bias, activation or self.activation)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return linear_shape(self.label, input_shapes[0], self.weight.shape)

    def multiply_adds(self, *input_shapes: Shape) -> int:
        return math.prod(input_shapes[0][:-1]) * self.weight.size

    def describe(self) -> str:
        text = f"{self.in_features}, {self.out_features}"
        return text if self.activation is None else f"{text}, activation={self.activation!r}"


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
