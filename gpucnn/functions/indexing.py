"""Parts of a tensor, chosen by an index as NumPy has it."""

import math
from typing import Any

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_tensor, operation, record
from gpucnn.autograd.rounding import stored
from gpucnn.backend import Array, as_array, to_device, xp_of
from gpucnn.checks import Shape, is_int
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.functions.broadcasting import check_broadcast
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.text import shape_text, value_text


@operation
def getitem(x: Operand, index: Any) -> Tensor:
    """x[index], for integers, slices, None, Ellipsis, and arrays, tensors or lists of integers or bools, with NumPy's meaning.

    An element that was taken several times gets the sum of its gradients, added up in one fixed order on every device. An
    array of bool is a mask of as many axes as it has: it takes the elements where it is True, one after the other. How many
    these are depends on its values, so a mask on a GPU waits for it; `where` keeps the shape, and does not.

    Raises ShapeError for too many indices, for one out of range (not for those of an array on a GPU, which wrap around
    there), for a mask of another shape, and for arrays that do not broadcast; DTypeError for arrays of floats;
    ArgumentError for anything else.
    """
    x = as_tensor(x)
    parts = tuple(_as_part(part) for part in (index if isinstance(index, tuple) else (index,)))
    _check_index(x.shape, parts)
    arrays = [part for part in parts if _is_array(part)]
    if not arrays:
        return take_view("getitem", x, parts)
    parts = tuple(to_device(part, x.device) if _is_array(part) else part for part in parts)
    if any(_is_mask(part) for part in arrays):
        parts = tuple(place for part in parts for place in (xp_of(part).nonzero(part) if _is_mask(part) else (part,)))
        if len(arrays) == 1:  # each element is taken once
            return take_view("getitem", x, parts)
        _check_together([part for part in parts if _is_array(part)])
    # Axes that the index says nothing about go along: what is looked up are rows of them.
    if parts[-1] is Ellipsis:
        parts = parts[:-1]
    indexed = x.ndim if any(part is Ellipsis for part in parts) else sum(part is not None for part in parts)
    shape, looked_up = x.shape, x.shape[:indexed]

    def backward(gradient: Array) -> tuple[Array]:
        rows = math.prod(looked_up)
        positions = xp_of(gradient).arange(rows).reshape(looked_up)[parts].ravel()
        gradients = gradient.reshape(positions.size, math.prod(shape[indexed:]))
        return (_sum_rows(gradients, positions, rows).reshape(shape),)

    return record("getitem", x.array[parts], (x,), backward)


def take_view(name: str, x: Tensor, index: tuple[Any, ...]) -> Tensor:
    """x[index] for an index that takes no element twice, as those without arrays and masks do; on the tape as `name`."""
    shape, held = x.shape, stored(x)

    def backward(gradient: Array) -> tuple[Array]:
        x_gradient = xp_of(gradient).zeros(shape, gradient.dtype)
        x_gradient[index] = gradient
        return (x_gradient,)

    output = (x.array if held is None else held[0])[index]
    return record(name, output, (x,), backward, stored=held is not None)


def _is_array(part: Any) -> bool:
    return hasattr(part, "dtype")


def _is_mask(part: Any) -> bool:
    return _is_array(part) and bool(part.dtype.kind == "b")


def _axes_of(part: Any) -> int:
    """How many axes of x a part of an index stands for: none for None, and for a mask all that it has."""
    if part is None:
        return 0
    return len(part.shape) if _is_mask(part) else 1


def _as_part(part: Any) -> Any:
    if part is None or part is Ellipsis:
        return part
    if is_int(part):
        return int(part)
    if isinstance(part, slice):
        bounds = (part.start, part.stop, part.step)
        if any(bound is not None and not is_int(bound) for bound in bounds) or part.step == 0:
            raise ArgumentError(f"getitem: a slice takes ints, and no step of 0, got {part}")
        return part
    if isinstance(part, Tensor):
        part = part.array
    elif isinstance(part, list | bool):
        part = np.zeros(0, np.int64) if part == [] else as_array(part)
    if not _is_array(part):
        raise ArgumentError(
            f"getitem: expected integers, slices, None, Ellipsis or arrays of integers or bools, got {type(part).__name__}"
        )
    if not isinstance(part.dtype, np.dtype):
        part = as_array(part)
    if part.dtype.kind not in "iub":
        raise DTypeError(f"getitem: an array as an index must be of integers or bools, got {part.dtype}")
    if part.dtype.kind == "b" and part.ndim == 0:
        raise ArgumentError(
            f"getitem: a mask has axes of its own, got the single value {bool(part)}; use x[None] for a new axis, and an "
            f"array of bool to choose elements"
        )
    return part


def _check_index(shape: Shape, parts: tuple[Any, ...]) -> None:
    ellipses = sum(part is Ellipsis for part in parts)
    given = sum(_axes_of(part) for part in parts if part is not Ellipsis)
    if ellipses > 1 or given > len(shape):
        raise ShapeError(
            f"getitem: {shape_text(shape)} has {len(shape)} axes, got {given} indices and {ellipses} Ellipsis; "
            f"give at most one to an axis and one Ellipsis"
        )
    axis = 0
    for part in parts:
        if part is Ellipsis:
            axis += len(shape) - given
        elif part is not None:
            _check_range(shape, axis, part)
            axis += _axes_of(part)
    if not any(_is_mask(part) for part in parts):  # how many elements a mask takes is not known yet
        _check_together([part for part in parts if _is_array(part)])


def _check_together(arrays: list[Array]) -> None:
    if len(arrays) > 1:
        check_broadcast("getitem", *(part.shape for part in arrays))


def _check_range(shape: Shape, axis: int, part: Any) -> None:
    if _is_mask(part):
        expected = shape[axis : axis + part.ndim]
        if part.shape != expected:
            raise ShapeError(
                f"getitem: a mask {shape_text(part.shape)} stands for axes {shape_text(expected)} of {shape_text(shape)}; "
                f"it must have their shape, and does not broadcast"
            )
        return
    if isinstance(part, slice) or (_is_array(part) and (xp_of(part) is not np or part.size == 0)):
        return
    lowest, highest = (int(part.min()), int(part.max())) if _is_array(part) else (part, part)
    if lowest < -shape[axis] or highest >= shape[axis]:
        wrong = lowest if lowest < -shape[axis] else highest
        raise ShapeError(f"getitem: index {value_text(wrong)} is out of range for axis {axis} of {shape_text(shape)}")


def _sum_rows(rows: Array, positions: Array, count: int) -> Array:
    """`count` rows: in each the sum of those of `rows` (P, K) whose entry of `positions` (P,) names it.

    The rows are sorted by position, and each adds up what follows it in strides of 1, 2, 4 and so on, so that the first of
    each position ends up with the sum: no atomic additions, whose order would be another in every run.
    Source: Hillis and Steele, "Data parallel algorithms", 1986.
    """
    xp = xp_of(rows)
    order = xp.argsort(positions, kind="stable")
    positions, sums = positions[order], rows[order]
    step = 1
    while step < len(positions):
        same = positions[step:] == positions[:-step]
        earlier = sums[:-step]
        earlier += masked(sums[step:], same[:, None])
        step *= 2
    is_first = xp.ones(len(positions), bool)
    is_first[1:] = positions[1:] != positions[:-1]
    total = xp.zeros((count + 1, rows.shape[1]), rows.dtype)
    total[xp.where(is_first, positions, count)] = sums  # all but the first go to a row that is dropped
    return total[:-1]
