"""Images and sequences of another size."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_float_tensor, operation, record
from gpucnn.backend import Array
from gpucnn.checks import LARGEST, Shape, as_choice, as_count, as_flag, as_items, as_pair, is_finite
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.functions import resampling
from gpucnn.functions.resampling import Taps
from gpucnn.text import shape_text, value_text

AXES = {"nearest": (1, 2), "nearest-exact": (1, 2), "area": (1, 2), "linear": (1,), "bilinear": (2,), "bicubic": (2,)}
"""How many axes of positions each mode takes."""

WITH_CORNERS = ("linear", "bilinear", "bicubic")
WITH_ANTIALIAS = ("bilinear", "bicubic")


@operation
def interpolate(
    x: Operand,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images (N, C, H, W) or sequences (N, C, L) of another size: (N, C, OH, OW), (N, C, OL).

    Arguments and values are torch.nn.functional.interpolate's.

    - `size`: (OH, OW), or an int for both; or else
    - `scale_factor`: by how much they grow, one number > 0 or (rows, columns); sizes are rounded down, and positions follow
      the factor, or, with `recompute_scale_factor`, the ratio of the sizes.
    - `mode`: "nearest" copies the element at floor(i * H / OH), "nearest-exact" that in which the new one's centre lies;
      "area" takes the mean of all within; "linear" of sequences, "bilinear" of images weigh those around a position;
      "bicubic", of images, the sixteen around it, and can overshoot.
    - `align_corners`, of the last three: whether the centres of the corner elements stay corners, or their outer edges.
    - `antialias`, of the last two: weigh all elements where an image shrinks, as Pillow does.

    Gradients are sums over the elements that an input went to, always in one order. Raises ArgumentError for other
    arguments, ShapeError for input that does not go with the mode, or sizes of 0.
    """
    x = as_float_tensor("interpolate", x)
    align_corners, recompute_scale_factor, antialias = (
        as_flag(False if flag is None else flag, f"interpolate: {name}")
        for name, flag in (
            ("align_corners", align_corners),
            ("recompute_scale_factor", recompute_scale_factor),
            ("antialias", antialias),
        )
    )
    _check_mode(mode, align_corners, antialias)
    if (size is None) == (scale_factor is None):
        raise ArgumentError(
            f"interpolate: give size or scale_factor, got size={value_text(size)} and scale_factor={value_text(scale_factor)}"
        )
    if recompute_scale_factor and size is not None:
        raise ArgumentError("interpolate: recompute_scale_factor goes with scale_factor, got a size; leave it out")
    axes = x.ndim - 2
    if axes not in AXES[mode] or 0 in x.shape[2:]:
        kinds = {1: "(N, C, L)", 2: "(N, C, H, W)"}
        expected = " or ".join(kinds[count] for count in reversed(AXES[mode]))
        raise ShapeError(f'interpolate: mode "{mode}" takes {expected}, no size 0, got {shape_text(x.shape)}')
    old = x.shape[2:]
    if size is not None:
        new = _as_sizes(size, axes)
        ratios = [before / after for before, after in zip(old, new, strict=True)]
    else:
        factors = _as_factors(scale_factor, axes)
        new = tuple(math.floor(min(before * factor, LARGEST)) for before, factor in zip(old, factors, strict=True))
        if 0 in new:
            raise ShapeError(
                f"interpolate: scale_factor {scale_factor} makes {shape_text(new)} of images {shape_text(old)}; "
                f"take a larger one"
            )
        ratios = [1 / factor for factor in factors]
        if recompute_scale_factor:
            ratios = [before / after for before, after in zip(old, new, strict=True)]
    # The precision in which PyTorch tells where the edge between two elements is: that of values for sequences.
    positions = np.dtype(np.float64 if axes == 1 and x.dtype == np.float64 else np.float32)
    if max(new) >= LARGEST:
        raise ShapeError(f"interpolate: sizes must be below 2^31, got {size if scale_factor is None else scale_factor}")
    tables = [
        (axis, _taps(mode, align_corners, antialias, old[axis - 2], new[axis - 2], ratio, positions))
        for axis, ratio in enumerate(_settled(mode, antialias, old, new, ratios), 2)
        if ratio != 1 or old[axis - 2] != new[axis - 2]
    ]

    def backward(gradient: Array) -> tuple[Array]:
        for axis, taps in reversed(tables):
            gradient = taps.transposed(old[axis - 2]).gather(gradient, axis)
        return (gradient,)

    output = x.array
    for axis, taps in tables:
        output = taps.gather(output, axis)
    return record("interpolate", output if tables else output.copy(), (x,), backward)


def _check_mode(mode: str, align_corners: bool, antialias: bool) -> None:
    as_choice(mode, "interpolate: mode", AXES)
    for name, given, allowed in (
        ("align_corners", align_corners, WITH_CORNERS),
        ("antialias", antialias, WITH_ANTIALIAS),
    ):
        if given and mode not in allowed:
            names = ", ".join(f'"{one}"' for one in allowed)
            raise ArgumentError(f'interpolate: {name}=True goes with mode {names} alone, got "{mode}"')


def _settled(mode: str, antialias: bool, old: Shape, new: Shape, ratios: list[float]) -> list[float]:
    """The ratios, but 1 for an axis that stays as it is, whatever its factor was, in the modes in which PyTorch has it so.

    And 1/2 for rows and columns of the nearest elements that are doubled.
    """
    sequences = len(old) == 1
    if mode == "nearest-exact" or (mode == "bicubic" and not antialias) or (mode == "nearest" and sequences):
        return ratios
    settled = {(before, before): 1.0 for before in old}
    if mode == "nearest":
        settled |= {(before, 2 * before): 0.5 for before in old}
    return [settled.get(sizes, ratio) for sizes, ratio in zip(zip(old, new, strict=True), ratios, strict=True)]


def _taps(mode: str, align_corners: bool, antialias: bool, old: int, new: int, ratio: float, dtype: np.dtype) -> Taps:
    if antialias:
        return resampling.antialiased(old, new, ratio, align_corners, mode == "bicubic")
    if mode == "area":
        return resampling.area(old, new)
    if mode in WITH_CORNERS:
        taps = resampling.cubic if mode == "bicubic" else resampling.linear
        return taps(old, new, ratio, align_corners)
    return resampling.nearest(old, new, ratio, dtype, exact=mode == "nearest-exact")


def _as_sizes(size: Any, axes: int) -> tuple[int, ...]:
    if axes == 2:
        return as_pair(size, "interpolate: size", 1)
    items = as_items(size)
    return (as_count(items[0] if items is not None and len(items) == 1 else size, "interpolate: size"),)


def _as_factors(scale_factor: Any, axes: int) -> tuple[float, ...]:
    items = as_items(scale_factor)
    factors = (scale_factor,) * axes if items is None else items
    if len(factors) != axes or not all(is_finite(factor) and factor > 0 for factor in factors):
        pair = " or a pair of them" if axes == 2 else ""
        raise ArgumentError(f"interpolate: scale_factor must be a number > 0{pair}, got {value_text(scale_factor)}")
    return tuple(map(float, factors))
