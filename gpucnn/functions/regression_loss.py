"""Losses of regression: how far predicted numbers are from the true ones.

Each compares an input and a target of the same shape, element by element, and gives their mean, their sum or, with
reduction "none", all of them. Gradients reach both. Raises ShapeError for two shapes and for a mean of no elements,
DTypeError for integers, ArgumentError for another reduction.
"""

from collections.abc import Callable

from gpucnn.autograd import Operand, Tensor, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_number
from gpucnn.errors import ArgumentError
from gpucnn.functions.reduction import check_elements, check_reduction, loss_pair, reduce_losses


@operation
def mse_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """(input - target)^2, the squared error."""
    return _difference_loss("mse_loss", input, target, reduction, lambda error: error * error, lambda error: 2 * error)


@operation
def l1_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """|input - target|, the absolute error. Its gradient where they are equal is 0."""
    return _difference_loss("l1_loss", input, target, reduction, abs, lambda error: xp_of(error).sign(error))


@operation
def huber_loss(input: Operand, target: Operand, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Half the squared error up to `delta` > 0, and delta * (|error| - delta / 2) beyond: outliers pull no harder.

    Source: Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 1964.
    """
    delta = as_number(delta, "huber_loss: delta")
    if delta == 0:
        raise ArgumentError("huber_loss: delta must be above 0, got 0; the loss would be 0 everywhere")

    def derivative(error: Array) -> Array:
        return xp_of(error).clip(error, -delta, delta)

    return _difference_loss("huber_loss", input, target, reduction, lambda error: _huber(error, delta), derivative)


@operation
def smooth_l1_loss(input: Operand, target: Operand, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """error^2 / (2 * beta) up to `beta` >= 0, and |error| - beta / 2 beyond: the Huber loss over beta; l1_loss for 0.

    Source: Girshick, "Fast R-CNN", ICCV 2015.
    """
    beta = as_number(beta, "smooth_l1_loss: beta")

    def loss(error: Array) -> Array:
        return _huber(error, beta) / beta if beta else abs(error)

    def derivative(error: Array) -> Array:
        return xp_of(error).clip(error, -beta, beta) / beta if beta else xp_of(error).sign(error)

    return _difference_loss("smooth_l1_loss", input, target, reduction, loss, derivative)


def _huber(error: Array, delta: float) -> Array:
    size = abs(error)
    small = xp_of(error).minimum(size, delta)
    return small * (size - 0.5 * small)  # no square of a large error, which could overflow


def _difference_loss(
    owner: str,
    input: Operand,
    target: Operand,
    reduction: str,
    loss: Callable[[Array], Array],
    derivative: Callable[[Array], Array],
) -> Tensor:
    """The reduced `loss` of input - target, whose `derivative` is given."""
    check_reduction(owner, reduction)
    input, target = loss_pair(owner, input, target, ("input", "target"))
    check_elements(owner, input, reduction)
    xp, target_learns = xp_of(input.array), target.requires_grad
    error = xp.subtract(input.array, target.array)
    reduced, spread = reduce_losses(loss(error), reduction)

    def backward(gradient: Array) -> tuple[Array, Array | None]:
        error_gradient = spread(gradient) * derivative(error)
        return error_gradient, -error_gradient if target_learns else None

    return record(owner, reduced, (input, target), backward, is_bf16=False)
