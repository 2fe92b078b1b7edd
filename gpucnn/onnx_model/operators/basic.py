"""Operators that do nothing, or hardly anything, to values: constants, casts, dropout."""

from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import as_tensor
from gpucnn.backend import xp_of
from gpucnn.errors import ArgumentError
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import float_dtype, needed, number
from gpucnn.onnx_model.tensor import dtype_of

NUMBERS = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}


NAMES = (
    "FLOAT",
    "UINT8",
    "INT8",
    "UINT16",
    "INT16",
    "INT32",
    "INT64",
    "STRING",
    "BOOL",
    "FLOAT16",
    "DOUBLE",
    "UINT32",
    "UINT64",
)
"""Of dtypes, in the order of their numbers."""


def identity(node: OnnxNode, inputs: Inputs) -> Value:
    """The values as they are."""
    return needed(inputs, 0)


def constant(node: OnnxNode, inputs: Inputs) -> Value:
    """The one attribute that it has: an array, a number, or a list of numbers."""
    given = [name for name in ("value", *NUMBERS) if name in node.attributes]
    if len(given) != 1:
        raise ArgumentError("expected one value, an array, a number or a list of numbers")
    return np.asarray(node.attributes[given[0]], NUMBERS.get(given[0]))


def cast(node: OnnxNode, inputs: Inputs) -> Value:
    """The values in another dtype; floats of up to 32 bits are of the model's dtype."""
    to = node.attributes["to"]
    if isinstance(to, str):  # before version 6
        to = NAMES.index(to) + 1 if to in NAMES else 0
    return _converted(needed(inputs, 0), dtype_of(int(to), "what is asked for"))


def cast_like(node: OnnxNode, inputs: Inputs) -> Value:
    """The values in the dtype of the second input."""
    return _converted(needed(inputs, 0), needed(inputs, 1).dtype)


def _converted(value: Value, dtype: np.dtype) -> Value:
    if dtype == np.float32:
        dtype = float_dtype()
    with np.errstate(invalid="ignore", over="ignore"):
        return value.astype(dtype) if isinstance(value, np.ndarray) else F.astype(value, dtype)


def dropout(node: OnnxNode, inputs: Inputs) -> Any:
    """What it is in evaluation: nothing, with a mask that lets all through. One whose ratio the file has is a layer, see `NodeLayer`."""
    x = needed(inputs, 0)
    if number(node, inputs, 2, "training_mode") and number(node, inputs, 1, "ratio") != 0:
        raise ArgumentError("training_mode needs a ratio that the file has, and no mask as an output")
    if len(node.outputs) == 1:
        return x
    array = as_tensor(x).array
    return [x, as_tensor(xp_of(array).ones(array.shape, bool if node.since >= 10 else array.dtype))]


OPERATORS = {
    "Cast": Operator(cast, (1, 6, 9, 13, 19, 21, 23, 24, 25), passes=(0,)),
    "CastLike": Operator(cast_like, (15, 19, 21, 23, 24, 25), passes=(0,)),
    "Constant": Operator(constant, (1, 9, 11, 12, 13, 19, 21, 23, 24, 25)),
    "Dropout": Operator(dropout, (1, 6, 7, 10, 12, 13, 22)),
    "Identity": Operator(identity, (1, 13, 14, 16, 19, 21, 23, 24, 25), passes=(0,)),
}
