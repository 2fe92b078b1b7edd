"""Normalisation: batch, layer, group, instance and local response.

All but the last give every group of elements mean 0 and variance 1, and then scale and shift it per channel. They
differ only in what a group is, so they share one function for the statistics and the way back through them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_float_tensor, as_operand, as_tensor, check_float, operation, record
from gpucnn.autograd.rounding import stored
from gpucnn.backend import Array, as_array, device_of, wide, xp_of
from gpucnn.backend.host_memory import empty_beside
from gpucnn.checks import Shape, as_count, as_flag, as_items, as_number, check_activation, is_finite, is_int
from gpucnn.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from gpucnn.functions.activation import as_finite
from gpucnn.functions.activation import relu as rectified
from gpucnn.functions.arithmetic import add
from gpucnn.kernels import batch_norm as kernel
from gpucnn.text import MOST_AXES, shape_text, value_text


@operation
def batch_norm(
    x: Operand,
    running_mean: Operand | None,
    running_var: Operand | None,
    weight: Operand | None = None,
    bias: Operand | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    activation: str | None = None,
    residual: Operand | None = None,
) -> Tensor:
    """Normalise every channel over the batch and all positions: (N, C, ...) to the same shape.

    - `running_mean`, `running_var`: (C,), tensors or plain arrays, or None. `weight`, `bias`: (C,), the scale and shift
      afterwards, or None. `eps`: a number > 0, beside the variance.
    - `training`: use the batch's own mean and biased variance, and move the running ones, where given, towards its mean and
      unbiased variance by the share `momentum`, a number or a tensor (). They move in place: the arrays, be they a tensor's
      or plain ones of floats, get new values. Else use the running ones as they are.
    - `residual`: None, or what is added to the output, of its shape. `activation`: None, or "relu". Together they give
      relu(batch_norm(...) + residual), in fewer passes over memory.

    Raises ShapeError for input without channels, for statistics, weights and a residual of another shape, and in training for
    a single value per channel, whose variance is 0. ArgumentError without running statistics outside of training, for some that
    are to move and cannot be written to, or for an invalid eps, DTypeError for operands of another dtype, or statistics that
    are to move but are not floats, DeviceError if they are not where the input is.
    Source: Ioffe and Szegedy, "Batch normalization", ICML 2015.
    """
    relu, x = check_activation("batch_norm", activation), as_tensor(x)
    check_float("batch_norm", x)
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: expected input (N, C, ...), got {shape_text(x.shape)}")
    scale, shift = _affine("batch_norm", weight, bias, x, x.shape[1:2])
    added = None if residual is None else as_operand(residual, x)
    if added is not None and added.shape != x.shape:
        raise ShapeError(f"batch_norm: expected residual {shape_text(x.shape)}, got {shape_text(added.shape)}")
    eps = as_eps("batch_norm", eps, x.dtype)
    training = as_flag(training, "batch_norm: training")
    running = [_running("running_mean", running_mean, x, training), _running("running_var", running_var, x, training)]
    if not training:
        mean, variance = (as_operand(array, x).array for array in running)
        output = _with_statistics(x, mean, variance, scale, shift, eps)
        if added is not None:
            return add(output, added, activation)
        return rectified(output) if relu else output
    share = _share(momentum, x) if isinstance(momentum, Tensor) else as_number(momentum, "batch_norm: momentum")
    count = math.prod(x.shape) // max(x.shape[1], 1)
    if count == 1:
        raise ShapeError(
            f"batch_norm: a single value per channel has no variance to learn from, got input {shape_text(x.shape)}; "
            f"use a batch of two or more, or model.eval()"
        )
    shape, planes = x.shape, (*x.shape[:2], math.prod(x.shape[2:]))
    given = [one for one in (x, added) if one is not None]
    held = stored(*given)
    values, *more = (_contiguous(one, planes) for one in held or [one.array for one in given])
    factors, shifts = (None if tensor is None else tensor.array for tensor in (scale, shift))
    is_tracked = running_mean is not None or running_var is not None
    moved = kernel.Running(_array(running[0]), _array(running[1]), share) if is_tracked else None
    output, statistics = kernel.batch_norm(values, factors, shifts, eps, relu, more[0] if more else None, moved)
    relu_output, is_added = output if relu else None, added is not None
    affine = [tensor for tensor in (scale, shift) if tensor is not None]
    learning = [tensor if tensor is not None and tensor.requires_grad else None for tensor in (scale, shift)]
    residual_needs = added is not None and added.requires_grad

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        slopes = _contiguous(gradient, planes)
        sums = [None if tensor is None else tensor.gradient_buffer() for tensor in learning]
        passed = empty_beside(slopes, planes) if relu and residual_needs else None
        own = kernel.Gradients(sums[0], sums[1], passed)
        x_gradient = kernel.batch_norm_gradients(slopes, values, factors, statistics, own, relu_output, is_added)
        sums = [total for total, tensor in zip(own[:2], (scale, shift), strict=True) if tensor is not None]
        if is_added:  # what needs no gradient is passed over by the tape
            sums.append(gradient if passed is None else passed.reshape(shape))
        return (x_gradient.reshape(shape), *sums)

    inputs = [x, *affine, *([] if added is None else [added])]
    return record("batch_norm", output.reshape(shape), inputs, backward, stored=held is not None)


@operation
def layer_norm(
    x: Operand,
    normalized_shape: int | Sequence[int],
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each sample over its last axes, of `normalized_shape`; `weight` and `bias` of that shape, or None.

    Raises ShapeError if the input does not end in that shape. Source: Ba et al., "Layer normalization", 2016.
    """
    x = as_float_tensor("layer_norm", x)
    sizes = as_items(normalized_shape)
    ending: tuple[Any, ...] = (normalized_shape,) if sizes is None else sizes
    eps = as_eps("layer_norm", eps, x.dtype)
    if not ending or not all(map(is_int, ending)) or x.shape[-len(ending) :] != ending:
        raise ShapeError(
            f"layer_norm: expected input (..., {', '.join(map(value_text, ending[:MOST_AXES]))}), got {shape_text(x.shape)}"
        )
    scale, shift = _affine("layer_norm", weight, bias, x, ending)
    axes = tuple(range(x.ndim - len(ending), x.ndim))
    normalized, back = _standardize(x.array, axes, eps)
    return _scaled("layer_norm", x, normalized, back, scale, shift, (1,) * (x.ndim - len(ending)) + ending)


@operation
def group_norm(
    x: Operand, num_groups: int, weight: Operand | None = None, bias: Operand | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each sample's channels in `num_groups` groups, over all positions: (N, C, ...) to the same shape.

    `weight` and `bias`: (C,), or None. Raises ShapeError for input without channels, ArgumentError if `num_groups` does not
    divide them. Source: Wu and He, "Group normalization", ECCV 2018.
    """
    return _group_norm("group_norm", as_tensor(x), num_groups, weight, bias, eps)


@operation
def instance_norm(x: Operand, weight: Operand | None = None, bias: Operand | None = None, eps: float = 1e-5) -> Tensor:
    """Normalise each channel of each sample over its positions: (N, C, ...) to the same shape.

    `weight` and `bias`: (C,), or None. Raises ShapeError for input without positions, or with a single one, which has no
    variance.
    Source: Ulyanov et al., "Instance normalization", 2016.
    """
    x = as_tensor(x)
    if x.ndim < 3 or math.prod(x.shape[2:]) == 1:
        raise ShapeError(
            f"instance_norm: expected input (N, C, positions, ...) of more than one position, got {shape_text(x.shape)}"
        )
    return _group_norm("instance_norm", x, x.shape[1], weight, bias, eps)


@operation
def local_response_norm(x: Operand, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha * mean of squares over `size` neighbouring channels) ** beta, for input (N, C, ...).

    The mean counts neighbours outside of the channels as zeros, as in PyTorch. Raises ShapeError for input without
    channels. Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", NeurIPS 2012.
    """
    x = as_float_tensor("local_response_norm", x)
    size = as_count(size, "local_response_norm: size")
    alpha, beta, k = (
        as_finite(value, f"local_response_norm: {name}") for name, value in (("alpha", alpha), ("beta", beta), ("k", k))
    )
    if x.ndim < 2:
        raise ShapeError(f"local_response_norm: expected input (N, C, ...), got {shape_text(x.shape)}")
    values = x.array
    base = k + alpha / size * _sum_of_neighbours(values * values, size // 2, (size - 1) // 2)
    power = base**-beta

    def backward(gradient: Array) -> tuple[Array]:
        # A channel is a neighbour of those that have it as theirs: the same sum, with its two sides swapped.
        shares = _sum_of_neighbours(gradient * values * power / base, (size - 1) // 2, size // 2)
        return (gradient * power - 2 * alpha * beta / size * values * shares,)

    return record("local_response_norm", values * power, (x,), backward)


def as_eps(owner: str, eps: float, dtype: Any = np.float64) -> float:
    """`eps` as a float; ArgumentError, which names `owner`, unless it is a finite number > 0, in `dtype`, too."""
    if not is_finite(eps) or not eps > 0:
        raise ArgumentError(
            f"{owner}: eps must be a number > 0, got {value_text(eps)}; it is added to a variance that may be 0, take e.g. 1e-5"
        )
    with np.errstate(over="ignore"):
        if not np.dtype(dtype).type(eps) > 0:
            raise ArgumentError(
                f"{owner}: eps {eps!r} is 0 in {np.dtype(dtype)}; it is added to a variance that may be 0, take e.g. 1e-5"
            )
    return float(eps)


def _running(name: str, statistics: Operand | None, x: Tensor, moves: bool) -> Any:
    """Running statistics that fit `x`, a tensor or array, as they are; with `moves` they can be written to."""
    if statistics is None:
        if not moves:
            raise ArgumentError(f"batch_norm: {name} is None, which only training=True can do without")
        return None
    shape = statistics.shape if isinstance(statistics, Tensor) else as_array(statistics, x.dtype).shape
    if shape != x.shape[1:2]:
        raise ShapeError(f"batch_norm: expected {name} {shape_text(x.shape[1:2])}, got {shape_text(shape)}")
    if isinstance(statistics, Tensor):
        as_operand(statistics, x)  # refuses another dtype
    if moves:
        _check_moves(name, _array(statistics), x)
    return statistics


def _array(statistics: Any) -> Any:
    """The array of running statistics, be they a tensor or plain."""
    return statistics.array if isinstance(statistics, Tensor) else statistics


def _share(momentum: Tensor, x: Tensor) -> Array:
    """The momentum's one number, an array; ShapeError if there are more, or none."""
    share = as_operand(momentum, x).array
    if momentum.size != 1:
        raise ShapeError(f"batch_norm: expected momentum (), a single number, got {shape_text(momentum.shape)}")
    return share


def _check_moves(name: str, statistics: Any, x: Tensor) -> None:
    """DTypeError, DeviceError or ArgumentError unless an array can take new values of `x`."""
    is_array = hasattr(statistics, "dtype") and not isinstance(statistics, np.generic)
    if not is_array or statistics.dtype.kind != "f":
        kind = f"an array of {statistics.dtype}" if hasattr(statistics, "dtype") else f"a {type(statistics).__name__}"
        raise DTypeError(
            f"batch_norm: {name} moves in training, so it must be a tensor or an array of floats, got {kind}; "
            f"give an array of {x.dtype}, or None"
        )
    if device_of(statistics) != x.device:
        raise DeviceError(
            f"batch_norm: {name} is on {device_of(statistics)}, the input on {x.device}; training moves it where it is: "
            f"bring it to the input's device"
        )
    if isinstance(statistics, np.ndarray) and not statistics.flags.writeable:
        raise ArgumentError(f"batch_norm: {name} moves in training, and cannot be written to; give a copy of it")


def _standardize(values: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Callable[[Array], Array]]:
    """Values with mean 0 and variance 1 over `axes`, and the way back for gradients."""
    if values.size == 0:
        return values.copy(), lambda gradient: gradient
    dtype = values.dtype
    values = values.astype(wide(dtype), copy=False)
    mean = values.mean(axis=axes, keepdims=True)
    centred = values - mean
    variance = (centred * centred).mean(axis=axes, keepdims=True)
    inverse = 1 / xp_of(values).sqrt(variance + eps)
    normalized = centred * inverse

    def back(gradient: Array) -> Array:
        gradient = gradient.astype(normalized.dtype, copy=False)
        through_mean = gradient.mean(axis=axes, keepdims=True)
        through_variance = normalized * (gradient * normalized).mean(axis=axes, keepdims=True)
        return (inverse * (gradient - through_mean - through_variance)).astype(dtype, copy=False)

    return normalized.astype(dtype, copy=False), back


def _scaled(
    name: str,
    x: Tensor,
    normalized: Array,
    back: Callable[[Array], Array],
    scale: Tensor | None,
    shift: Tensor | None,
    along: Shape,
) -> Tensor:
    """The tensor normalized * scale + shift, both laid out as `along`; `back` takes gradients through the statistics."""
    factor = None if scale is None else scale.array.reshape(along)
    output = normalized if factor is None else normalized * factor
    if shift is not None:
        output = output + shift.array.reshape(along)
    summed = tuple(axis for axis, size in enumerate(along) if size == 1 or size != normalized.shape[axis])

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        gradients: list[Array | None] = [back(gradient if factor is None else gradient * factor)]
        if scale is not None:
            gradients.append((gradient * normalized).sum(axis=summed).reshape(scale.shape))
        if shift is not None:
            gradients.append(gradient.sum(axis=summed).reshape(shift.shape))
        return tuple(gradients)

    return record(name, output, [tensor for tensor in (x, scale, shift) if tensor is not None], backward)


def _with_statistics(
    x: Tensor, mean: Array, variance: Array, scale: Tensor | None, shift: Tensor | None, eps: float
) -> Tensor:
    """Batch normalisation with given statistics (C,), which are constants."""
    along = _along(x)
    inverse = (1 / xp_of(x.array).sqrt(variance + eps)).reshape(along)
    normalized = (x.array - mean.reshape(along)) * inverse
    return _scaled("batch_norm", x, normalized, lambda gradient: gradient * inverse, scale, shift, along)


def _group_norm(
    owner: str, x: Tensor, num_groups: int, weight: Operand | None, bias: Operand | None, eps: float
) -> Tensor:
    check_float(owner, x)
    if x.ndim < 2:
        raise ShapeError(f"{owner}: expected input (N, C, ...), got {shape_text(x.shape)}")
    batch, channels = x.shape[:2]
    if as_count(num_groups, f"{owner}: num_groups") and channels % num_groups:
        raise ArgumentError(f"{owner}: num_groups must divide {channels} channels, got {num_groups}")
    scale, shift = _affine(owner, weight, bias, x, x.shape[1:2])
    eps = as_eps(owner, eps, x.dtype)
    grouped = (batch, num_groups, math.prod(x.shape[1:]) // num_groups)
    normalized, back = _standardize(x.array.reshape(grouped), (2,), eps)
    shape = x.shape

    def back_in_groups(gradient: Array) -> Array:
        return back(gradient.reshape(grouped)).reshape(shape)

    return _scaled(owner, x, normalized.reshape(shape), back_in_groups, scale, shift, _along(x))


def _contiguous(array: Array, shape: Shape) -> Array:
    """The array in C order, in another shape."""
    return xp_of(array).ascontiguousarray(array).reshape(shape)


def _sum_of_neighbours(values: Array, before: int, after: int) -> Array:
    """For every channel (axis 1) the sum over it, the `before` channels before it and the `after` channels behind it."""
    channels = values.shape[1]
    total = values.copy()
    for distance in range(1, min(max(before, after), channels - 1) + 1):
        if distance <= before:
            total[:, distance:] += values[:, : max(channels - distance, 0)]
        if distance <= after:
            total[:, : max(channels - distance, 0)] += values[:, distance:]
    return total


def _along(x: Tensor) -> Shape:
    """The shape in which a vector (C,) meets x (N, C, ...)."""
    return 1, x.shape[1], *[1] * (x.ndim - 2)


def _affine(owner: str, weight: Operand | None, bias: Operand | None, x: Tensor, shape: Shape) -> list[Tensor | None]:
    """The scale and the shift that go with `x`; ShapeError, which names `owner`, unless they are of `shape`."""
    found = [None if value is None else as_operand(value, x) for value in (weight, bias)]
    for name, tensor in zip(("weight", "bias"), found, strict=True):
        if tensor is not None and tensor.shape != shape:
            raise ShapeError(f"{owner}: expected {name} {shape_text(shape)}, got {shape_text(tensor.shape)}")
    return found
