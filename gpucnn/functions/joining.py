"""Tensors joined along an axis, old or new, and taken apart again."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import cast

from gpucnn.autograd import Operand, Tensor, as_operands, as_tensor, operation, record
from gpucnn.autograd.rounding import stored
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_items, is_int
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.functions.broadcasting import as_axes
from gpucnn.functions.indexing import take_view
from gpucnn.text import shape_text, value_text

MOST_EMPTY_PARTS = 1 << 16
"""That nothing is cut into."""


@operation
def concatenate(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """`tensors` one after another along an axis that they have; in all others their sizes are equal (ShapeError)."""
    operands = _as_several("concatenate", tensors)
    shape = operands[0].shape
    (axis,) = as_axes("concatenate", len(shape), [axis])
    others = shape[:axis] + shape[axis + 1 :]
    for tensor in operands[1:]:
        if tensor.ndim != len(shape) or tensor.shape[:axis] + tensor.shape[axis + 1 :] != others:
            raise ShapeError(
                f"concatenate: shapes must be equal but for axis {axis}, "
                f"got {shape_text(shape)} and {shape_text(tensor.shape)}"
            )
    ends = list(accumulate((tensor.shape[axis] for tensor in operands), initial=0))

    def backward(gradient: Array) -> list[Array]:
        return [gradient[(slice(None),) * axis + (slice(*part),)] for part in pairwise(ends)]

    held = stored(*operands)
    arrays = held or [tensor.array for tensor in operands]
    joined = xp_of(*arrays).concatenate(arrays, axis)
    return record("concatenate", joined, operands, backward, stored=held is not None)


@operation
def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """`tensors` of one shape (ShapeError otherwise) side by side along a new axis, which stands at `axis`."""
    operands = _as_several("stack", tensors)
    shape = operands[0].shape
    (axis,) = as_axes("stack", len(shape) + 1, [axis])
    for tensor in operands[1:]:
        if tensor.shape != shape:
            raise ShapeError(f"stack: shapes must be equal, got {shape_text(shape)} and {shape_text(tensor.shape)}")

    def backward(gradient: Array) -> list[Array]:
        return [gradient[(slice(None),) * axis + (position,)] for position in range(len(operands))]

    arrays = [tensor.array for tensor in operands]
    return record("stack", xp_of(*arrays).stack(arrays, axis), operands, backward)


@operation
def split(x: Operand, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """x cut along `axis`, as numpy.split does: into that number of equal parts, or before each of the given positions.

    Raises ShapeError if the parts would not be equal, ArgumentError for sections that are not ints.
    """
    x = as_tensor(x)
    (axis,) = as_axes("split", x.ndim, [axis])
    size = x.shape[axis]
    positions, count = as_items(sections), cast("int", sections)
    if not all(map(is_int, [count] if positions is None else positions)) or (positions is None and count < 1):
        raise ArgumentError(f"split: sections must be an int >= 1 or positions to cut at, got {value_text(sections)}")
    if positions is not None:
        ends = [0, *positions, size]
    else:
        if size % count or count > max(size, MOST_EMPTY_PARTS):
            raise ShapeError(
                f"split: axis {axis} of {shape_text(x.shape)} does not divide into {value_text(sections)} equal parts; "
                f"give the positions to cut at"
            )
        ends = [part * (size // count) for part in range(count + 1)]
    return [take_view("split", x, (slice(None),) * axis + (slice(*part),)) for part in pairwise(ends)]


def _as_several(owner: str, tensors: Sequence[Operand]) -> list[Tensor]:
    ordered = hasattr(tensors, "__getitem__") and hasattr(tensors, "__len__") and getattr(tensors, "shape", None) != ()
    if not ordered or isinstance(tensors, str | bytes | Mapping):
        raise ArgumentError(f"{owner}: expected a list of tensors, got {value_text(tensors)}")
    if len(tensors) == 0:
        raise ArgumentError(f"{owner}: expected at least one tensor, got none")
    return as_operands(*tensors)
