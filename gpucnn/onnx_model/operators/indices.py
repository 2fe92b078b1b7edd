"""Elements by their places: Slice and Gather, and what makes shapes and places: ConstantOfShape, Range."""

import math

import numpy as np

from gpucnn import functions as F
from gpucnn.backend import Array, xp_of
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.functions.broadcasting import as_axes
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operands import check_one_dtype, like, operand, raw
from gpucnn.onnx_model.operators.operator import Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import check_made, integers, known, needed
from gpucnn.text import shape_text


def cut(node: OnnxNode, inputs: Inputs) -> Value:
    """From `starts` to before `ends`, in `steps`, of some axes; places that lie outside are taken for the outermost."""
    x = needed(inputs, 0)
    starts, ends, axes, steps = (
        node.integers(name) or integers(node, inputs, position, name) or ()
        for position, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    axes = as_axes("axes", x.ndim, axes or tuple(range(len(starts))))
    steps = steps or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ShapeError(
            f"expected a start, an end and a step other than 0 for each of {len(axes)} axes, got {shape_text(starts)}, "
            f"{shape_text(ends)} and {shape_text(steps)}"
        )
    parts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        parts[axis] = slice(start, end, step)
    return like(x, F.getitem(operand(x), tuple(parts)))


def gather(node: OnnxNode, inputs: Inputs) -> Value:
    """The elements at some places along `axis`."""
    x, places = needed(inputs, 0), raw(needed(inputs, 1))
    (axis,) = as_axes("axis", x.ndim, [node.integer("axis")])
    check_made((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))
    return like(inputs, F.getitem(operand(x), (*[slice(None)] * axis, _index(places))))


def gather_elements(node: OnnxNode, inputs: Inputs) -> Value:
    """Of each line along `axis` the elements at its own places."""
    x, places = needed(inputs, 0), raw(needed(inputs, 1))
    (axis,) = as_axes("axis", x.ndim, [node.integer("axis")])
    if places.ndim != x.ndim:
        raise ShapeError(
            f"expected places of {x.ndim} axes, as {shape_text(x.shape)} has, got {shape_text(places.shape)}"
        )
    grid = [places if one == axis else _steps(places, one, x.ndim) for one in range(x.ndim)]
    return like(inputs, F.getitem(operand(x), tuple(grid)))


def gather_nd(node: OnnxNode, inputs: Inputs) -> Value:
    """What stands at places that name several axes each, after `batch_dims` axes that both have."""
    x, places, shared = needed(inputs, 0), raw(needed(inputs, 1)), node.integer("batch_dims")
    if not 0 <= shared < min(x.ndim, places.ndim) or shared + places.shape[-1] > x.ndim:
        raise ShapeError(f"places {shape_text(places.shape)} with batch_dims {shared} do not fit {shape_text(x.shape)}")
    check_made((*places.shape[:-1], *x.shape[shared + places.shape[-1] :]))
    batch = [_steps(places, one, places.ndim - 1) for one in range(shared)]
    named = [_index(places[..., one]) for one in range(places.shape[-1])]
    return like(inputs, F.getitem(operand(x), (*batch, *named)))


def constant_of_shape(node: OnnxNode, inputs: Inputs) -> Value:
    """So many times the value of the attribute, or 0."""
    shape = check_made(integers(node, inputs, 0, "shape") or ())
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32)))
    if value.size != 1:
        raise ShapeError(f"expected a value of one element, got {shape_text(value.shape)}")
    return np.full(shape, value.reshape(()), value.dtype)


def count_up(node: OnnxNode, inputs: Inputs) -> Value:
    """From a start in steps to before a limit."""
    check_one_dtype(inputs)
    values = [known(node, inputs, position) for position in range(3)]
    if not all(value is not None and value.size == 1 and np.isfinite(value).all() for value in values):
        raise ArgumentError("expected a start, a limit and a step, each one finite number")
    start, limit, step = (value.reshape(()) for value in values if value is not None)
    if step == 0:
        raise ArgumentError("expected a step other than 0")
    span, stride = float(limit) - float(start), float(step)
    (count,) = check_made((max(math.ceil(span / stride) if abs(span) < 2**60 * abs(stride) else 2**60, 0),))
    with np.errstate(over="ignore"):
        line: np.ndarray = start + np.arange(count) * step
    return line.astype(start.dtype)


def _index(places: Array) -> int | Array:
    return int(places) if places.ndim == 0 else places


def _steps(places: Array, axis: int, ndim: int) -> Array:
    """The numbers 0, 1, ... along an axis of `places`, with sizes of 1 around it."""
    return xp_of(places).arange(places.shape[axis]).reshape([-1 if one == axis else 1 for one in range(ndim)])


OPERATORS = {
    "Slice": Operator(cut, (1, 10, 11, 13), passes=(0,)),
    "Gather": Operator(gather, (1, 11, 13), learns={0: "weight"}, passes=(0,)),
    "GatherElements": Operator(gather_elements, (11, 13)),
    "GatherND": Operator(gather_nd, (11, 12, 13)),
    "ConstantOfShape": Operator(constant_of_shape, (9, 20, 21, 23, 24, 25)),
    "Range": Operator(count_up, (11, 27)),
}
