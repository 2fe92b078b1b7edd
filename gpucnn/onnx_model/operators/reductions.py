"""Sums, means, extremes and norms over axes, the places of extremes, and running sums."""

from collections.abc import Callable

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Operand, Tensor, as_tensor, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.functions.broadcasting import as_axes, keep_axes
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operands import like, operand, raw
from gpucnn.onnx_model.operators.operator import Function, Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import integers, needed, number

Axes = tuple[int, ...]
Reduction = Callable[[Tensor, Axes], Tensor]
"""Over axes, which stay, of size 1."""


def _sum(x: Tensor, axes: Axes) -> Tensor:
    return F.sum(x, axes, keepdims=True)


def _mean(x: Tensor, axes: Axes) -> Tensor:
    return F.mean(x, axes, keepdims=True)


def _extreme(name: str) -> Reduction:
    def reduced(x: Tensor, axes: Axes) -> Tensor:
        if 0 not in [x.shape[axis] for axis in axes]:
            return F.max(x, axes, keepdims=True) if name == "max" else F.min(x, axes, keepdims=True)
        lowest, highest = -np.inf, np.inf
        if x.dtype.kind != "f":
            lowest, highest = np.iinfo(x.dtype).min, np.iinfo(x.dtype).max
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        return Tensor(xp_of(x.array).full(shape, lowest if name == "max" else highest, x.dtype))

    return reduced


def _l1(x: Tensor, axes: Axes) -> Tensor:
    return _sum(F.abs(x), axes)


def _sum_square(x: Tensor, axes: Axes) -> Tensor:
    return _sum(F.multiply(x, x), axes)


def _l2(x: Tensor, axes: Axes) -> Tensor:
    """The gradient of zeros is 0, as in PyTorch."""
    squares = _sum_square(x, axes)
    is_zero = squares.array == 0
    return F.where(is_zero, F.multiply(squares, 0), F.sqrt(F.where(is_zero, 1, squares)))


def _log_sum(x: Tensor, axes: Axes) -> Tensor:
    return F.log(_sum(x, axes))


def _log_sum_exp(x: Tensor, axes: Axes) -> Tensor:
    """What is largest is taken out, so that nothing overflows."""
    top = _extreme("max")(x.detach(), axes).array
    xp = xp_of(top)
    top = xp.where(xp.isfinite(top), top, 0)
    return F.add(F.log(_sum(F.exp(F.subtract(x, top)), axes)), top)


@operation
def prod(x: Operand, axes: Axes) -> Tensor:
    """The product over `axes`, which stay, of size 1; the gradient is right where an element is 0, too."""
    x = as_tensor(x)
    values, shape = x.array, x.shape
    xp = xp_of(values)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    order = (*kept, *axes)
    inverse = sorted(range(len(order)), key=lambda place: order[place])

    def backward(gradient: Array) -> tuple[Array]:
        lines = values.transpose(order).reshape(*(shape[axis] for axis in kept), -1)
        ones = xp.ones((*lines.shape[:-1], 1), values.dtype)
        before = xp.cumprod(xp.concatenate([ones, lines[..., :-1]], -1), axis=-1)
        after = xp.cumprod(xp.concatenate([ones, lines[..., :0:-1]], -1), axis=-1)[..., ::-1]
        others = (before * after).reshape([shape[axis] for axis in order]).transpose(inverse)
        return (keep_axes(gradient, shape, axes) * others,)

    return record("prod", values.prod(axis=axes, keepdims=True, dtype=x.dtype), (x,), backward, is_bf16=False)


def _reducing(reduction: Reduction, float_inside: bool = False) -> Function:
    """The operator that reduces so: axes are an attribute or an input, and stay unless `keepdims` is 0."""

    def reduced(node: OnnxNode, inputs: Inputs) -> Value:
        x = operand(needed(inputs, 0))
        asked = node.integers("axes") if "axes" in node.attributes else integers(node, inputs, 1, "axes")
        if not asked and node.integer("noop_with_empty_axes"):
            axes: Axes = ()
        else:
            axes = as_axes(node.operator, x.ndim, asked or None)
        own = x.dtype
        if own.kind == "b":
            x = F.astype(x, np.uint8)
        elif own.kind != "f" and float_inside:
            x = F.astype(x, np.float64)
        found = reduction(x, axes)
        if not node.integer("keepdims", 1):
            found = F.reshape(found, [size for axis, size in enumerate(found.shape) if axis not in axes])
        return like(needed(inputs, 0), found if found.dtype == own else F.astype(found, own))

    return reduced


def _place_of(name: str) -> Function:
    """The place of the first extreme along `axis`, or, with `select_last_index`, of the last."""

    def placed(node: OnnxNode, inputs: Inputs) -> Value:
        x = needed(inputs, 0)
        (axis,) = as_axes(node.operator, x.ndim, [node.integer("axis")])
        values, from_end = raw(x), bool(node.integer("select_last_index"))
        if from_end:
            values = xp_of(values).flip(values, axis)
        found = getattr(F, name)(Tensor(values), axis, keepdims=bool(node.integer("keepdims", 1)))
        return like(x, values.shape[axis] - 1 - found.array if from_end else found)

    return placed


@operation
def running(x: Operand, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    """The sum of all elements up to each one along `axis`; without itself if `exclusive`, from the end if `reverse`."""
    x = as_tensor(x)

    def summed(values: Array, reverse: bool) -> Array:
        xp = xp_of(values)
        ordered = xp.flip(values, axis) if reverse else values
        sums = xp.cumsum(ordered, axis=axis, dtype=values.dtype)
        if exclusive:
            sums = sums - ordered
        return xp.flip(sums, axis) if reverse else sums

    return record(
        "running", summed(x.array, reverse), (x,), lambda gradient: (summed(gradient, not reverse),), is_bf16=False
    )


def cumsum(node: OnnxNode, inputs: Inputs) -> Value:
    """Sums of all elements up to each one."""
    x = needed(inputs, 0)
    (axis,) = as_axes(node.operator, x.ndim, [number(node, inputs, 1, "axis")])
    return like(x, running(operand(x), axis, bool(node.integer("exclusive")), bool(node.integer("reverse"))))


SINCE = (1, 11, 13, 18)
OPERATORS = {
    "ReduceSum": Operator(_reducing(_sum), (1, 11, 13)),
    "ReduceMean": Operator(_reducing(_mean, float_inside=True), SINCE),
    "ReduceMax": Operator(_reducing(_extreme("max")), (1, 11, 12, 13, 18, 20)),
    "ReduceMin": Operator(_reducing(_extreme("min")), (1, 11, 12, 13, 18, 20)),
    "ReduceProd": Operator(_reducing(prod), SINCE),
    "ReduceL1": Operator(_reducing(_l1), SINCE),
    "ReduceL2": Operator(_reducing(_l2, float_inside=True), SINCE),
    "ReduceSumSquare": Operator(_reducing(_sum_square), SINCE),
    "ReduceLogSum": Operator(_reducing(_log_sum, float_inside=True), SINCE),
    "ReduceLogSumExp": Operator(_reducing(_log_sum_exp, float_inside=True), SINCE),
    "ArgMax": Operator(_place_of("argmax"), (1, 11, 12, 13)),
    "ArgMin": Operator(_place_of("argmin"), (1, 11, 12, 13)),
    "CumSum": Operator(cumsum, (11, 14)),
}
