"""Functions of one value, element by element: Sqrt, Exp, Sin and their kin, each with its derivative; and Floor to Sign."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Operand, Tensor, as_float_tensor, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.kernels.erf import erf as erf_of
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operands import like, operand, raw
from gpucnn.onnx_model.operators.operator import Function, Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import needed

Formula = Callable[[Any, Array], Array]
"""Of the array module and x."""
Derivative = Callable[[Any, Array, Array], Array]
"""Of the array module, x and what came out of it."""

CURVES: dict[str, tuple[Formula, Derivative]] = {
    "reciprocal": (lambda xp, x: 1 / x, lambda xp, x, y: -y * y),
    "sin": (lambda xp, x: xp.sin(x), lambda xp, x, y: xp.cos(x)),
    "cos": (lambda xp, x: xp.cos(x), lambda xp, x, y: -xp.sin(x)),
    "tan": (lambda xp, x: xp.tan(x), lambda xp, x, y: 1 + y * y),
    "asin": (lambda xp, x: xp.arcsin(x), lambda xp, x, y: 1 / xp.sqrt(1 - x * x)),
    "acos": (lambda xp, x: xp.arccos(x), lambda xp, x, y: -1 / xp.sqrt(1 - x * x)),
    "atan": (lambda xp, x: xp.arctan(x), lambda xp, x, y: 1 / (1 + x * x)),
    "sinh": (lambda xp, x: xp.sinh(x), lambda xp, x, y: xp.cosh(x)),
    "cosh": (lambda xp, x: xp.cosh(x), lambda xp, x, y: xp.sinh(x)),
    "asinh": (lambda xp, x: xp.arcsinh(x), lambda xp, x, y: 1 / xp.sqrt(x * x + 1)),
    "acosh": (lambda xp, x: xp.arccosh(x), lambda xp, x, y: 1 / xp.sqrt(x * x - 1)),
    "atanh": (lambda xp, x: xp.arctanh(x), lambda xp, x, y: 1 / (1 - x * x)),
    "erf": (lambda xp, x: erf_of(x), lambda xp, x, y: xp.exp(-x * x) * x.dtype.type(2 / np.sqrt(np.pi))),
}
"""What gpucnn.functions has not: the formula, and its derivative."""


@operation
def curve(x: Operand, name: str) -> Tensor:
    """The one of `CURVES` called `name`."""
    x = as_float_tensor(name, x)
    values, (formula, derivative) = x.array, CURVES[name]
    xp = xp_of(values)
    with np.errstate(all="ignore"):
        output = formula(xp, values)

    def backward(gradient: Array) -> tuple[Array]:
        with np.errstate(all="ignore"):
            return (gradient * derivative(xp, values, output),)

    return record(name, output, (x,), backward)


def _smooth(function: Callable[[Operand], Tensor]) -> Function:
    def computed(node: OnnxNode, inputs: Inputs) -> Value:
        with np.errstate(all="ignore"):
            return like(needed(inputs, 0), function(operand(needed(inputs, 0))))

    return computed


def _in_steps(name: str) -> Function:
    """Floor and its kin, which are flat wherever they have a derivative: no gradient goes back."""

    def computed(node: OnnxNode, inputs: Inputs) -> Value:
        x = raw(needed(inputs, 0))
        with np.errstate(invalid="ignore"):
            return like(needed(inputs, 0), xp_of(x).asarray(getattr(xp_of(x), name)(x)))

    return computed


VERSIONS = {
    "reciprocal": (1, 6, 13),
    "erf": (9, 13),
    **dict.fromkeys(("sinh", "cosh", "asinh", "acosh", "atanh"), (9, 22)),
}
OPERATORS = {
    "Sqrt": Operator(_smooth(F.sqrt), (1, 6, 13)),
    "Exp": Operator(_smooth(F.exp), (1, 6, 13)),
    "Log": Operator(_smooth(F.log), (1, 6, 13)),
    "Neg": Operator(_smooth(F.negative), (1, 6, 13)),
    "Abs": Operator(_smooth(F.abs), (1, 6, 13)),
    "Floor": Operator(_in_steps("floor"), (1, 6, 13)),
    "Ceil": Operator(_in_steps("ceil"), (1, 6, 13)),
    "Round": Operator(_in_steps("rint"), (11, 22)),
    "Sign": Operator(_in_steps("sign"), (9, 13)),
    **{
        name.capitalize(): Operator(_smooth(functools.partial(curve, name=name)), VERSIONS.get(name, (7, 22)))
        for name in CURVES
    },
}
