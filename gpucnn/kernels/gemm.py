"""The only door to matrix products: NumPy's on the CPU, cuBLAS on a GPU.

cuBLAS takes batches of matrices whose rows, or whose columns, lie together in memory, at any distance from one another:
C order, transposed, sliced, and one matrix that serves for many. Each is handed over as it lies; what lies otherwise is
copied first. How cuBLAS is asked follows from shapes and strides alone, and is found once for each.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, beside, blas, xp_of
from gpucnn.backend.cublas import TYPES, Matrix, Product, handle_here
from gpucnn.checks import Shape
from gpucnn.errors import DTypeError, ShapeError
from gpucnn.text import shape_text

MOST = 2**31 - 1
"""cuBLAS counts in 32 bits."""

PLANS = 4096
"""How many are kept: those of a step of the largest network many times over."""


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """The products (..., M, N) of (..., M, K) and (..., K, N), leading axes broadcast, in `out` if it is given.

    Of a vector (K,) no axis is left, as in NumPy. On a GPU float16, float32 and float64 are multiplied by cuBLAS on the
    current stream, float32 as `backend.precision` says, and ShapeError or DTypeError tell what does not fit; integers by CuPy.
    On the CPU none of the warnings comes that Apple's Accelerate causes in products of finite numbers.
    """
    xp = xp_of(a, b) if out is None else xp_of(a, b, out)
    if xp is not np:
        with beside(a):
            return _device_matmul(xp, a, b, out)
    if not blas.has_false_alarms():
        return np.matmul(a, b, out=out)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return np.matmul(a, b, out=out)


def _device_matmul(xp: ModuleType, a: Array, b: Array, out: Array | None) -> Array:
    if a.dtype != b.dtype:
        dtype = np.result_type(a.dtype, b.dtype)
        a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    dtype = a.dtype
    if dtype not in TYPES:
        return xp.matmul(a, b) if out is None else xp.matmul(a, b, out=out)
    if out is not None and out.dtype != dtype:
        raise DTypeError(f"matmul: out must be of {dtype}, as the product is, got {out.dtype}")
    place = None if out is None else Place(out.shape, out.strides)
    plan = _plan(Place(a.shape, a.strides), Place(b.shape, b.strides), place, dtype.itemsize)
    if plan is None:
        a, b = (operand if _lies_well(operand) else xp.ascontiguousarray(operand) for operand in (a, b))
        return _device_matmul(xp, a, b, out)
    if out is None:
        out = xp.empty(plan.shape, dtype)
    elif not plan.takes_result or plan.meet(out, a, 0) or plan.meet(out, b, 1):
        out[...] = _device_matmul(xp, a, b, None)
        return out
    if plan.is_zero:
        out[...] = 0
    elif plan.products:
        handle, addresses = handle_here(), (a.data.ptr, b.data.ptr, out.data.ptr)
        for product in plan.products:
            handle.multiply(product, addresses, dtype)
    return out


class Place(NamedTuple):
    """How an array lies in memory; strides are in bytes."""

    shape: Shape
    strides: tuple[int, ...]


class Plan(NamedTuple):
    """How cuBLAS is asked for the products of arrays that lie in some way."""

    shape: Shape
    """Of the result."""
    takes_result: bool
    """Whether cuBLAS can write the result where it should lie."""
    is_zero: bool
    """Whether the result is zeros, as K is 0."""
    reaches: tuple[int, ...]
    """The bytes from the first to behind the last of each operand, and of the result."""
    products: tuple[Product, ...]

    def meet(self, out: Array, operand: Array, number: int) -> bool:
        """Whether the stretches of memory in which the result and an operand lie overlap."""
        start, other = out.data.ptr, operand.data.ptr
        return bool(start < other + self.reaches[number] and other < start + self.reaches[2])


@functools.lru_cache(PLANS)
def _plan(a: Place, b: Place, out: Place | None, itemsize: int) -> Plan | None:
    """The plan for operands and result of these places; None if an operand must be copied first. Raises ShapeError."""
    if 0 in (len(a.shape), len(b.shape)) or a.shape[-1] != b.shape[-2 if len(b.shape) > 1 else 0]:
        raise ShapeError(f"matmul: expected (..., M, K) and (..., K, N), got {_shapes(a, b)}")
    left, right = _with_axis(a, 0) if len(a.shape) == 1 else a, _with_axis(b, 1) if len(b.shape) == 1 else b
    try:
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        raise ShapeError(f"matmul: leading axes cannot be broadcast, got {_shapes(a, b)}") from None
    full = (*batch, left.shape[-2], right.shape[-1])
    shape = (*batch, *full[-2:-1][: len(a.shape) > 1], *full[-1:][: len(b.shape) > 1])
    if out is None:
        result = Place(full, _in_c_order(full, itemsize))
    elif out.shape != shape:
        raise ShapeError(f"matmul: out must be {shape_text(shape)} for {_shapes(a, b)}, got {shape_text(out.shape)}")
    else:
        result = out if len(b.shape) > 1 else _with_axis(out, len(out.shape))
        result = result if len(a.shape) > 1 else _with_axis(result, len(result.shape) - 1)
    if max(*left.shape[-2:], right.shape[-1]) > MOST:
        raise ShapeError(f"matmul: cuBLAS takes sides of at most {MOST:,} elements, got {_shapes(a, b)}")
    if 0 in full or left.shape[-1] == 0:
        return Plan(shape, True, 0 not in full, (0, 0, 0), ())
    if _layout(left, itemsize) is None or _layout(right, itemsize) is None:
        return None
    if _layout(result, itemsize) is None or not _is_apart(result):
        return Plan(shape, False, False, (0, 0, 0), ())
    reaches = tuple(_reach(place, itemsize) for place in (left, right, result))
    return Plan(shape, True, False, reaches, tuple(_products(left, right, result, itemsize)))


def _products(a: Place, b: Place, out: Place, itemsize: int) -> Iterator[Product]:
    """The calls of cuBLAS that fill `out`: as few as the batch allows.

    cuBLAS counts column by column: it is asked for b^T times a^T where rows of the result lie together, and for a times b
    where columns do.
    """
    layouts = [_layout(place, itemsize) for place in (a, b, out)]
    by_columns = layouts[2] is not None and layouts[2][0]
    axes = _batch_axes((a, b, out), out.shape[:-2])
    inner = max(axes, key=lambda axis: axis[0], default=(1, (0, 0, 0)))
    others = [axis for axis in axes if axis is not inner]
    rows, columns = out.shape[-2:]
    for position in itertools.product(*(range(size) for size, _ in others)):
        matrices = []
        for number, layout in enumerate(layouts):
            assert layout is not None
            offset = sum(step * strides[number] for step, (_, strides) in zip(position, others, strict=True))
            distance = inner[1][number] // itemsize
            matrices.append(Matrix(number, offset, layout[0] != by_columns, layout[1], distance))
        left, right, result = matrices
        if by_columns:
            yield Product(left, right, result, inner[0], rows, columns, a.shape[-1])
        else:
            yield Product(right, left, result, inner[0], columns, rows, a.shape[-1])


def _layout(place: Place, itemsize: int) -> tuple[bool, int] | None:
    """Whether the matrices (..., R, C) are transposed, i.e. columns lie together and not rows, and the elements from one to the next.

    None if they lie otherwise.
    """
    rows, columns = place.shape[-2:]
    if any((stride % itemsize or stride < 0) and size > 1 for size, stride in zip(*place, strict=True)):
        return None
    down, across = (stride // itemsize for stride in place.strides[-2:])
    if (across == 1 or columns == 1) and (columns <= down <= MOST or rows == 1):
        return False, down if rows > 1 else columns
    if (down == 1 or rows == 1) and rows <= across <= MOST:
        return True, across
    return None


def _lies_well(operand: Array) -> bool:
    """Whether cuBLAS takes an operand, a matrix at least or a vector, as it lies."""
    place = Place(operand.shape, operand.strides)
    return _layout(place if operand.ndim > 1 else _with_axis(place, 0), operand.itemsize) is not None


def _batch_axes(places: Sequence[Place], batch: Shape) -> list[tuple[int, tuple[int, ...]]]:
    """The axes before the matrices, as few as can be: how long each is, and by how many bytes each array goes on along it."""
    found: list[tuple[int, tuple[int, ...]]] = []
    for axis in range(-len(batch), 0):
        size = batch[axis]
        if size == 1:
            continue
        strides = tuple(
            strides[axis - 2] if 2 - axis <= len(shape) and shape[axis - 2] > 1 else 0 for shape, strides in places
        )
        if found and found[-1][1] == tuple(size * stride for stride in strides):
            size *= found.pop()[0]
        found.append((size, strides))
    return found


def _is_apart(place: Place) -> bool:
    """Whether no two elements lie in the same place, as far as strides alone tell."""
    reach = 0
    for stride, size in sorted(zip(place.strides, place.shape, strict=True)):
        if size > 1 and stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


def _reach(place: Place, itemsize: int) -> int:
    return itemsize + sum(stride * (size - 1) for size, stride in zip(*place, strict=True))


def _with_axis(place: Place, axis: int) -> Place:
    """The same memory with one more axis, of one element."""
    shape, strides = place
    return Place((*shape[:axis], 1, *shape[axis:]), (*strides[:axis], 0, *strides[axis:]))


def _in_c_order(shape: Shape, itemsize: int) -> tuple[int, ...]:
    return tuple(itertools.accumulate(reversed((*shape[1:], itemsize)), lambda step, size: step * size))[::-1]


def _shapes(a: Place, b: Place) -> str:
    return f"{shape_text(a.shape)} and {shape_text(b.shape)}"
