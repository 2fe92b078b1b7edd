"""What is done to all gradients in the plain way, on any array module and on several devices."""

import functools
import operator
from collections.abc import Sequence

import numpy as np

from gpucnn.backend import Array, current, device_of, to_device, xp_of

SMALLEST_NORM = 1e-6
"""Added to the norm before dividing by it, as PyTorch does."""


def clear_unless_finite(flag: Array, values: Array, loss: Array | None) -> None:
    """See `clear_unless_finite` of this folder."""
    for array in (values, loss):
        if array is not None:
            flag &= xp_of(array).isfinite(array).all()


def limit_norm(gradients: Sequence[Array], most: float) -> Array:
    """See `limit_norm` of this folder."""
    first = device_of(gradients[0])
    squares = [to_device(_sum_of_squares(gradient), first) for gradient in gradients]
    with current(first):
        norm: Array = first.xp.sqrt(functools.reduce(operator.add, squares))
        factor = first.xp.minimum(most / (norm + SMALLEST_NORM), 1.0)
    for gradient in gradients:
        with current(device_of(gradient)):
            gradient *= to_device(factor, device_of(gradient)).astype(gradient.dtype)
    return norm


def _sum_of_squares(array: Array) -> Array:
    """An array () in float64, as the squares of large float32 numbers overflow in their own dtype."""
    with current(device_of(array)):
        return xp_of(array).multiply(array, array, dtype=np.float64).sum()


def add_batch(total: Array, gradient: Array, images: int) -> None:
    """See `add_batch` of this folder."""
    total += gradient * total.dtype.type(images)


def take_mean(total: Array, gradient: Array, images: Array) -> None:
    """See `take_mean` of this folder."""
    xp_of(total).divide(total, images, out=gradient)
    total[...] = 0
