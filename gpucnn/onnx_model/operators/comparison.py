"""Conditions: comparisons, which give bools, what is made of bools, and Where, which chooses by them."""

import numpy as np

from gpucnn import functions as F
from gpucnn.backend import xp_of
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operands import (
    all_needed,
    check_bools,
    check_broadcast,
    check_one_dtype,
    learns,
    like,
    raw,
    raws,
)
from gpucnn.onnx_model.operators.operator import Function, Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import needed


def _comparing(name: str) -> Function:
    def computed(node: OnnxNode, inputs: Inputs) -> Value:
        check_one_dtype(inputs)
        check_broadcast(inputs)
        x, y = raws(inputs)
        return like(inputs, xp_of(x).asarray(getattr(xp_of(x), name)(x, y)))

    return computed


def _of_bools(name: str) -> Function:
    def computed(node: OnnxNode, inputs: Inputs) -> Value:
        arrays = raws(inputs)
        check_bools(arrays)
        check_broadcast(inputs)
        xp = xp_of(arrays[0])
        return like(inputs, xp.asarray(getattr(xp, name)(*arrays)))

    return computed


def where(node: OnnxNode, inputs: Inputs) -> Value:
    """The second input where the first holds, else the third."""
    condition, a, b = all_needed(inputs)
    check_one_dtype([a, b])
    check_broadcast(inputs)
    if learns(a, b):
        return F.where(raw(condition), a, b)
    chosen, x, y = raws([condition, a, b])
    check_bools([chosen])
    return like(inputs, xp_of(chosen).asarray(xp_of(chosen).where(chosen, x, y)))


def is_nan(node: OnnxNode, inputs: Inputs) -> Value:
    """Where a value is not a number."""
    x = raw(needed(inputs, 0))
    return like(inputs, xp_of(x).asarray(x != x))


def is_inf(node: OnnxNode, inputs: Inputs) -> Value:
    """Where a value is infinite, of both signs unless one is not to be detected."""
    x = raw(needed(inputs, 0))
    above = (x == np.inf) & bool(node.integer("detect_positive", 1))
    below = (x == -np.inf) & bool(node.integer("detect_negative", 1))
    return like(inputs, xp_of(x).asarray(above | below))


OPERATORS = {
    "Equal": Operator(_comparing("equal"), (1, 7, 11, 13, 19)),
    "Less": Operator(_comparing("less"), (1, 7, 9, 13)),
    "LessOrEqual": Operator(_comparing("less_equal"), (12, 16)),
    "Greater": Operator(_comparing("greater"), (1, 7, 9, 13)),
    "GreaterOrEqual": Operator(_comparing("greater_equal"), (12, 16)),
    "And": Operator(_of_bools("logical_and"), (1, 7)),
    "Or": Operator(_of_bools("logical_or"), (1, 7)),
    "Xor": Operator(_of_bools("logical_xor"), (1, 7)),
    "Not": Operator(_of_bools("logical_not"), (1,)),
    "Where": Operator(where, (9, 16)),
    "IsNaN": Operator(is_nan, (9, 13, 20)),
    "IsInf": Operator(is_inf, (10, 20)),
}
