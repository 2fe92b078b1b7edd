"""From the losses of single images or elements to one loss: what every loss has in common."""

from collections.abc import Callable, Sequence

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_operands, check_float
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_choice
from gpucnn.errors import ShapeError
from gpucnn.text import shape_text

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(owner: str, reduction: str, expected: Sequence[str] = REDUCTIONS) -> None:
    """ArgumentError, which names `owner`, unless `reduction` is one of the `expected` names."""
    as_choice(reduction, f"{owner}: reduction", expected)


def reduce_losses(
    losses: Array, reduction: str, divisor: Array | int | None = None
) -> tuple[Array, Callable[[Array], Array]]:
    """`losses` reduced to their mean, their sum or, for "none", not at all; and the way back.

    The way back takes the gradient of the result to that of each of the losses. A mean is their sum over `divisor`, an
    int or an array (), if there is one. Over a divisor of zero it is NaN, and its gradient that of the sum.
    """
    shape = losses.shape
    if reduction == "none":
        return losses, lambda gradient: gradient
    if reduction == "sum":
        return losses.sum(dtype=losses.dtype), lambda gradient: xp_of(gradient).broadcast_to(gradient, shape)
    if divisor is None:
        count = losses.size
        return losses.mean(), lambda gradient: xp_of(gradient).broadcast_to(gradient / count, shape)
    with np.errstate(invalid="ignore"):
        mean = losses.sum(dtype=losses.dtype) / divisor

    def spread(gradient: Array) -> Array:
        return xp_of(gradient).broadcast_to(gradient / (divisor + (divisor == 0)), shape)

    return mean, spread


def loss_pair(owner: str, first: Operand, second: Operand, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """What a loss compares element by element, as two tensors of floats. ShapeError unless their shapes are the same.

    They never broadcast: (N, 1) against (N,) would compare every image with every other.
    """
    first, second = as_operands(first, second)
    if first.shape != second.shape:
        raise ShapeError(
            f"{owner}: expected {names[1]} {shape_text(first.shape)}, as {names[0]} has it, "
            f"got {shape_text(second.shape)}; reshape one of them"
        )
    check_float(owner, first)
    return first, second


def check_elements(owner: str, tensor: Tensor, reduction: str) -> None:
    """ShapeError for the mean of no elements."""
    if reduction not in ("sum", "none") and tensor.size == 0:
        raise ShapeError(f"{owner}: {shape_text(tensor.shape)} has no elements to take the mean of")
