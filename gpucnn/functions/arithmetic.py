"""Arithmetic on tensors, element by element, and the matrix product, with NumPy's broadcasting and names.

Every function takes tensors, arrays or numbers and returns a tensor of its inputs' dtype; plain arrays and numbers take
on the dtype and device of the tensor they meet. Raises ShapeError where shapes do not go together, DTypeError and
DeviceError where tensors differ in dtype or device, and DTypeError for integers where the result would be a float.
"""

from numbers import Real
from typing import Any

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_float_tensor, as_operands, as_tensor, check_float, operation, record
from gpucnn.autograd.rounding import product_gradient, product_operand, stored
from gpucnn.backend import Array, as_array, to_device, xp_of
from gpucnn.checks import LARGEST, check_activation, is_int, is_real
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.functions.broadcasting import broadcastable, check_broadcast, check_number, sum_to
from gpucnn.kernels import elementwise as kernel
from gpucnn.kernels import gemm
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.text import shape_text, value_text


@operation
def add(a: Operand, b: Operand, activation: str | None = None) -> Tensor:
    """a + b. With `activation="relu"` it is relu(a + b) in one pass over memory; ArgumentError for another activation."""
    a, b = broadcastable("add", a, b)
    relu = check_activation("add", activation)
    if relu:
        check_float("add", a)
    held = stored(a, b) if a.shape == b.shape else None
    total = kernel.add(a.array, b.array, relu) if held is None else kernel.add_bf16(held[0], held[1], relu)
    relu_output = total if relu else None

    def backward(gradient: Array) -> tuple[Array, Array]:
        if relu_output is not None:
            gradient = kernel.relu_gradient(gradient, relu_output)
        return sum_to(gradient, a_shape), sum_to(gradient, b_shape)

    a_shape, b_shape = a.shape, b.shape
    return record("add", total, (a, b), backward, stored=held is not None)


@operation
def subtract(a: Operand, b: Operand) -> Tensor:
    """a - b."""
    a, b = broadcastable("subtract", a, b)

    def backward(gradient: Array) -> tuple[Array, Array]:
        return sum_to(gradient, a_shape), sum_to(-gradient, b_shape)

    a_shape, b_shape = a.shape, b.shape
    return record("subtract", a.array - b.array, (a, b), backward)


@operation
def multiply(a: Operand, b: Operand) -> Tensor:
    """a * b, element by element."""
    a, b = broadcastable("multiply", a, b)
    x, y = a.array, b.array

    def backward(gradient: Array) -> tuple[Array, Array]:
        return sum_to(gradient * y, x.shape), sum_to(gradient * x, y.shape)

    return record("multiply", x * y, (a, b), backward)


@operation
def divide(a: Operand, b: Operand) -> Tensor:
    """a / b, element by element."""
    a, b = broadcastable("divide", a, b)
    check_float("divide", a)
    x, y = a.array, b.array

    def backward(gradient: Array) -> tuple[Array, Array]:
        x_gradient = gradient / y
        return sum_to(x_gradient, x.shape), sum_to(-x_gradient * x / y, y.shape)

    return record("divide", x / y, (a, b), backward)


@operation
def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of a and b, element by element. Equal ones get half of the gradient each, as in PyTorch."""
    return _extreme("maximum", a, b)


@operation
def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of a and b, element by element. Equal ones get half of the gradient each, as in PyTorch."""
    return _extreme("minimum", a, b)


def _extreme(name: str, a: Operand, b: Operand) -> Tensor:
    a, b = broadcastable(name, a, b)
    x, y = a.array, b.array

    def backward(gradient: Array) -> tuple[Array, Array]:
        x_loses, y_loses = (x < y, x > y) if name == "maximum" else (x > y, x < y)
        half = 0.5 * gradient * (x == y)
        return sum_to(gradient * ~x_loses - half, x.shape), sum_to(gradient * ~y_loses - half, y.shape)

    return record(name, getattr(xp_of(x), name)(x, y), (a, b), backward)


@operation
def where(condition: Any, a: Operand, b: Operand) -> Tensor:
    """a where `condition` holds and b elsewhere; the gradient goes to the one that was taken.

    `condition` is an array, a tensor or one value of bool (DTypeError otherwise), and broadcasts with a and b.
    """
    a, b = broadcastable("where", a, b)
    chosen = to_device(as_array(condition.array if isinstance(condition, Tensor) else condition), a.device)
    if chosen.dtype.kind != "b":
        raise DTypeError(f"where: condition must be bool, got {chosen.dtype}; compare, e.g. x.data > 0")
    check_broadcast("where", chosen.shape, a.shape, b.shape)
    a_shape, b_shape = a.shape, b.shape

    def backward(gradient: Array) -> tuple[Array, Array]:
        return sum_to(masked(gradient, chosen), a_shape), sum_to(masked(gradient, ~chosen), b_shape)

    return record("where", xp_of(chosen).where(chosen, a.array, b.array), (a, b), backward)


@operation
def clip(x: Operand, low: Operand | None = None, high: Operand | None = None) -> Tensor:
    """x, but at least `low` and at most `high`: numbers, or tensors and arrays that broadcast with x; one may be None.

    The gradient passes where x is within the limits or on one of them, and at NaN; else it goes to the limit that was
    taken. Where two limits cross, `high` is taken. Raises ArgumentError for limits that cross, or are not numbers.
    """
    owner = "clip"
    if (low is None or isinstance(low, Real)) and (high is None or isinstance(high, Real)):
        return _clip_by_numbers(owner, x, low, high)
    given = [value for value in (low, high) if value is not None]
    x, *limits = as_operands(x, *given)
    check_float(owner, x)
    check_broadcast(owner, x.shape, *(limit.shape for limit in limits))
    xp, values = xp_of(x.array), x.array
    floor = values if low is None else limits[0].array
    raised = xp.maximum(values, floor)
    ceiling = raised if high is None else limits[-1].array
    shapes = [tensor.shape for tensor in (x, *limits)]

    def backward(gradient: Array) -> tuple[Array, ...]:
        above = raised > ceiling
        below = (values < floor) & ~above
        taken = [~(below | above), *([] if low is None else [below]), *([] if high is None else [above])]
        return tuple(sum_to(masked(gradient, mask), shape) for mask, shape in zip(taken, shapes, strict=True))

    return record(owner, xp.minimum(raised, ceiling), (x, *limits), backward)


def _clip_by_numbers(owner: str, x: Operand, low: Any, high: Any) -> Tensor:
    x = as_float_tensor(owner, x)
    for limit in (low, high):
        if limit is not None and (not is_real(limit) or limit != limit):
            raise ArgumentError(f"{owner}: low and high must be numbers, tensors or None, got {value_text(limit)}")
    floor = -float("inf") if low is None else float(low)
    ceiling = float("inf") if high is None else float(high)
    if floor > ceiling:
        raise ArgumentError(f"{owner}: low must not be above high, got {low} and {high}")
    xp, values = xp_of(x.array), x.array

    def backward(gradient: Array) -> tuple[Array]:
        return (masked(gradient, ~((values < floor) | (values > ceiling))),)

    return record(owner, xp.minimum(xp.maximum(values, floor), ceiling), (x,), backward)


@operation
def negative(x: Operand) -> Tensor:
    """-x."""
    x = as_tensor(x)
    check_number("negative", x)
    return record("negative", -x.array, (x,), lambda gradient: (-gradient,))


@operation
def abs(x: Operand) -> Tensor:
    """The absolute value of x. The gradient at 0 is 0; at NaN it passes."""
    x = as_tensor(x)
    check_number("abs", x)
    values = x.array

    def backward(gradient: Array) -> tuple[Array]:
        below = values < 0
        return (masked(gradient, ~(below | (values == 0))) - masked(gradient, below),)

    return record("abs", xp_of(values).absolute(values), (x,), backward)


@operation
def power(x: Operand, exponent: Operand) -> Tensor:
    """x ** exponent, element by element; the exponent is a number, or broadcasts with x and has gradients, too.

    Of a negative base a power is a number for whole exponents alone, else NaN, and the exponent's gradient is NaN. The
    gradient of the base is 0 where the exponent is, and that of the exponent is 0 where the base is 0 and the exponent
    is not below: 0 ** 0 is 1.
    """
    if isinstance(exponent, Real) and not isinstance(exponent, bool):
        return _power_of_number(x, exponent)
    a, b = broadcastable("power", x, exponent)
    check_float("power", a)
    base, exponents = a.array, b.array
    xp, output = xp_of(base), base**exponents

    def backward(gradient: Array) -> tuple[Array, Array]:
        with np.errstate(divide="ignore", invalid="ignore"):
            by_base = xp.where(exponents == 0, 0, exponents * base ** (exponents - 1))
            by_exponent = xp.where((base == 0) & (exponents >= 0), 0, output * xp.log(base))
        return sum_to(gradient * by_base, base.shape), sum_to(gradient * by_exponent, exponents.shape)

    return record("power", output, (a, b), backward)


def _power_of_number(x: Operand, exponent: Any) -> Tensor:
    x = as_tensor(x)
    if not is_real(exponent):
        raise ArgumentError(f"power: exponent must be a number that a float can hold, got {value_text(exponent)}")
    exponent = int(exponent) if is_int(exponent) and -LARGEST < exponent < LARGEST else float(exponent)
    check_float("power", x)
    base = x.array

    def backward(gradient: Array) -> tuple[Array]:
        if exponent == 0:  # a constant, also where base^-1 is infinite
            return (xp_of(base).zeros_like(base),)
        return (gradient * exponent * base ** (exponent - 1),)

    return record("power", base**exponent, (x,), backward)


@operation
def sqrt(x: Operand) -> Tensor:
    """The square root of x. The gradient at 0 is infinite."""
    x = as_float_tensor("sqrt", x)
    output = xp_of(x.array).sqrt(x.array)
    return record("sqrt", output, (x,), lambda gradient: (gradient / (2 * output),))


@operation
def exp(x: Operand) -> Tensor:
    """e ** x."""
    x = as_float_tensor("exp", x)
    output = xp_of(x.array).exp(x.array)
    return record("exp", output, (x,), lambda gradient: (gradient * output,))


@operation
def log(x: Operand) -> Tensor:
    """The natural logarithm of x."""
    x = as_float_tensor("log", x)
    values = x.array
    return record("log", xp_of(values).log(values), (x,), lambda gradient: (gradient / values,))


@operation
def matmul(a: Operand, b: Operand) -> Tensor:
    """The matrix product a @ b of (..., M, K) and (..., K, N), leading axes broadcast: (..., M, N).

    A vector (K,) is a single row on the left and a single column on the right, of which no axis is left: two give ().
    """
    a, b = as_operands(a, b)
    x, y = a.array, b.array
    if 0 in (x.ndim, y.ndim) or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ShapeError(
            f"matmul: expected (..., M, K) @ (..., K, N), got {shape_text(x.shape)} @ {shape_text(y.shape)}; "
            f"transpose or reshape one of them"
        )
    x, y = product_operand(a), product_operand(b)
    rows, columns = (x if x.ndim > 1 else x[None]), (y if y.ndim > 1 else y[:, None])
    check_broadcast("matmul", rows.shape[:-2], columns.shape[:-2])
    product = gemm.matmul(rows, columns)
    full_shape = product.shape
    shape = full_shape[:-2] + (full_shape[-2:-1] if x.ndim > 1 else ()) + (full_shape[-1:] if y.ndim > 1 else ())

    def backward(gradient: Array) -> tuple[Array, Array]:
        gradient = product_gradient(gradient).reshape(full_shape)
        a_gradient = sum_to(gemm.matmul(gradient, columns.swapaxes(-1, -2)), rows.shape)
        b_gradient = sum_to(gemm.matmul(rows.swapaxes(-1, -2), gradient), columns.shape)
        return a_gradient.reshape(x.shape), b_gradient.reshape(y.shape)

    return record("matmul", product.reshape(shape), (a, b), backward, is_bf16=True)
