"""Arithmetic element by element, with broadcasting: Add to Mod, and Sum, Mean, Min and Max of several inputs.

Tensors of floats go through gpucnn.functions, so that gradients find their way; integers, such as the sizes of a shape, do not.
"""

import functools
from collections.abc import Callable

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Operand, Tensor, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.functions.broadcasting import broadcastable, sum_to
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operands import (
    all_needed,
    check_broadcast,
    check_one_dtype,
    learns,
    like,
    operand,
    raws,
)
from gpucnn.onnx_model.operators.operator import Function, Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import needed

OfTensors = Callable[[Operand, Operand], Tensor]
OfArrays = Callable[[Array, Array], Array]


def _of_several(of_tensors: OfTensors, of_arrays: OfArrays | str) -> Function:
    """The operator that is `of_tensors` where gradients go, and `of_arrays`, or NumPy's function of that name, elsewhere."""

    def computed(node: OnnxNode, inputs: Inputs) -> Value:
        values = _aligned(node, all_needed(inputs))
        return functools.reduce(functools.partial(_of_two, of_tensors, of_arrays), values)

    return computed


def _of_two(of_tensors: OfTensors, of_arrays: OfArrays | str, a: Value, b: Value) -> Value:
    check_one_dtype([a, b])
    check_broadcast([a, b])
    if learns(a, b):
        return of_tensors(a, b)
    x, y = raws([a, b])
    compute = getattr(xp_of(x), of_arrays) if isinstance(of_arrays, str) else of_arrays
    with np.errstate(all="ignore"):
        return like([a, b], xp_of(x).asarray(compute(x, y), x.dtype))


def mean(node: OnnxNode, inputs: Inputs) -> Value:
    """The mean of one input and more."""
    total = _of_several(F.add, "add")(node, inputs)
    assert isinstance(total, Tensor | np.ndarray)
    return _of_two(F.divide, "divide", total, np.asarray(len(inputs), total.dtype))


def power(node: OnnxNode, inputs: Inputs) -> Value:
    """The exponent may have another dtype; the result has that of the base."""
    base, exponent = _aligned(node, all_needed(inputs))
    check_broadcast([base, exponent])
    if learns(base, exponent) and base.dtype.kind == "f":
        if not learns(exponent) and exponent.size == 1 and exponent.ndim <= base.ndim:
            return F.power(base, raws([exponent])[0].item())
        same = exponent.dtype == base.dtype
        return F.power(base, exponent if same else F.astype(operand(exponent), base.dtype))
    x, y = raws([base, exponent])
    if x.dtype.kind != "f" and y.dtype.kind != "f" and (y < 0).any():  # NumPy refuses these
        y = y.astype(np.float64)
    with np.errstate(all="ignore"):
        return like([base, exponent], xp_of(x).asarray(xp_of(x).power(x, y)).astype(x.dtype, copy=False))


def modulo(node: OnnxNode, inputs: Inputs) -> Value:
    """The remainder, with the sign of the divisor, or, with `fmod`, of what is divided."""
    function, name = (fmod, "fmod") if node.integer("fmod") else (mod, "mod")
    return _of_two(function, name, needed(inputs, 0), needed(inputs, 1))


@operation
def mod(a: Operand, b: Operand) -> Tensor:
    """What is left of a when it is divided by b, with b's sign."""
    return _remainder("mod", a, b)


@operation
def fmod(a: Operand, b: Operand) -> Tensor:
    """What is left of a when it is divided by b, with a's sign."""
    return _remainder("fmod", a, b)


def _remainder(name: str, a: Operand, b: Operand) -> Tensor:
    a, b = broadcastable(name, a, b)
    x, y = a.array, b.array
    xp = xp_of(x)

    def backward(gradient: Array) -> tuple[Array, Array]:
        with np.errstate(all="ignore"):
            whole = xp.floor(x / y) if name == "mod" else xp.trunc(x / y)
            return sum_to(gradient, x.shape), sum_to(-gradient * whole, y.shape)

    with np.errstate(all="ignore"):
        return record(name, getattr(xp, name)(x, y), (a, b), backward)


def _quotient(x: Array, y: Array) -> Array:
    """x / y; of integers without the remainder, rounded towards 0."""
    if x.dtype.kind == "f":
        return x / y
    below = x // y
    return below + ((below < 0) & (below * y != x)).astype(x.dtype)


def _aligned(node: OnnxNode, values: list[Value]) -> list[Value]:
    """Before version 7 the axes of the second of two could begin at `axis` of the first's, which today is a shape with ones."""
    if node.since < 7 and node.integer("broadcast") and "axis" in node.attributes and len(values) == 2:
        a, b = values
        after = a.ndim - node.integer("axis") % max(a.ndim, 1) - b.ndim
        if after > 0:
            return [a, like(b, F.reshape(operand(b), (*b.shape, *[1] * after)))]
    return values


SINCE = (1, 6, 7, 13, 14)
OPERATORS = {
    "Add": Operator(_of_several(F.add, "add"), SINCE, learns={0: "bias", 1: "bias"}),
    "Sub": Operator(_of_several(F.subtract, "subtract"), SINCE),
    "Mul": Operator(_of_several(F.multiply, "multiply"), SINCE, learns={0: "weight", 1: "weight"}),
    "Div": Operator(_of_several(F.divide, _quotient), SINCE),
    "Pow": Operator(power, (1, 7, 12, 13, 15)),
    "Mod": Operator(modulo, (10, 13)),
    "Sum": Operator(_of_several(F.add, "add"), (1, 6, 8, 13)),
    "Min": Operator(_of_several(F.minimum, "minimum"), (1, 6, 8, 12, 13)),
    "Max": Operator(_of_several(F.maximum, "maximum"), (1, 6, 8, 12, 13)),
    "Mean": Operator(mean, (1, 6, 8, 13)),
}
