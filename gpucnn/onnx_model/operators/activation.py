"""Activations."""

import math
from collections.abc import Callable

from gpucnn import functions as F
from gpucnn.autograd import Operand, Tensor, as_tensor
from gpucnn.backend import xp_of
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Function, Inputs, Operator
from gpucnn.onnx_model.operators.values import needed, number
from gpucnn.text import shape_text

SELU = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def plain(function: Callable[[Operand], Tensor]) -> Function:
    """An operator that is a function of one input, and no more."""

    def computed(node: OnnxNode, inputs: Inputs) -> Tensor:
        return function(needed(inputs, 0))

    return computed


def leaky_relu(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.leaky_relu`."""
    return F.leaky_relu(needed(inputs, 0), node.number("alpha", 0.01))


def prelu(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.prelu` for one slope, or one a channel, given as (C, 1, 1); other slopes broadcast to the input."""
    x, slope = as_tensor(needed(inputs, 0)), as_tensor(needed(inputs, 1))
    if slope.size == 1:
        return F.prelu(x, F.reshape(slope, (1,)))
    if node.since < 7:
        return F.prelu(x, slope)
    if x.ndim > 1 and slope.shape == (x.shape[1], *[1] * (x.ndim - 2)):
        return F.prelu(x, F.reshape(slope, (-1,)))
    padded = (1,) * (x.ndim - slope.ndim) + slope.shape
    if len(padded) != x.ndim or any(size not in (1, full) for size, full in zip(padded, x.shape, strict=True)):
        raise ShapeError(f"expected a slope that broadcasts to {shape_text(x.shape)}, got {shape_text(slope.shape)}")
    return F.where(x.array > 0, x, F.multiply(x, slope))


def elu(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.elu`."""
    return F.elu(needed(inputs, 0), node.number("alpha", 1.0))


def selu(node: OnnxNode, inputs: Inputs) -> Tensor:
    """gamma * elu(x, alpha); with the defaults `F.selu`."""
    alpha, gamma = node.number("alpha", SELU[0]), node.number("gamma", SELU[1])
    x = needed(inputs, 0)
    return F.selu(x) if _are_close((alpha, gamma), SELU) else F.multiply(F.elu(x, alpha), gamma)


def celu(node: OnnxNode, inputs: Inputs) -> Tensor:
    """alpha * elu(x / alpha)."""
    alpha = node.number("alpha", 1.0)
    if not math.isfinite(alpha) or alpha == 0:
        raise ArgumentError(f"alpha must be a number other than 0, got {alpha}")
    return F.multiply(F.elu(F.multiply(needed(inputs, 0), 1 / alpha)), alpha)


def hard_sigmoid(node: OnnxNode, inputs: Inputs) -> Tensor:
    """alpha * x + beta, from 0 to 1; with a sixth and a half `F.hardsigmoid`."""
    alpha, beta, x = node.number("alpha", 0.2), node.number("beta", 0.5), needed(inputs, 0)
    if _are_close((alpha, beta), (1 / 6, 0.5)):
        return F.hardsigmoid(x)
    return F.clip(F.add(F.multiply(x, alpha), beta), 0.0, 1.0)


def _are_close(numbers: tuple[float, ...], others: tuple[float, ...]) -> bool:
    return all(math.isclose(one, other, rel_tol=1e-6) for one, other in zip(numbers, others, strict=True))


def softsign(node: OnnxNode, inputs: Inputs) -> Tensor:
    """x / (1 + |x|)."""
    x = needed(inputs, 0)
    return F.divide(x, F.add(F.abs(x), 1.0))


def swish(node: OnnxNode, inputs: Inputs) -> Tensor:
    """x * sigmoid(alpha * x)."""
    x, alpha = needed(inputs, 0), node.number("alpha", 1.0)
    return F.silu(x) if alpha == 1 else F.multiply(x, F.sigmoid(F.multiply(x, alpha)))


def thresholded_relu(node: OnnxNode, inputs: Inputs) -> Tensor:
    """x where it is above alpha, else 0."""
    x = as_tensor(needed(inputs, 0))
    return F.where(x.array > node.number("alpha", 1.0), x, 0.0)


def shrink(node: OnnxNode, inputs: Inputs) -> Tensor:
    """Values beyond lambd moved towards 0 by bias; the others are 0."""
    x, limit, bias = as_tensor(needed(inputs, 0)), node.number("lambd", 0.5), node.number("bias")
    if x.dtype.kind != "f":
        return F.astype(shrink(node, [F.astype(x, "float64")]), x.dtype)
    values = x.array
    return F.where(values < -limit, F.add(x, bias), F.where(values > limit, F.subtract(x, bias), 0.0))


def gelu(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.gelu`."""
    return F.gelu(needed(inputs, 0), node.text("approximate", "none"))


def clip(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.clip`, with limits as inputs, before opset 11 as attributes; from 0 to 6 `F.relu6`. Where limits cross, max stands."""
    x = as_tensor(needed(inputs, 0))
    if node.since < 11:
        low, high = node.attributes.get("min"), node.attributes.get("max")
    else:
        low, high = number(node, inputs, 1, "min"), number(node, inputs, 2, "max")
    if x.dtype.kind != "f":
        x = x if low is None else F.maximum(x, low)
        return x if high is None else F.minimum(x, high)
    if (low, high) == (0, 6):
        return F.relu6(x)
    if low is not None and high is not None and low > high:
        low = high
    return F.clip(x, low, high)


def softmax(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.softmax` along `axis`; before opset 13 along all axes from that on, together."""
    x = as_tensor(needed(inputs, 0))
    return F.softmax(x, _softmax_axes(node, x))


def log_softmax(node: OnnxNode, inputs: Inputs) -> Tensor:
    """The logarithm of `softmax`, with its axes."""
    x = as_tensor(needed(inputs, 0))
    return F.log_softmax(x, _softmax_axes(node, x))


def hardmax(node: OnnxNode, inputs: Inputs) -> Tensor:
    """1 at the first maximum along the axes of `softmax`, 0 elsewhere; without a gradient."""
    x = as_tensor(needed(inputs, 0))
    axes = _softmax_axes(node, x)
    if isinstance(axes, int):
        places = F.argmax(x, axes, keepdims=True).array
        along = xp_of(places).arange(x.shape[axes]).reshape(-1, *[1] * (x.ndim - 1 - axes % x.ndim))
        return Tensor((places == along).astype(x.dtype))
    rows = F.reshape(x.detach(), (*x.shape[: x.ndim - len(axes)], math.prod(x.shape[x.ndim - len(axes) :])))
    places = F.argmax(rows, rows.ndim - 1, keepdims=True).array
    found = Tensor((places == xp_of(places).arange(rows.shape[-1])).astype(x.dtype))
    return F.reshape(found, x.shape)


def _softmax_axes(node: OnnxNode, x: Tensor) -> int | tuple[int, ...]:
    if node.since >= 13:
        return node.integer("axis", -1)
    axis = node.integer("axis", 1)
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"axis {axis} must name an axis of {shape_text(x.shape)}")
    return tuple(range(axis % x.ndim, x.ndim))


OPERATORS = {
    "Celu": Operator(celu, (12,)),
    "Clip": Operator(clip, (1, 6, 11, 12, 13)),
    "Elu": Operator(elu, (1, 6, 22)),
    "Gelu": Operator(gelu, (20,)),
    "HardSigmoid": Operator(hard_sigmoid, (1, 6, 22)),
    "HardSwish": Operator(plain(F.hardswish), (14, 22)),
    "Hardmax": Operator(hardmax, (1, 11, 13)),
    "LeakyRelu": Operator(leaky_relu, (1, 6, 16)),
    "LogSoftmax": Operator(log_softmax, (1, 11, 13)),
    "Mish": Operator(plain(F.mish), (18, 22)),
    "PRelu": Operator(prelu, (1, 6, 7, 9, 16), learns={1: "weight"}),
    "Relu": Operator(plain(F.relu), (1, 6, 13, 14)),
    "Selu": Operator(selu, (1, 6, 22)),
    "Shrink": Operator(shrink, (9,)),
    "Sigmoid": Operator(plain(F.sigmoid), (1, 6, 13)),
    "Softmax": Operator(softmax, (1, 11, 13)),
    "Softplus": Operator(plain(F.softplus), (1, 22)),
    "Softsign": Operator(softsign, (1, 22)),
    "Swish": Operator(swish, (24,)),
    "Tanh": Operator(plain(F.tanh), (1, 6, 13)),
    "ThresholdedRelu": Operator(thresholded_relu, (10, 22)),
}
