"""Gradient clipping: large gradients are made smaller before an optimizer's step."""

from collections.abc import Iterable

import numpy as np

from gpucnn.backend import Array, Device, current, device_of, to_device, xp_of
from gpucnn.checks import as_number
from gpucnn.layers import Parameter
from gpucnn.optim.group import as_parameters

TILE = 1 << 20
"""So many elements are squared at once: their squares, in float64, take 8 MiB."""

SMALLEST_NORM = 1e-6
"""Added to the norm before dividing by it, as PyTorch does."""


def clip_gradient_norm(parameters: Iterable[Parameter], most: float) -> float:
    """Scale all gradients by one factor, so that their norm, as that of one long vector, is `most` at most.

    The factor is min(1, most / (norm + 1e-6)), PyTorch's rule. Gradients are changed in place; parameters without one are
    passed over. The norm, added up in float64, is returned as it was before, 0.0 without gradients. If it is not finite
    some gradients become NaN and the others 0 or NaN: look at what is returned.

    On a GPU the factor is computed and used there; only the number that is returned is waited for, once all is under way.
    Gradients of several devices add up on the first one's.

    Raises ArgumentError for anything but parameters, and unless `most` is a number >= 0.
    Source: Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013.
    """
    as_number(most, "most")
    gradients = _gradients(parameters, "clip_gradient_norm")
    if not gradients:
        return 0.0
    sums: dict[Device, Array] = {}
    for gradient in gradients:
        device = device_of(gradient)
        with current(device):
            total = _sum_of_squares(gradient)
            sums[device] = sums[device] + total if device in sums else total
    first = next(iter(sums))
    with current(first):
        norm = first.xp.sqrt(sum(to_device(total, first) for total in sums.values()))
        factor = first.xp.minimum(most / (norm + SMALLEST_NORM), 1.0)
    factors = {device: to_device(factor, device) for device in sums}
    for gradient in gradients:
        device = device_of(gradient)
        with current(device):
            gradient *= factors[device].astype(gradient.dtype)
    return float(norm)


def clip_gradient_value(parameters: Iterable[Parameter], most: float) -> None:
    """Bring every element of every gradient between -`most` and `most`, in place. NaN stays NaN.

    Nothing is waited for on a GPU. Raises ArgumentError for anything but parameters, and unless `most` is a number >= 0.
    """
    most = as_number(most, "most")
    for gradient in _gradients(parameters, "clip_gradient_value"):
        with current(device_of(gradient)):
            xp_of(gradient).clip(gradient, -most, most, out=gradient)


def _gradients(parameters: Iterable[Parameter], owner: str) -> list[Array]:
    """The gradients of those parameters that have one; of a parameter that is there twice once."""
    unique = {id(parameter): parameter for parameter in as_parameters(parameters, owner)}
    return [parameter.grad for parameter in unique.values() if parameter.grad is not None]


def _sum_of_squares(array: Array) -> Array:
    """In float64, a 0-d array on the device, as squares of large float32 numbers overflow in their own dtype."""
    xp, flat = xp_of(array), array.reshape(-1)
    total = xp.zeros((), np.float64)
    for start in range(0, flat.size, TILE):
        tile = flat[start : start + TILE]
        total += xp.multiply(tile, tile, dtype=np.float64).sum()
    return total
