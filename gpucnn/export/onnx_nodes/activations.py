"""Activation functions as ONNX nodes."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from gpucnn.export.onnx_call import Call, Nodes
from gpucnn.functions.activation import prelu_weight_shape, softmax_axes
from gpucnn.functions.smooth_activation import GELU_CUBIC, SELU_ALPHA, SELU_SCALE


def _as(op: str) -> Callable[[Call], str]:
    return lambda call: call.put(op, call.x)


def relu6(call: Call) -> str:
    """The range from 0 to 6."""
    return call.put("Clip", call.x, call.number(0), call.number(6))


def leaky_relu(call: Call) -> str:
    """Its own node; in float64 that of slopes which are arrays, as attributes are float32."""
    slope = call.arguments["negative_slope"]
    if call.holds(slope):
        return call.put("LeakyRelu", call.x, alpha=float(slope))
    return call.put("PRelu", call.x, call.number(slope))


def prelu(call: Call) -> str:
    """Slopes broadcast from the last axis, so those of channels get axes of size 1."""
    weight = call.arguments["weight"]
    shape = call.node.shape
    along = prelu_weight_shape("prelu", shape, call.fixed(call.sizes_of(weight)))
    slopes = call.value(weight, call.dtype)
    return call.put("PRelu", call.x, slopes if len(along) == 1 else call.reshaped(slopes, along))


def hardsigmoid(call: Call) -> str:
    """Its own node; in float64 the sum, as the node's 1/6 is a float32."""
    if call.holds(1 / 6):
        return call.put("HardSigmoid", call.x, alpha=1 / 6, beta=0.5)
    return _sixths(call, call.x)


def hardswish(call: Call) -> str:
    """Its own node, which opset 14 brought; in float64, as hardsigmoid, the product."""
    if call.graph.opset >= 14 and call.holds(1 / 6):
        return call.put("HardSwish", call.x)
    return call.put("Mul", call.x, _sixths(call, call.x))


def _sixths(call: Call, x: str) -> str:
    clipped = call.put("Clip", call.put("Add", x, call.number(3)), call.number(0), call.number(6))
    return call.put("Div", clipped, call.number(6))


def softplus(call: Call) -> str:
    """Its own node for beta 1; x itself above a threshold at which there is a difference."""
    beta, threshold = call.arguments["beta"], call.arguments["threshold"]
    scaled = call.x if beta == 1 else call.put("Mul", call.x, call.number(beta))
    curved = call.put("Softplus", scaled)
    if beta != 1:
        curved = call.put("Div", curved, call.number(beta))
    if threshold > 0 and math.exp(-threshold) < threshold * np.finfo(call.dtype).eps / 4:
        return curved
    return call.put("Where", call.put("Greater", scaled, call.number(threshold)), call.x, curved)


def elu(call: Call) -> str:
    """Its own node; in float64, where that would round alpha, the two sides."""
    alpha = call.arguments["alpha"]
    if call.holds(alpha):
        return call.put("Elu", call.x, alpha=float(alpha))
    return _two_sides(call, alpha, 1.0)


def selu(call: Call) -> str:
    """Its own node; in float64 the two sides."""
    if call.holds(SELU_ALPHA) and call.holds(SELU_SCALE):
        return call.put("Selu", call.x, alpha=SELU_ALPHA, gamma=SELU_SCALE)
    return _two_sides(call, SELU_ALPHA, SELU_SCALE)


def _two_sides(call: Call, alpha: float, scale: float) -> str:
    below = call.put(
        "Mul", call.put("Elu", call.put("Min", call.x, call.number(0)), alpha=1.0), call.number(alpha * scale)
    )
    above = call.put("Mul", call.put("Relu", call.x), call.number(scale))
    return call.put("Add", above, below)


def gelu(call: Call) -> str:
    """Its own node since opset 20, before that, and where its constants would be rounded, its formula."""
    form = call.arguments["approximate"]
    if call.graph.opset >= 20 and (form == "none" or call.holds(GELU_CUBIC)):
        return call.put("Gelu", call.x, approximate=form)
    x = call.x
    if form == "none":
        inner = call.put("Erf", call.put("Mul", x, call.number(math.sqrt(0.5))))
    else:
        cube = call.put("Mul", call.put("Mul", call.put("Mul", x, x), x), call.number(GELU_CUBIC))
        inner = call.put("Tanh", call.put("Mul", call.put("Add", x, cube), call.number(math.sqrt(2 / math.pi))))
    share = call.put("Mul", call.put("Add", inner, call.number(1)), call.number(0.5))
    return call.put("Mul", x, share)


def silu(call: Call) -> str:
    """x times its sigmoid."""
    return call.put("Mul", call.x, call.put("Sigmoid", call.x))


def mish(call: Call) -> str:
    """Its own node since opset 18, before that its formula."""
    if call.graph.opset >= 18:
        return call.put("Mish", call.x)
    return call.put("Mul", call.x, call.put("Tanh", call.put("Softplus", call.x)))


def softmax(call: Call, op: str = "Softmax") -> str:
    """Softmax, or its logarithm: over several axes by shifted exponentials."""
    axes = softmax_axes(call.node.function, call.node.shape, call.arguments["axis"])
    if isinstance(axes, int):
        return call.put(op, call.x, axis=axes)
    shifted = call.put("Sub", call.x, call.reduced("ReduceMax", call.x, axes))
    powers = call.put("Exp", shifted)
    total = call.reduced("ReduceSum", powers, axes)
    return call.put("Div", powers, total) if op == "Softmax" else call.put("Sub", shifted, call.put("Log", total))


NODES: Nodes = {
    "relu": _as("Relu"),
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "prelu": prelu,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "sigmoid": _as("Sigmoid"),
    "tanh": _as("Tanh"),
    "softplus": softplus,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "mish": mish,
    "softmax": softmax,
    "log_softmax": partial(softmax, op="LogSoftmax"),
}
