"""Activation functions of one curve: the exponential ones, and x times something that goes from 0 to 1.

All are safe for values of any size: no exponential overflows, and where x times 0 would make NaN of minus infinity
(in PyTorch it does), the limit stands. A NaN passes.
"""

import math

from gpucnn.autograd import Operand, Tensor, as_float_tensor, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_choice
from gpucnn.functions.activation import as_finite
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.erf import erf

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

GELU_FORMS = ("none", "tanh")
GELU_CUBIC = 0.044715

EXPONENTIAL_TAIL = 1000.0
"""exp(-|x|) is 0 from here on, in every dtype."""

NORMAL_TAIL = 40.0
"""exp(-x^2 / 2) is 0 from here on, in every dtype; the cube of x fits into a float16."""


@operation
def sigmoid(x: Operand) -> Tensor:
    """1 / (1 + exp(-x)), element by element."""
    x = as_float_tensor("sigmoid", x)
    output = _sigmoid(x.array)
    return record("sigmoid", output, (x,), lambda gradient: (gradient * output * (1 - output),))


@operation
def tanh(x: Operand) -> Tensor:
    """The hyperbolic tangent, element by element."""
    x = as_float_tensor("tanh", x)
    output = xp_of(x.array).tanh(x.array)
    return record("tanh", output, (x,), lambda gradient: (gradient * (1 - output * output),))


@operation
def softplus(x: Operand, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, element by element: a smooth ReLU. Where beta * x > `threshold`, x itself.

    Raises ArgumentError unless `beta` is a finite number > 0 and `threshold` a finite number. Source: Dugas et al.,
    "Incorporating second-order functional knowledge for better option pricing", NIPS 2000.
    """
    x = as_float_tensor("softplus", x)
    beta = as_finite(beta, "softplus: beta", above=0)
    threshold = as_finite(threshold, "softplus: threshold")
    values = x.array
    scaled = beta * values
    straight = scaled > threshold

    def backward(gradient: Array) -> tuple[Array]:
        return (masked(gradient, straight) + masked(gradient * _sigmoid(scaled), ~straight),)

    output = masked(values, straight) + masked(_softplus(scaled) / beta, ~straight)
    return record("softplus", output, (x,), backward)


@operation
def elu(x: Operand, alpha: float = 1.0) -> Tensor:
    """x above zero and alpha * (exp(x) - 1) elsewhere, element by element. The gradient at 0 is `alpha`.

    Raises ArgumentError unless `alpha` is a finite number. Source: Clevert et al., "Fast and accurate deep network
    learning by exponential linear units (ELUs)", ICLR 2016.
    """
    return _elu("elu", x, as_finite(alpha, "elu: alpha"), 1.0)


@operation
def selu(x: Operand) -> Tensor:
    """SELU_SCALE * elu(x, SELU_ALPHA): keeps mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.
    """
    return _elu("selu", x, SELU_ALPHA, SELU_SCALE)


@operation
def gelu(x: Operand, approximate: str = "none") -> Tensor:
    """x times the probability that a standard normal number is below x, element by element.

    With `approximate="tanh"` that is 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), as in GPT-2. Raises
    ArgumentError for another `approximate`. Source: Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", 2016.
    """
    x = as_float_tensor("gelu", x)
    as_choice(approximate, "gelu: approximate", GELU_FORMS)
    xp, values = xp_of(x.array), x.array
    clipped = xp.minimum(xp.maximum(values, -NORMAL_TAIL), NORMAL_TAIL)
    if approximate == "none":
        below = erf(clipped * math.sqrt(0.5))
        below += 1
        below *= 0.5
    else:
        below = 0.5 * (1 + xp.tanh(math.sqrt(2 / math.pi) * (clipped + GELU_CUBIC * clipped * clipped * clipped)))

    def backward(gradient: Array) -> tuple[Array]:
        if approximate == "none":
            density = xp.exp(-0.5 * clipped * clipped) * (1 / math.sqrt(2 * math.pi))
        else:  # of 0.5 * (1 + tanh(u)) it is below * (1 - below) * 2 u'
            growth = math.sqrt(8 / math.pi) * (1 + 3 * GELU_CUBIC * clipped * clipped)
            density = below * (1 - below) * growth
        return (gradient * (below + clipped * density),)

    return record("gelu", xp.maximum(values, -NORMAL_TAIL) * below, (x,), backward)


@operation
def silu(x: Operand) -> Tensor:
    """x * sigmoid(x), element by element; also known as swish.

    Source: Elfwing et al., "Sigmoid-weighted linear units for neural network function approximation in reinforcement
    learning", 2017.
    """
    x = as_float_tensor("silu", x)
    values = x.array
    gate = _sigmoid(values)

    def backward(gradient: Array) -> tuple[Array]:
        x_gradient = 1 - gate
        x_gradient *= _within_tails(values)
        x_gradient += 1
        x_gradient *= gate
        x_gradient *= gradient
        return (x_gradient,)

    output = _above_tail(values)
    output *= gate
    return record("silu", output, (x,), backward)


@operation
def mish(x: Operand) -> Tensor:
    """x * tanh(softplus(x)), element by element. Source: Misra, "Mish: a self regularized activation function", 2019."""
    x = as_float_tensor("mish", x)
    values = x.array
    gate = xp_of(values).tanh(_softplus(values))

    def backward(gradient: Array) -> tuple[Array]:
        return (gradient * (gate + _within_tails(values) * _sigmoid(values) * (1 - gate * gate)),)

    return record("mish", _above_tail(values) * gate, (x,), backward)


def _elu(name: str, x: Operand, alpha: float, scale: float) -> Tensor:
    x = as_float_tensor(name, x)
    xp, values = xp_of(x.array), x.array

    def backward(gradient: Array) -> tuple[Array]:
        positive = values > 0
        below = gradient * (scale * alpha * xp.exp(xp.minimum(values, 0)))
        return (scale * masked(gradient, positive) + masked(below, ~positive),)

    output = scale * xp.maximum(values, 0) + scale * alpha * xp.expm1(xp.minimum(values, 0))
    return record(name, output, (x,), backward)


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), as exp(x) / (1 + exp(x)) below zero, so that the exponential is never above 1."""
    xp = xp_of(x)
    decay = xp.exp(-xp.abs(x))
    output = xp.maximum(decay, x >= 0)
    decay += 1
    output /= decay
    return output


def _softplus(x: Array) -> Array:
    """log(1 + exp(x)), of which the exponential is never above 1."""
    xp = xp_of(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


def _above_tail(x: Array) -> Array:
    """x, but finite on the negative side, where it is multiplied by 0."""
    return xp_of(x).maximum(x, -EXPONENTIAL_TAIL)


def _within_tails(x: Array) -> Array:
    """x, but finite on both sides, where it is multiplied by 0."""
    return xp_of(x).minimum(_above_tail(x), EXPONENTIAL_TAIL)
