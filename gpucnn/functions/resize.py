"""Images of another size."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_tensor, check_float, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.checks import IntOrPair, as_flag, as_pair, shape_text, value_text
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.kernels.masked import masked


class Tap(NamedTuple):
    """One element of the old axis for every element of the new one, and what it counts there; host arrays (new size,)."""

    source: np.ndarray
    """Which one. Never decreasing, so that those who took the same one lie side by side."""
    weight: np.ndarray


@operation
def interpolate(
    x: Operand,
    size: IntOrPair | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Tensor:
    """Images (N, C, H, W) of another size: (N, C, OH, OW). Arguments and values are torch.nn.functional.interpolate's.

    - `size`: (OH, OW), or an int for both; or else
    - `scale_factor`: by how much they grow, one number > 0 or (rows, columns); sizes are rounded down, and
      an axis whose size stays the same stays as it is.
    - `mode`: "nearest" copies the element at floor(i * H / OH); "bilinear" weighs the four around a position.
    - `align_corners`, of "bilinear": whether the centres of the corner elements stay corners, or their outer edges.

    Gradients are sums over the elements that an input went to, always in one order. Raises ArgumentError for other
    arguments, ShapeError for what is no image, or sizes of 0.
    """
    x = as_tensor(x)
    check_float("interpolate", x)
    align_corners = as_flag(align_corners, "interpolate: align_corners")
    if not isinstance(mode, str) or mode not in ("nearest", "bilinear"):
        raise ArgumentError(f'interpolate: mode must be one of "nearest", "bilinear", got {value_text(mode)}')
    if align_corners and mode == "nearest":
        raise ArgumentError('interpolate: align_corners=True goes with mode="bilinear" alone')
    if (size is None) == (scale_factor is None):
        raise ArgumentError(
            f"interpolate: give size or scale_factor, got size={value_text(size)} and scale_factor={value_text(scale_factor)}"
        )
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ShapeError(f"interpolate: expected input (N, C, H, W), H and W not 0, got {shape_text(x.shape)}")
    old = x.shape[2:]
    if size is not None:
        new = as_pair(size, "interpolate: size", 1)
        ratios = [old[axis] / new[axis] for axis in (0, 1)]
    else:
        factors = _as_factors(scale_factor)
        new = (math.floor(old[0] * factors[0]), math.floor(old[1] * factors[1]))
        ratios = [1 / factor for factor in factors]
        if 0 in new:
            raise ShapeError(
                f"interpolate: scale_factor {scale_factor} makes {shape_text(new)} of images {shape_text(old)}; "
                f"take a larger one"
            )
    ratios = [1.0 if old[axis] == new[axis] else ratios[axis] for axis in (0, 1)]
    if mode == "nearest":
        taps = [_nearest(old[axis], new[axis], ratios[axis]) for axis in (0, 1)]
    else:
        taps = [_linear(old[axis], new[axis], ratios[axis], align_corners) for axis in (0, 1)]

    def backward(gradient: Array) -> tuple[Array]:
        return (_gather_gradient(_gather_gradient(gradient, taps[1], old[1], 3), taps[0], old[0], 2),)

    return record("interpolate", _gather(_gather(x.data, taps[0], 2), taps[1], 3), (x,), backward)


def _as_factors(scale_factor: Any) -> tuple[float, float]:
    factors = tuple(scale_factor) if isinstance(scale_factor, Sequence) else (scale_factor, scale_factor)
    if len(factors) != 2 or not all(
        isinstance(factor, Real) and not isinstance(factor, bool) and 0 < float(factor) < math.inf for factor in factors
    ):
        raise ArgumentError(
            f"interpolate: scale_factor must be a number > 0 or a pair of them, got {value_text(scale_factor)}"
        )
    return float(factors[0]), float(factors[1])


def _nearest(old: int, new: int, ratio: float) -> list[Tap]:
    positions = np.arange(new)
    # In float32, as PyTorch has it, so that both take the same element where a product lies on the edge of two.
    source = np.floor(positions.astype(np.float32) * np.float32(ratio)).astype(np.int64)
    if new == 2 * old:
        source = positions // 2
    return [Tap(np.minimum(source, old - 1), np.ones(new))]


def _linear(old: int, new: int, ratio: float, align_corners: bool) -> list[Tap]:
    if align_corners:
        positions = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        positions = np.maximum((np.arange(new) + 0.5) * ratio - 0.5, 0)
    lower = np.minimum(positions.astype(np.int64), old - 1)
    share = np.minimum(positions - lower, 1)
    return [Tap(lower, 1 - share), Tap(np.minimum(lower + 1, old - 1), share)]


def _gather(x: Array, taps: list[Tap], axis: int) -> Array:
    xp = xp_of(x)
    if len(taps) == 1:
        return x.take(xp.asarray(taps[0].source), axis=axis)
    first, second = (x.take(xp.asarray(tap.source), axis=axis) * _along(tap.weight, axis, x) for tap in taps)
    return first + second


def _gather_gradient(gradient: Array, taps: list[Tap], old: int, axis: int) -> Array:
    """The gradient of `_gather`: each old element gathers it from all the new ones that it went to."""
    xp = xp_of(gradient)
    shape = (*gradient.shape[:axis], old, *gradient.shape[axis + 1 :])
    total = xp.zeros(shape, gradient.dtype)
    for tap in taps:
        start = np.searchsorted(tap.source, np.arange(old), "left")
        end = np.searchsorted(tap.source, np.arange(old), "right")
        weighted = gradient if len(taps) == 1 else gradient * _along(tap.weight, axis, gradient)
        for step in range(int((end - start).max())):
            taken = start + step < end
            source = xp.asarray(np.where(taken, start + step, 0))
            mask = xp.asarray(taken).reshape(-1, *[1] * (3 - axis))
            total += masked(weighted.take(source, axis=axis), mask)
    return total


def _along(weight: np.ndarray, axis: int, like: Array) -> Array:
    return xp_of(like).asarray(weight.astype(like.dtype)).reshape(-1, *[1] * (3 - axis))
