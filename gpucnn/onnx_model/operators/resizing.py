"""Resize and Upsample: every axis of another size as a table of which elements each new one takes, and what they count.

Every mode of ONNX is one of three kernels over positions, and the gradient is the same table read the other way. Source: the
definition of Resize in the ONNX standard, and Keys, "Cubic convolution interpolation for digital image processing", 1981.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_tensor, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.errors import ShapeError
from gpucnn.functions.broadcasting import as_axes
from gpucnn.functions.resampling import Taps
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operands import chosen, like, operand
from gpucnn.onnx_model.operators.operator import Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import check_made, integers, known, needed
from gpucnn.text import shape_text


class Positions(NamedTuple):
    """An axis that gets another size."""

    old: int
    new: int
    scale: float
    """By how much it grows, which need not be the ratio of the sizes."""
    begin: float
    end: float
    """Of a crop, as shares of the old axis."""

    def of(self, mode: str) -> np.ndarray:
        """Where each new element's centre lies on the old axis."""
        new = np.arange(self.new, dtype=np.float64)
        length = self.scale * self.old
        if mode == "align_corners":
            return new * ((self.old - 1) / (length - 1)) if length != 1 else np.zeros(self.new)
        if mode == "asymmetric":
            return new / self.scale
        if mode == "pytorch_half_pixel":
            return (new + 0.5) / self.scale - 0.5 if length > 1 else np.full(self.new, -0.5)
        if mode == "tf_half_pixel_for_nn":
            return (new + 0.5) / self.scale
        if mode == "tf_crop_and_resize":
            if self.new == 1:
                return np.full(1, (self.begin + self.end) * (self.old - 1) / 2)
            return self.begin * (self.old - 1) + new * ((self.end - self.begin) * (self.old - 1) / (self.new - 1))
        if mode == "half_pixel_symmetric":
            shift = self.old / 2 * (1 - self.new / length)
            return shift + (new + 0.5) / self.scale - 0.5
        return (new + 0.5) / self.scale - 0.5


TRANSFORMATIONS = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize",
)  # fmt: skip
"""What `Positions.of` knows."""

ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def resize(node: OnnxNode, inputs: Inputs) -> Value:
    """The input with its axes, or `axes` of them, grown by `scales` or to `sizes`."""
    x = needed(inputs, 0)
    first = 1 if node.since == 10 else 2
    axes = as_axes(node.operator, x.ndim, node.integers("axes"))
    scales, sizes = _numbers(node, inputs, first), integers(node, inputs, first + 1, "sizes") or None
    if (scales is None) == (sizes is None):
        raise ShapeError("expected scales or sizes, one of them, got both or none")
    given = scales if sizes is None else sizes
    assert given is not None
    if len(given) != len(axes):
        raise ShapeError(
            f"expected {len(axes)} {'scales' if sizes is None else 'sizes'}, one for each axis, got {len(given)}"
        )
    old = [x.shape[axis] for axis in axes]
    factors, new = _factors_and_sizes(node, old, scales, sizes)
    corners = _numbers(node, inputs, 1) if first == 2 else None
    usual = "half_pixel" if first == 2 else "asymmetric"
    mode = chosen(node, "coordinate_transformation_mode", TRANSFORMATIONS, usual)
    if mode == "tf_crop_and_resize" and (corners is None or len(corners) != 2 * len(axes)):
        raise ShapeError(f"expected a roi of {2 * len(axes)} numbers, the begin and end of each axis, got {corners}")
    if mode != "tf_crop_and_resize" or corners is None:
        corners = [0.0] * len(axes) + [1.0] * len(axes)
    return _resized(node, x, {
        axis: Positions(old[place], new[place], factors[place], corners[place], corners[place + len(axes)])
        for place, axis in enumerate(axes)
    }, mode)  # fmt: skip


def upsample(node: OnnxNode, inputs: Inputs) -> Value:
    """The input grown by whole or other factors; nearest elements are those at or before a position."""
    x = needed(inputs, 0)
    if node.since == 1:
        factors = [1.0] * (x.ndim - 2) + [node.number("height_scale"), node.number("width_scale")]
    elif node.since == 7:
        factors = [float(one) for one in node.attributes.get("scales", ())]
    else:
        factors = _numbers(node, inputs, 1) or []
    if len(factors) != x.ndim:
        raise ShapeError(f"expected {x.ndim} scales, one for each axis of {shape_text(x.shape)}, got {len(factors)}")
    _check_factors(factors)
    new = [math.floor(size * factor) for size, factor in zip(x.shape, factors, strict=True)]
    tables = {axis: Positions(x.shape[axis], new[axis], factors[axis], 0.0, 1.0) for axis in range(x.ndim)}
    return _resized(node, x, tables, "asymmetric")


def _resized(node: OnnxNode, x: Value, positions: dict[int, Positions], transformation: str) -> Value:
    made = list(x.shape)
    for axis, one in positions.items():
        made[axis] = one.new
    check_made(made)
    changing = {
        axis: one for axis, one in positions.items()
        if one.old != one.new or one.scale != 1 or transformation == "tf_crop_and_resize"
    }  # fmt: skip
    if any(one.old == 0 or one.new == 0 for one in changing.values()):
        raise ShapeError(f"expected no axis of size 0, got {shape_text(x.shape)} to {shape_text(made)}")
    tables, outside = [], None
    for axis, one in changing.items():
        places = one.of(transformation)
        tables.append((axis, _taps(node, one, places)))
        if transformation == "tf_crop_and_resize":
            beyond = ((places < 0) | (places > one.old - 1)).reshape(
                [-1 if here == axis else 1 for here in range(x.ndim)]
            )
            outside = beyond if outside is None else outside | beyond
    value = node.number("extrapolation_value")
    return like(x, resampled(operand(x), tables, outside if outside is not None and outside.any() else None, value))


@operation
def resampled(
    x: Operand, tables: list[tuple[int, Taps]], outside: np.ndarray | None = None, value: float = 0
) -> Tensor:
    """x with its axes summed up as `tables` tell, and `value` where the result is `outside` of what there is."""
    x = as_tensor(x)
    old, output = x.shape, x.array

    def masked(array: Array, filling: float) -> Array:
        xp = xp_of(array)
        return array if outside is None else xp.where(xp.asarray(outside), array.dtype.type(filling), array)

    def backward(gradient: Array) -> tuple[Array]:
        gradient = masked(gradient, 0)
        for axis, taps in reversed(tables):
            gradient = taps.transposed(old[axis]).gather(gradient, axis)
        return (gradient,)

    for axis, taps in tables:
        output = taps.gather(output, axis)
    return record("resampled", masked(output if tables else output.copy(), value), (x,), backward)


def _taps(node: OnnxNode, axis: Positions, places: np.ndarray) -> Taps:
    mode = chosen(node, "mode", ("nearest", "linear", "bilinear", "cubic"), "nearest")
    if mode == "nearest":
        downwards = node.operator == "Upsample" or node.since == 10
        name = chosen(node, "nearest_mode", ROUNDINGS, "floor" if downwards else "round_prefer_floor")
        source = np.clip(ROUNDINGS[name](places), 0, axis.old - 1).astype(np.int64)
        return Taps.of(source[None], np.ones((1, axis.new)))
    stretch = 1 / axis.scale if node.integer("antialias") and axis.scale < 1 else 1.0
    slope = node.number("cubic_coeff_a", -0.75)
    kernel = (lambda distance: _cubic(distance, slope)) if mode == "cubic" else _tent
    reach = (2 if mode == "cubic" else 1) * stretch
    first = np.floor(places - reach).astype(np.int64) + 1
    sources = first + np.arange(math.ceil(2 * reach) + 1)[:, None]
    weights = kernel((places - sources) / stretch)
    if node.integer("exclude_outside") and mode == "cubic":
        weights = np.where((sources < 0) | (sources >= axis.old), 0, weights)
    total = weights.sum(axis=0)
    weights = weights / np.where(total == 0, 1, total)
    return Taps(np.clip(sources, 0, axis.old - 1), weights, weights != 0)


def _tent(distance: np.ndarray) -> np.ndarray:
    tent: np.ndarray = np.maximum(1 - np.abs(distance), 0)
    return tent


def _cubic(distance: np.ndarray, slope: float) -> np.ndarray:
    d = np.abs(distance)
    near = ((slope + 2) * d - (slope + 3)) * d * d + 1
    far = slope * (((d - 5) * d + 8) * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _numbers(node: OnnxNode, inputs: Inputs, position: int) -> list[float] | None:
    """The input at `position`, finite numbers; None if it is left out or empty, which is the same here."""
    array = known(node, inputs, position)
    if array is None or array.size == 0:
        return None
    if array.ndim != 1 or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ShapeError(
            f"expected a list of finite numbers as input {position}, got {array.dtype} {shape_text(array.shape)}"
        )
    return [float(one) for one in array]


def _check_factors(factors: list[float]) -> None:
    if not all(0 < factor < math.inf for factor in factors):
        raise ShapeError(f"expected scales above 0, got {factors}")


def _factors_and_sizes(
    node: OnnxNode, old: list[int], scales: list[float] | None, sizes: tuple[int, ...] | None
) -> tuple[list[float], list[int]]:
    """By how much each axis grows, and to which size; a policy may keep the ratio of the sizes."""
    if sizes is None:
        factors = scales or []
        _check_factors(factors)
        return factors, [math.floor(size * factor) for size, factor in zip(old, factors, strict=True)]
    if 0 in old:
        raise ShapeError(f"expected no axis of size 0, got {shape_text(old)}")
    factors = [new / size for size, new in zip(old, sizes, strict=True)]
    policy = chosen(node, "keep_aspect_ratio_policy", ("stretch", "not_larger", "not_smaller"), "stretch")
    if policy == "stretch":
        return factors, list(sizes)
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [factor] * len(old), [math.floor(factor * size + 0.5) for size in old]


OPERATORS = {
    "Resize": Operator(resize, (10, 11, 13, 18, 19)),
    "Upsample": Operator(upsample, (1, 7, 9)),
}
