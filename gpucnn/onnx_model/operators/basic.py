"""Operators that do nothing, or hardly anything, to values: constants, casts."""

from typing import Any

import numpy as np

from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import needed


def identity(node: OnnxNode, inputs: Inputs) -> Value:
    return needed(inputs, 0)


def constant(node: OnnxNode, inputs: Inputs) -> Value:
    """The one attribute that it has: an array, a number, or a list of numbers."""
    kinds: dict[str, Any] = {
        "value_int": np.int64,
        "value_ints": np.int64,
        "value_float": np.float32,
        "value_floats": np.float32,
    }
    if "value" in node.attributes:
        return np.asarray(node.attributes["value"])
    name = next(name for name in kinds if name in node.attributes)
    return np.asarray(node.attributes[name], kinds[name])


OPERATORS = {
    "Identity": Operator(identity, (1, 13, 14, 16, 19, 21, 23, 24, 25), passes=(0,)),
    "Constant": Operator(constant, (1, 9, 11, 12, 13, 19, 21, 23, 24, 25)),
}
