"""Gradient clipping: large gradients are made smaller before an optimizer's step."""

from collections.abc import Iterable

import numpy as np

from gpucnn.backend import Array, current, device_of, xp_of
from gpucnn.backend.joined import joined
from gpucnn.checks import as_number
from gpucnn.kernels import gradients as kernel
from gpucnn.layers import Parameter
from gpucnn.optim.group import as_parameters


def clip_gradient_norm(parameters: Iterable[Parameter], most: float) -> float:
    """Scale all gradients by one factor, so that their norm, as that of one long vector, is `most` at most.

    The factor is min(1, most / (norm + 1e-6)), PyTorch's rule. Gradients are changed in place; parameters without one are
    passed over. The norm, added up in float64, is returned as it was before, 0.0 without gradients. If it is not finite,
    some gradients become NaN and the others 0 or NaN: look at what is returned.

    The norm that is returned is waited for on a GPU; `Optimizer.clip_norm` does the same and waits for nothing. Gradients
    of several devices add up on the first one's.

    Raises ArgumentError for anything but parameters, and unless `most` is a number >= 0.
    Source: Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013.
    """
    most = as_number(most, "most")
    return float(limit_norm(_gradients(parameters, "clip_gradient_norm"), most))


def clip_gradient_value(parameters: Iterable[Parameter], most: float) -> None:
    """Bring every element of every gradient between -`most` and `most`, in place. NaN stays NaN.

    Nothing is waited for on a GPU. Raises ArgumentError for anything but parameters, and unless `most` is a number >= 0.
    """
    most = as_number(most, "most")
    for (gradient,) in joined(_gradients(parameters, "clip_gradient_value")):
        with current(device_of(gradient)):
            xp_of(gradient).clip(gradient, -most, most, out=gradient)


def limit_norm(gradients: Iterable[Array], most: float) -> Array:
    """`clip_gradient_norm` of gradients. The norm is an array () in float64 on the first one's device, not waited for."""
    tiles = [tile for (tile,) in joined(gradients)]
    if not tiles:
        return np.zeros(())
    with current(device_of(tiles[0])):
        return kernel.limit_norm(tiles, most)


def _gradients(parameters: Iterable[Parameter], owner: str) -> list[Array]:
    """The gradients of those parameters that have one; of a parameter that is there twice once."""
    unique = {id(parameter): parameter for parameter in as_parameters(parameters, owner)}
    return [parameter.grad for parameter in unique.values() if parameter.grad is not None]
