"""The same elements in another shape: reshape and its kin, and the order of axes."""

import math
from collections.abc import Sequence
from typing import Any

from gpucnn.autograd import Operand, Tensor, as_tensor, operation, record
from gpucnn.autograd.rounding import stored
from gpucnn.checks import as_items, check_shape, is_int
from gpucnn.errors import ShapeError
from gpucnn.functions.broadcasting import as_axes
from gpucnn.text import shape_text, value_text


@operation
def reshape(x: Operand, shape: int | Sequence[int]) -> Tensor:
    """The same elements in another shape; one size may be -1 and is worked out."""
    x = as_tensor(x)
    old_shape = x.shape
    items = as_items(shape)
    new_shape: tuple[Any, ...] = (shape,) if items is None else items
    are_sizes = all(is_int(size) and size >= -1 for size in new_shape) and new_shape.count(-1) <= 1
    known = math.prod(int(size) for size in new_shape if size != -1) if are_sizes else 0
    if not are_sizes or (x.size != known if -1 not in new_shape else not known or x.size % known):
        raise ShapeError(
            f"reshape: {shape_text(old_shape)} has {x.size} elements and does not fit into {shape_text(new_shape)}; "
            f"give sizes whose product is {x.size}"
        )
    check_shape("reshape", new_shape)
    held = stored(x)
    output = (x.array if held is None else held[0]).reshape(new_shape)
    return record("reshape", output, (x,), lambda gradient: (gradient.reshape(old_shape),), stored=held is not None)


@operation
def flatten(x: Operand, start_axis: int = 1) -> Tensor:
    """All axes from `start_axis` on as one: (N, C, H, W) becomes (N, C * H * W)."""
    x = as_tensor(x)
    if not is_int(start_axis) or not -x.ndim <= start_axis < x.ndim:
        raise ShapeError(
            f"flatten: start_axis must name an axis of {shape_text(x.shape)}, got {value_text(start_axis)}"
        )
    start_axis = start_axis % x.ndim
    return reshape(x, (*x.shape[:start_axis], math.prod(x.shape[start_axis:])))


@operation
def transpose(x: Operand, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in the order `axes`; reversed if None."""
    x = as_tensor(x)
    order = tuple(reversed(range(x.ndim))) if axes is None else as_axes("transpose", x.ndim, axes)
    if len(order) != x.ndim:
        raise ShapeError(f"transpose: axes must name each of {x.ndim} axes once, got {value_text(axes)}")
    inverse = sorted(range(x.ndim), key=lambda position: order[position])
    held = stored(x)
    output = (x.array if held is None else held[0]).transpose(order)
    return record("transpose", output, (x,), lambda gradient: (gradient.transpose(inverse),), stored=held is not None)


@operation
def squeeze(x: Operand, axis: int | Sequence[int] | None = None) -> Tensor:
    """Without the axes `axis`, an int or several, which must be of size 1 (ShapeError); without all such if None."""
    x = as_tensor(x)
    if axis is None:
        axes = tuple(position for position, size in enumerate(x.shape) if size == 1)
    else:
        axes = as_axes("squeeze", x.ndim, axis)
    if any(x.shape[position] != 1 for position in axes):
        raise ShapeError(f"squeeze: expected axes of size 1, got axis {value_text(axis)} of {shape_text(x.shape)}")
    return reshape(x, [size for position, size in enumerate(x.shape) if position not in axes])


@operation
def expand_dims(x: Operand, axis: int | Sequence[int]) -> Tensor:
    """With new axes of size 1, which stand at `axis`, an int or several, of the result."""
    x = as_tensor(x)
    items = as_items(axis)
    new_ndim = x.ndim + (1 if items is None else len(items))
    axes, sizes = as_axes("expand_dims", new_ndim, axis), iter(x.shape)
    return reshape(x, [1 if position in axes else next(sizes) for position in range(new_ndim)])
