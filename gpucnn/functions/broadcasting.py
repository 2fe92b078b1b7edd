"""How the shapes of operands meet: broadcasting, its gradient, and the axes that an argument names."""

from collections.abc import Sequence
from itertools import zip_longest

from gpucnn.autograd import Operand, Tensor, as_operands
from gpucnn.backend import Array
from gpucnn.checks import Shape, as_items, is_int
from gpucnn.errors import DTypeError, ShapeError
from gpucnn.text import shape_text, value_text


def broadcastable(owner: str, a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """`a` and `b` as tensors of numbers whose shapes broadcast; ShapeError or DTypeError, which names `owner`, if not."""
    a, b = as_operands(a, b)
    check_broadcast(owner, a.shape, b.shape)
    check_number(owner, a)
    return a, b


def check_number(owner: str, x: Tensor) -> None:
    """DTypeError, which names `owner`, for truth values."""
    if x.dtype.kind == "b":
        raise DTypeError(f"{owner}: expected numbers, got bool; convert with array.astype('float32')")


def check_broadcast(owner: str, *shapes: Shape) -> None:
    """ShapeError, which names `owner`, unless all `shapes` broadcast."""
    sizes = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    if any(len({*along} - {1}) > 1 for along in sizes):
        names = [shape_text(shape) for shape in shapes]
        raise ShapeError(
            f"{owner}: shapes {', '.join(names[:-1])} and {names[-1]} do not broadcast; "
            f"from the last axis backwards, sizes must be equal or 1"
        )


def sum_to(gradient: Array, shape: Shape) -> Array:
    """Undo broadcasting: sum `gradient` over the axes along which an operand of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    repeated = tuple(axis for axis, size in enumerate(shape, extra) if size == 1)
    return gradient.sum(axis=(*range(extra), *repeated)).reshape(shape)


def as_axes(owner: str, ndim: int, axis: int | Sequence[int] | None) -> tuple[int, ...]:
    """The axes that `axis` names, as numbers from 0; all of them for None. ShapeError if it names others, or one twice."""
    if axis is None:
        return tuple(range(ndim))
    items = as_items(axis)
    axes = (axis,) if items is None else items
    positive = tuple(int(one) % ndim for one in axes if is_int(one) and -ndim <= one < ndim)
    if len(set(positive)) != len(axes):
        raise ShapeError(
            f"{owner}: axis must name axes of a {ndim}-dimensional tensor, each once, got {value_text(axis)}"
        )
    return positive


def keep_axes(reduced: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    """What a reduction of `shape` over `axes` gave, with these axes as ones of size 1."""
    return reduced.reshape([1 if axis in axes else size for axis, size in enumerate(shape)])
