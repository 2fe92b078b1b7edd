"""Sums, means, variances and extremes of tensors over any axes, with NumPy's names.

`axis` is an int, several, or None for all; with `keepdims` the axes stay, of size 1. Every function returns a tensor of
its input's dtype. Raises ShapeError for an axis that there is not, and DTypeError where the dtype does not fit.
"""

import math
from collections.abc import Sequence

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_float_tensor, as_tensor, operation, record
from gpucnn.backend import Array, as_array, converted, wide, xp_of
from gpucnn.checks import as_flag, is_int, is_real
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.functions.broadcasting import as_axes, check_number, keep_axes
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.text import shape_text, value_text


@operation
def sum(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis` (an int, several, or None for all), in x's own dtype."""
    x = as_tensor(x)
    axes, keepdims = as_axes("sum", x.ndim, axis), as_flag(keepdims, "sum: keepdims")
    shape = x.shape

    def backward(gradient: Array) -> tuple[Array]:
        return (xp_of(gradient).broadcast_to(keep_axes(gradient, shape, axes), shape),)

    return record("sum", x.array.sum(axis=axes, keepdims=keepdims, dtype=x.dtype), (x,), backward, is_bf16=False)


@operation
def mean(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis` (an int, several, or None for all); of no elements NaN."""
    x = as_float_tensor("mean", x)
    axes, keepdims = as_axes("mean", x.ndim, axis), as_flag(keepdims, "mean: keepdims")
    shape, count = x.shape, math.prod(x.shape[axis] for axis in axes)

    def backward(gradient: Array) -> tuple[Array]:
        return (xp_of(gradient).broadcast_to(keep_axes(gradient, shape, axes) / (count or 1), shape),)

    if count:
        output = x.array.mean(axis=axes, keepdims=keepdims, dtype=wide(x.dtype)).astype(x.dtype, copy=False)
    else:  # NumPy would warn
        output = x.array.sum(axis=axes, keepdims=keepdims) + x.dtype.type(np.nan)
    return record("mean", output, (x,), backward, is_bf16=False)


@operation
def var(x: Operand, axis: int | Sequence[int] | None = None, correction: float = 1, keepdims: bool = False) -> Tensor:
    """The variance over `axis`: the sum of squared distances from the mean, over their number less `correction`.

    A correction of 1 is Bessel's, for a sample; 0 gives the variance of the elements themselves. Raises ArgumentError
    unless it is a number >= 0, ShapeError unless there are more elements than that.
    """
    x = as_float_tensor("var", x)
    axes, keepdims = as_axes("var", x.ndim, axis), as_flag(keepdims, "var: keepdims")
    if not is_real(correction) or not correction >= 0:
        raise ArgumentError(f"var: correction must be a number >= 0, got {value_text(correction)}")
    shape, count = x.shape, math.prod(x.shape[axis] for axis in axes)
    if count <= correction:
        raise ShapeError(
            f"var: expected more than {correction:g} elements to a variance with correction={correction:g}, "
            f"got {count} of {shape_text(shape)}"
        )
    values, divisor = x.array.astype(wide(x.dtype), copy=False), float(count - correction)
    mean = values.mean(axis=axes, keepdims=True)
    variance = ((values - mean) ** 2).mean(axis=axes, keepdims=keepdims) * (count / divisor)

    def backward(gradient: Array) -> tuple[Array]:
        return (
            (keep_axes(gradient, shape, axes) * (2 / divisor) * (values - mean)).astype(gradient.dtype, copy=False),
        )

    return record("var", variance.astype(x.dtype, copy=False), (x,), backward, is_bf16=False)


@operation
def max(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`; equal ones share the gradient evenly, as in torch.amax.

    Where there is a NaN it wins, and has the gradient. Raises ShapeError where there are no elements to choose from.
    """
    return _extreme("max", x, axis, keepdims)


@operation
def min(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`; all else is as for `max`."""
    return _extreme("min", x, axis, keepdims)


@operation
def argmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position of the largest element along `axis`, an int, or in all of x flattened: int64, without a gradient.

    Of equal ones it is the first, and the first NaN if there is one. Raises ShapeError where there are none to choose from.
    """
    return _position("argmax", x, axis, keepdims)


@operation
def argmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position of the smallest element; all else is as for `argmax`."""
    return _position("argmin", x, axis, keepdims)


def _position(name: str, x: Operand, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    keepdims = as_flag(keepdims, f"{name}: keepdims")
    if axis is not None and not is_int(axis):
        raise ShapeError(f"{name}: axis must be an int or None, got {value_text(axis)}")
    axes, values, shape = as_axes(name, x.ndim, axis), x.array, x.shape
    if 0 in [shape[one] for one in axes]:
        raise ShapeError(f"{name}: {shape_text(shape)} has no elements over axis {axis} to choose from")
    positions = getattr(xp_of(values), name)(values, axis=None if axis is None else axes[0])
    kept = positions.reshape([1 if one in axes else size for one, size in enumerate(shape)]) if keepdims else positions
    return Tensor(converted(as_array(kept), np.dtype(np.int64)))


def _extreme(name: str, x: Operand, axis: int | Sequence[int] | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    check_number(name, x)
    axes, keepdims = as_axes(name, x.ndim, axis), as_flag(keepdims, f"{name}: keepdims")
    values, shape = x.array, x.shape
    if 0 in [shape[axis] for axis in axes]:
        raise ShapeError(f"{name}: {shape_text(shape)} has no elements over axis {axis} to choose from")
    output = getattr(xp_of(values), name)(values, axis=axes, keepdims=keepdims)

    def backward(gradient: Array) -> tuple[Array]:
        winners = (values == keep_axes(output, shape, axes)) | (values != values)
        count = winners.sum(axis=axes, keepdims=True).astype(values.dtype)
        return (masked(keep_axes(gradient, shape, axes) / count, winners),)

    return record(name, output, (x,), backward)
