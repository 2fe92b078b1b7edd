"""What operators have in common: what their inputs are, and limits of what they make."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from gpucnn.autograd import Tensor, no_grad
from gpucnn.autograd.calls import calls_noted
from gpucnn.backend import to_host
from gpucnn.checks import Shape
from gpucnn.errors import DTypeError, OnnxError, ShapeError
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Inputs, Value
from gpucnn.text import shape_text

MOST_MADE = 1 << 26
"""Elements that one node may make, however little the model is given: a file of a few bytes can ask for any number."""

GROWTH = 1 << 12
"""Beside that a node may make as many times the elements that the model is given, and has."""

SHARE = 4
"""So many times what one may make all nodes together may take and make: what takes time is bounded, too."""

MOST_FOLDED = 1 << 24
"""Those that one may make while the file is read."""


MOST_INTEGERS = 1 << 12
"""In a shape, in axes and the like. The product of a million sizes is a number that takes minutes."""


class TooLarge(ShapeError):
    """What one node would make is more than it may."""


_most_made: "ContextVar[int]" = ContextVar("most_made", default=MOST_MADE)
_float_dtype: "ContextVar[np.dtype | None]" = ContextVar("float_dtype", default=None)


def float_dtype() -> np.dtype:
    """The dtype of the model's floats, if that is not the file's: a cast to float, of bytes say, gives it. Else float32."""
    return _float_dtype.get() or np.dtype(np.float32)


@contextmanager
def computing(dtype: np.dtype | None, elements: int) -> Iterator[None]:
    """Inside, a model's floats are of `dtype`, None for the file's, and it has, and was given, so many `elements`."""
    tokens = _float_dtype.set(dtype), _most_made.set(max(MOST_MADE, GROWTH * elements))
    try:
        yield
    finally:
        _float_dtype.reset(tokens[0])
        _most_made.reset(tokens[1])


@contextmanager
def folding() -> Iterator[None]:
    """Inside, nodes are computed whose values the file determines."""
    token = _most_made.set(MOST_FOLDED)
    try:
        yield
    finally:
        _most_made.reset(token)


@contextmanager
def unnoted() -> Iterator[None]:
    """Inside, no gradients are kept, and no calls are noted: what is known is a number to who draws a graph, and no node of it."""
    token = calls_noted.set(None)
    try:
        with no_grad():
            yield
    finally:
        calls_noted.reset(token)


def are_known(inputs: Inputs) -> bool:
    """Whether all inputs are known without looking at images: host arrays."""
    return all(value is None or isinstance(value, np.ndarray) for value in inputs)


def known(node: OnnxNode, inputs: Inputs, position: int) -> np.ndarray | None:
    """The input at `position` as a host array, e.g. a shape; None if it is left out. What was computed is read."""
    value = inputs[position] if position < len(inputs) else None
    return to_host(value.array) if isinstance(value, Tensor) else value


def integers(node: OnnxNode, inputs: Inputs, position: int, name: str) -> tuple[int, ...] | None:
    """The input at `position`, a list of integers such as a shape or axes; None if it is left out.

    ShapeError or DTypeError, which calls it `name`, for anything else.
    """
    array = known(node, inputs, position)
    if array is None:
        return None
    if array.dtype.kind not in "iu":
        raise DTypeError(f"expected {name} as integers, got {array.dtype}")
    if array.ndim > 1 or array.size > MOST_INTEGERS:
        raise ShapeError(f"expected {name} as a list of at most {MOST_INTEGERS:,} integers, got {shape_text(array.shape)}")
    return tuple(map(int, array.reshape(-1).tolist()))


def number(node: OnnxNode, inputs: Inputs, position: int, name: str) -> Any:
    """The input at `position`, a single number; None if it is left out. ShapeError, which calls it `name`, for several."""
    array = known(node, inputs, position)
    if array is None:
        return None
    if array.size != 1:
        raise ShapeError(f"expected {name} as a single number, got {shape_text(array.shape)}")
    return array.reshape(()).item()


def needed(inputs: Inputs, position: int) -> Value:
    """The input at `position`, which the reader has made sure of."""
    value = inputs[position]
    assert value is not None
    return value


def optional(inputs: Inputs, position: int) -> Value | None:
    """The input at `position`, None if it is left out."""
    return inputs[position] if position < len(inputs) else None


def check_all(elements: int) -> None:
    """OnnxError if so many elements, which all nodes together take and make, are more than `SHARE` times what one may make."""
    most = SHARE * _most_made.get()
    if elements > most:
        raise OnnxError(f"its nodes take and make more than {most:,} elements in all, for inputs and weights this small")


def check_made(shape: Sequence[int]) -> Shape:
    """`shape` itself, of what a node is about to make; ShapeError if that is more than one may."""
    most = _most_made.get()
    if any(size < 0 for size in shape) or math.prod(shape) > most:
        raise TooLarge(
            f"it would make an array {shape_text(tuple(shape))}; sizes are at least 0, and one node makes at most {most:,} elements"
        )
    return tuple(shape)
