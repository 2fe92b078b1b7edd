"""Piecewise linear activation functions, ReLU and its kin, and softmax; `smooth_activation` has the curved ones."""

import math
from collections.abc import Sequence

from gpucnn.autograd import Operand, Tensor, as_float_tensor, as_operands, check_float, operation, record
from gpucnn.autograd.rounding import stored
from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape, as_items, is_finite, is_int
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.kernels import elementwise
from gpucnn.kernels.cross_entropy import log_softmax as log_softmax_of
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.text import shape_text, value_text


@operation
def relu(x: Operand) -> Tensor:
    """max(0, x), element by element. The gradient at 0 is 0; at NaN it passes, so that it stays in sight."""
    x = as_float_tensor("relu", x)
    held = stored(x)
    output = elementwise.relu(x.array if held is None else held[0])
    is_stored = held is not None
    return record(
        "relu", output, (x,), lambda gradient: (elementwise.relu_gradient(gradient, output),), stored=is_stored
    )


@operation
def relu6(x: Operand) -> Tensor:
    """min(max(0, x), 6), element by element. The gradient at 0 and at 6 is 0; at NaN it passes.

    Source: Howard et al., "MobileNets", 2017.
    """
    x = as_float_tensor("relu6", x)
    output = _clip(x.array, 0, 6)
    return record("relu6", output, (x,), lambda gradient: (masked(gradient, (output != 0) & (output != 6)),))


@operation
def leaky_relu(x: Operand, negative_slope: float = 0.01) -> Tensor:
    """x above zero and negative_slope * x elsewhere, element by element. The gradient at 0 is `negative_slope`.

    Raises ArgumentError unless `negative_slope` is a finite number. Source: Maas et al., "Rectifier nonlinearities
    improve neural network acoustic models", 2013.
    """
    x = as_float_tensor("leaky_relu", x)
    slope = as_finite(negative_slope, "leaky_relu: negative_slope")
    xp, values = xp_of(x.array), x.array

    def backward(gradient: Array) -> tuple[Array]:
        positive = values > 0
        return (masked(gradient, positive) + slope * masked(gradient, ~positive),)

    return record("leaky_relu", xp.maximum(values, 0) + slope * xp.minimum(values, 0), (x,), backward)


@operation
def prelu(x: Operand, weight: Operand) -> Tensor:
    """x above zero and weight * x elsewhere: leaky_relu with a slope that is learnt. The gradient at 0 has that slope.

    `x` is (N, C, ...) for a weight (C,), one slope a channel, or of any shape for a weight of one element. Raises
    ShapeError if they do not go together. Source: He et al., "Delving deep into rectifiers", ICCV 2015.
    """
    x, weight = as_operands(x, weight)
    check_float("prelu", x)
    along = prelu_weight_shape("prelu", x.shape, weight.shape)
    xp, values, slopes = xp_of(x.array), x.array, weight.array.reshape(along)
    summed = tuple(axis for axis in range(x.ndim) if len(along) == 0 or axis != 1)
    needs, weight_shape = (x.requires_grad, weight.requires_grad), weight.shape

    def backward(gradient: Array) -> tuple[Array | None, Array | None]:
        positive = values > 0
        below = masked(gradient, ~positive)
        x_gradient = masked(gradient, positive) + slopes * below if needs[0] else None
        if not needs[1]:
            return x_gradient, None
        return x_gradient, (below * xp.minimum(values, 0)).sum(axis=summed).reshape(weight_shape)

    return record("prelu", xp.maximum(values, 0) + slopes * xp.minimum(values, 0), (x, weight), backward)


def prelu_weight_shape(owner: str, shape: Shape, weight_shape: Shape) -> Shape:
    """The shape in which a weight meets x of `shape`: () for one slope, (C, 1, ...) for one a channel.

    ShapeError, which names `owner`, if the weight has neither one element nor one a channel.
    """
    if len(weight_shape) <= 1 and math.prod(weight_shape) == 1:
        return ()
    if len(weight_shape) != 1 or len(shape) < 2 or shape[1] != weight_shape[0]:
        raise ShapeError(
            f"{owner}: expected a weight of one element, or (C,) for x (N, C, ...), got weight {shape_text(weight_shape)} "
            f"for x {shape_text(shape)}"
        )
    return (weight_shape[0], *[1] * (len(shape) - 2))


@operation
def hardsigmoid(x: Operand) -> Tensor:
    """relu6(x + 3) / 6, element by element: a sigmoid of straight lines. The gradient at -3 and 3 is 0; at NaN it passes.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019.
    """
    x = as_float_tensor("hardsigmoid", x)
    values = x.array

    def backward(gradient: Array) -> tuple[Array]:
        return (masked(gradient, ~((values <= -3) | (values >= 3))) / 6,)

    return record("hardsigmoid", _clip(values + 3, 0, 6) / 6, (x,), backward)


@operation
def hardswish(x: Operand) -> Tensor:
    """x * relu6(x + 3) / 6, element by element. The gradient at -3 is 0, at 3 it is 1; minus infinity gives 0.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019.
    """
    x = as_float_tensor("hardswish", x)
    xp, values = xp_of(x.array), x.array

    def backward(gradient: Array) -> tuple[Array]:
        x_gradient = _clip(values, -3, 3)
        x_gradient /= 3
        x_gradient += 0.5
        x_gradient *= gradient
        x_gradient = masked(x_gradient, ~((values <= -3) | (values >= 3)))
        x_gradient += masked(gradient, values >= 3)
        return (x_gradient,)

    # Below -3 the second factor is 0 and the first one does not matter, unless it is infinite.
    output = xp.maximum(values, -3)
    factor = xp.minimum(output + 3, 6)
    factor /= 6
    output *= factor
    return record("hardswish", output, (x,), backward)


@operation
def log_softmax(x: Operand, axis: int | Sequence[int] | None = 1) -> Tensor:
    """log(exp(x) / sum(exp(x))) along `axis` (an int, several together, or None for all).

    Computed through log-sum-exp, so that large logits do not overflow.
    """
    x = as_float_tensor("log_softmax", x)
    xp = xp_of(x.array)
    axes = softmax_axes("log_softmax", x.shape, axis)
    output = log_softmax_of(x.array, axes)

    def backward(gradient: Array) -> tuple[Array]:
        return (gradient - xp.exp(output) * gradient.sum(axis=axes, keepdims=True),)

    return record("log_softmax", output, (x,), backward, is_bf16=False)


@operation
def softmax(x: Operand, axis: int | Sequence[int] | None = 1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis` (an int, several together, or None for all): logits to probabilities."""
    x = as_float_tensor("softmax", x)
    axes = softmax_axes("softmax", x.shape, axis)
    output = xp_of(x.array).exp(log_softmax_of(x.array, axes))

    def backward(gradient: Array) -> tuple[Array]:
        return (output * (gradient - (gradient * output).sum(axis=axes, keepdims=True)),)

    return record("softmax", output, (x,), backward, is_bf16=False)


def as_finite(value: float, name: str, above: float = -math.inf) -> float:
    """`value` as a float; ArgumentError, which calls it `name`, unless it is a finite number > `above`."""
    if not is_finite(value) or not value > above:
        limit = "a finite number" if above == -math.inf else f"a finite number > {above:g}"
        raise ArgumentError(f"{name} must be {limit}, got {value_text(value)}")
    return float(value)


def softmax_axes(owner: str, shape: Shape, axis: int | Sequence[int] | None) -> int | tuple[int, ...]:
    """What `axis` names of `shape`, one axis as an int; ShapeError, which names `owner`, unless they have elements."""
    items = range(len(shape)) if axis is None else as_items(axis)
    axes = tuple(items) if items is not None else (axis,)
    found = {one % len(shape) for one in axes if is_int(one) and -len(shape) <= one < len(shape)}
    if not axes or len(found) != len(axes) or any(shape[one] == 0 for one in found):
        kind = "an axis, with" if items is None else "axes, each once and with"
        raise ShapeError(
            f"{owner}: axis {value_text(axis)} must be {kind} at least one element, of {shape_text(shape)}; "
            f"logits (N, classes) go with axis=1"
        )
    return int(axes[0]) if len(axes) == 1 else tuple(map(int, axes))


def _clip(x: Array, low: float, high: float) -> Array:
    """x, but at least `low` and at most `high`; a NaN stays one, on every device."""
    xp = xp_of(x)
    clipped: Array = xp.minimum(xp.maximum(x, low), high)
    return clipped
