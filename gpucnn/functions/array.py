"""Arithmetic, reductions and shape changes on tensors, with NumPy's broadcasting and names.

Every function takes tensors, arrays or numbers and returns a tensor of its inputs' dtype; plain arrays and numbers take
on the dtype and device of the tensor they meet. Raises ShapeError where shapes do not go together, DTypeError and
DeviceError where tensors differ in dtype or device, and DTypeError for integers where the result would be a float.
"""

import math
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_operands, as_tensor, check_float, record
from gpucnn.autograd.tensor import OPERATORS
from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape, is_int, shape_text
from gpucnn.errors import ArgumentError, DTypeError, ShapeError


def add(a: Operand, b: Operand) -> Tensor:
    """a + b."""
    a, b = _broadcastable("add", a, b)

    def backward(gradient: Array) -> tuple[Array, Array]:
        return _sum_to(gradient, a_shape), _sum_to(gradient, b_shape)

    a_shape, b_shape = a.shape, b.shape
    return record("add", a.data + b.data, (a, b), backward)


def subtract(a: Operand, b: Operand) -> Tensor:
    """a - b."""
    a, b = _broadcastable("subtract", a, b)

    def backward(gradient: Array) -> tuple[Array, Array]:
        return _sum_to(gradient, a_shape), _sum_to(-gradient, b_shape)

    a_shape, b_shape = a.shape, b.shape
    return record("subtract", a.data - b.data, (a, b), backward)


def multiply(a: Operand, b: Operand) -> Tensor:
    """a * b, element by element."""
    a, b = _broadcastable("multiply", a, b)
    x, y = a.data, b.data

    def backward(gradient: Array) -> tuple[Array, Array]:
        return _sum_to(gradient * y, x.shape), _sum_to(gradient * x, y.shape)

    return record("multiply", x * y, (a, b), backward)


def divide(a: Operand, b: Operand) -> Tensor:
    """a / b, element by element."""
    a, b = _broadcastable("divide", a, b)
    check_float("divide", a)
    x, y = a.data, b.data

    def backward(gradient: Array) -> tuple[Array, Array]:
        x_gradient = gradient / y
        return _sum_to(x_gradient, x.shape), _sum_to(-x_gradient * x / y, y.shape)

    return record("divide", x / y, (a, b), backward)


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of a and b, element by element. Equal ones get half of the gradient each, as in PyTorch."""
    a, b = _broadcastable("maximum", a, b)
    x, y = a.data, b.data

    def backward(gradient: Array) -> tuple[Array, Array]:
        half = 0.5 * gradient * (x == y)
        return _sum_to(gradient * ~(x < y) - half, x.shape), _sum_to(gradient * ~(x > y) - half, y.shape)

    return record("maximum", xp_of(x).maximum(x, y), (a, b), backward)


def negative(x: Operand) -> Tensor:
    """-x."""
    x = as_tensor(x)
    _check_number("negative", x)
    return record("negative", -x.data, (x,), lambda gradient: (-gradient,))


def power(x: Operand, exponent: float) -> Tensor:
    """x ** exponent, for an exponent that is a plain number. ArgumentError otherwise."""
    x = as_tensor(x)
    if not isinstance(exponent, Real) or isinstance(exponent, bool):
        raise ArgumentError(f"power: the exponent must be a plain number, got {type(exponent).__name__}")
    exponent = int(exponent) if isinstance(exponent, Integral) else float(exponent)
    check_float("power", x)
    base = x.data

    def backward(gradient: Array) -> tuple[Array]:
        if exponent == 0:  # a constant, also where base^-1 is infinite
            return (xp_of(base).zeros_like(base),)
        return (gradient * exponent * base ** (exponent - 1),)

    return record("power", base**exponent, (x,), backward)


def exp(x: Operand) -> Tensor:
    """e ** x."""
    x = as_tensor(x)
    check_float("exp", x)
    output = xp_of(x.data).exp(x.data)
    return record("exp", output, (x,), lambda gradient: (gradient * output,))


def log(x: Operand) -> Tensor:
    """The natural logarithm of x."""
    x = as_tensor(x)
    check_float("log", x)
    values = x.data
    return record("log", xp_of(values).log(values), (x,), lambda gradient: (gradient / values,))


def matmul(a: Operand, b: Operand) -> Tensor:
    """The matrix product a @ b of (..., M, K) and (..., K, N), leading axes broadcast: (..., M, N)."""
    a, b = as_operands(a, b)
    x, y = a.data, b.data
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        raise ShapeError(
            f"matmul: expected (..., M, K) @ (..., K, N), got {shape_text(x.shape)} @ {shape_text(y.shape)}; "
            f"transpose or reshape one of them"
        )
    _check_broadcast("matmul", x.shape[:-2], y.shape[:-2])

    def backward(gradient: Array) -> tuple[Array, Array]:
        return _sum_to(gradient @ y.swapaxes(-1, -2), x.shape), _sum_to(x.swapaxes(-1, -2) @ gradient, y.shape)

    return record("matmul", x @ y, (a, b), backward)


def sum(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis` (an int, several, or None for all), in x's own dtype."""
    x = as_tensor(x)
    axes = _axes("sum", x.ndim, axis)
    shape = x.shape

    def backward(gradient: Array) -> tuple[Array]:
        return (xp_of(gradient).broadcast_to(_keep_axes(gradient, shape, axes), shape),)

    return record("sum", x.data.sum(axis=axes, keepdims=keepdims, dtype=x.dtype), (x,), backward)


def mean(x: Operand, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis` (an int, several, or None for all)."""
    x = as_tensor(x)
    check_float("mean", x)
    axes = _axes("mean", x.ndim, axis)
    shape, count = x.shape, math.prod(x.shape[axis] for axis in axes)

    def backward(gradient: Array) -> tuple[Array]:
        return (xp_of(gradient).broadcast_to(_keep_axes(gradient, shape, axes) / max(count, 1), shape),)

    return record("mean", x.data.mean(axis=axes, keepdims=keepdims, dtype=x.dtype), (x,), backward)


def reshape(x: Operand, shape: int | Sequence[int]) -> Tensor:
    """The same elements in another shape; one size may be -1 and is worked out."""
    x = as_tensor(x)
    old_shape = x.shape
    new_shape = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    known = math.prod(size for size in new_shape if size != -1)
    fits = x.size == known if -1 not in new_shape else known and x.size % known == 0
    if not fits or new_shape.count(-1) > 1 or any(not is_int(size) or size < -1 for size in new_shape):
        raise ShapeError(
            f"reshape: {shape_text(old_shape)} has {x.size} elements and does not fit into {shape_text(new_shape)}; "
            f"give sizes whose product is {x.size}"
        )
    return record("reshape", x.data.reshape(new_shape), (x,), lambda gradient: (gradient.reshape(old_shape),))


def flatten(x: Operand, start_axis: int = 1) -> Tensor:
    """All axes from `start_axis` on as one: (N, C, H, W) becomes (N, C * H * W)."""
    x = as_tensor(x)
    if not -x.ndim <= start_axis < x.ndim:
        raise ShapeError(f"flatten: start_axis must name an axis of {shape_text(x.shape)}, got {start_axis}")
    start_axis %= x.ndim
    return reshape(x, (*x.shape[:start_axis], math.prod(x.shape[start_axis:])))


def transpose(x: Operand, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in the order `axes`; reversed if None."""
    x = as_tensor(x)
    order = tuple(reversed(range(x.ndim))) if axes is None else _axes("transpose", x.ndim, axes)
    if len(order) != x.ndim:
        raise ShapeError(f"transpose: axes must name each of {x.ndim} axes once, got {axes}")
    inverse = sorted(range(x.ndim), key=lambda position: order[position])
    return record("transpose", x.data.transpose(order), (x,), lambda gradient: (gradient.transpose(inverse),))


def _broadcastable(name: str, a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    a, b = as_operands(a, b)
    _check_broadcast(name, a.shape, b.shape)
    _check_number(name, a)
    return a, b


def _check_number(name: str, x: Tensor) -> None:
    if x.dtype.kind == "b":
        raise DTypeError(f"{name}: expected numbers, got bool; convert with array.astype('float32')")


def _check_broadcast(name: str, a: Shape, b: Shape) -> None:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeError(
            f"{name}: shapes {shape_text(a)} and {shape_text(b)} do not broadcast; "
            f"from the last axis backwards, sizes must be equal or 1"
        ) from None


def _sum_to(gradient: Array, shape: Shape) -> Array:
    """Undo broadcasting: sum `gradient` over the axes along which an operand of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    repeated = tuple(axis for axis, size in enumerate(shape, extra) if size == 1)
    return gradient.sum(axis=(*range(extra), *repeated)).reshape(shape)


def _axes(name: str, ndim: int, axis: int | Sequence[int] | None) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    positive = tuple(one % ndim for one in axes if is_int(one) and -ndim <= one < ndim)
    if len(set(positive)) != len(axes):
        raise ShapeError(f"{name}: axis must name axes of a {ndim}-dimensional tensor, each once, got {axis}")
    return positive


def _keep_axes(gradient: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    return gradient.reshape([1 if axis in axes else size for axis, size in enumerate(shape)])


OPERATORS.update(
    add=add,
    subtract=subtract,
    multiply=multiply,
    divide=divide,
    maximum=maximum,
    negative=negative,
    power=power,
    exp=exp,
    log=log,
    matmul=matmul,
    sum=sum,
    mean=mean,
    reshape=reshape,
    transpose=transpose,
)
