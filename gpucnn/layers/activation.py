"""Activation layers: the functions of `functions.activation` and `functions.smooth_activation`, with their arguments."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import Shape, as_choice, as_count
from gpucnn.functions.activation import as_finite, prelu_weight_shape, softmax_axes
from gpucnn.functions.smooth_activation import GELU_FORMS
from gpucnn.layers.layer import Layer
from gpucnn.layers.parameter import Parameter


class Activation(Layer):
    """What all of them have in common: input of any shape to output of the same shape.

    A subclass names its `function`, and the attributes that are its `arguments`; or it writes a `forward` of its own.
    """

    function: Callable[..., Tensor]
    arguments: tuple[str, ...] = ()

    def forward(self, x: Any) -> Tensor:
        return self.function(x, *(getattr(self, name) for name in self.arguments))

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return input_shapes[0]

    def describe(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.arguments)


class ReLU(Activation):
    """max(0, x), element by element."""

    function = staticmethod(F.relu)


class ReLU6(Activation):
    """min(max(0, x), 6), element by element."""

    function = staticmethod(F.relu6)


class LeakyReLU(Activation):
    """x above zero and negative_slope * x elsewhere. ArgumentError unless `negative_slope` is a finite number."""

    function = staticmethod(F.leaky_relu)
    arguments = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = as_finite(negative_slope, "LeakyReLU: negative_slope")


class PReLU(Activation):
    """x above zero and weight * x elsewhere, for input of any shape, or (N, num_parameters, ...).

    - `weight`: (num_parameters,), `init` at the start: one slope for all, or one per channel. Weight decay pulls it to
      zero, so one that is learnt wants none.

    Raises ArgumentError unless `num_parameters` is an int >= 1 and `init` a finite number, ShapeError for input with
    another number of channels.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.num_parameters = as_count(num_parameters, "PReLU: num_parameters")
        self.init = as_finite(init, "PReLU: init")
        self.weight = Parameter((self.num_parameters,), self._initial)

    def forward(self, x: Any) -> Tensor:
        return F.prelu(x, self.weight)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        prelu_weight_shape(self.label, input_shapes[0], self.weight.shape)
        return input_shapes[0]

    def describe(self) -> str:
        return f"{self.num_parameters}, init={self.init}"

    def _initial(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return np.full(shape, self.init)


class Hardsigmoid(Activation):
    """relu6(x + 3) / 6, element by element."""

    function = staticmethod(F.hardsigmoid)


class Hardswish(Activation):
    """x * relu6(x + 3) / 6, element by element."""

    function = staticmethod(F.hardswish)


class Sigmoid(Activation):
    """1 / (1 + exp(-x)), element by element."""

    function = staticmethod(F.sigmoid)


class Tanh(Activation):
    """The hyperbolic tangent, element by element."""

    function = staticmethod(F.tanh)


class Softplus(Activation):
    """log(1 + exp(beta * x)) / beta, element by element; where beta * x > `threshold`, x itself.

    Raises ArgumentError unless `beta` is a finite number > 0 and `threshold` a finite number.
    """

    function = staticmethod(F.softplus)
    arguments = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = as_finite(beta, "Softplus: beta", above=0)
        self.threshold = as_finite(threshold, "Softplus: threshold")


class ELU(Activation):
    """x above zero and alpha * (exp(x) - 1) elsewhere. ArgumentError unless `alpha` is a finite number."""

    function = staticmethod(F.elu)
    arguments = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = as_finite(alpha, "ELU: alpha")


class SELU(Activation):
    """1.0507 * elu(x, 1.6733), element by element: keeps mean 0 and variance 1 from layer to layer."""

    function = staticmethod(F.selu)


class GELU(Activation):
    """x times the probability that a standard normal number is below x; with `approximate="tanh"`, as in GPT-2.

    Raises ArgumentError unless `approximate` is "none" or "tanh".
    """

    function = staticmethod(F.gelu)
    arguments = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = as_choice(approximate, "GELU: approximate", GELU_FORMS)


class SiLU(Activation):
    """x * sigmoid(x), element by element; also known as swish."""

    function = staticmethod(F.silu)


class Mish(Activation):
    """x * tanh(softplus(x)), element by element."""

    function = staticmethod(F.mish)


class Softmax(Activation):
    """exp(x) / sum(exp(x)) along `axis`, or several together: logits to probabilities. ShapeError for input without it.

    Not for training with F.cross_entropy, which takes the logits themselves.
    """

    function = staticmethod(F.softmax)
    arguments = ("axis",)

    def __init__(self, axis: int | Sequence[int] | None = 1) -> None:
        self.axis = axis

    def output_shape(self, *input_shapes: Shape) -> Shape:
        softmax_axes(self.label, input_shapes[0], self.axis)
        return input_shapes[0]
