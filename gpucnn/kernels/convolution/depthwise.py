"""Depthwise convolution on a GPU, each channel with filters of its own: kernels that read each pixel once. See depthwise.cu.

Products of matrices have nothing to gain here, with a row or a few for each channel: what counts is the memory. Tiles are chosen
by sizes alone, so that what a sum is made of, and in which order, depends on no GPU.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

from gpucnn.backend import Array, xp_of
from gpucnn.backend.precision import chosen_precision
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.convolution.slices import add_slices, find_bias_gradient
from gpucnn.kernels.convolution.staging import BLOCK, Axis, Tile, choose_tile, parts
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch
from gpucnn.kernels.ways import rounds_to_tf32

SIZES = ", ".join(
    f"constant int {name}"
    for name in (
        "channels", "multiplier", "height", "width", "kernel_height", "kernel_width", "stride_height", "stride_width",
        "padding_top", "padding_left", "dilation_height", "dilation_width", "output_height", "output_width", "relu",
        "forward_planes", "forward_rows", "forward_columns", "forward_strip",
        "images_planes", "images_rows", "images_columns", "images_strip",
        "weight_planes", "weight_rows", "weight_columns", "weight_strip", "tf32",
    )
)  # fmt: skip
"""What the compiler knows: channels, filters of a channel, the window, how planes are cut, and whether operands are rounded."""


def _multiply_adds(sizes: Mapping[str, int]) -> int:
    """Of a convolution, or of one of its gradients: the same."""
    planes = sizes["planes"] if "planes" in sizes else sizes["batch"] * sizes["channels"]
    taps = sizes["kernel_height"] * sizes["kernel_width"]
    return planes * sizes["multiplier"] * sizes["output_height"] * sizes["output_width"] * taps


SOURCE = Path(__file__).with_name("depthwise.cu")
FORWARD = Kernel(
    SOURCE,
    "depthwise_forward",
    f"const T* images, const T* weight, const T* bias = null, T* output, I planes, {SIZES}",
    BLOCK,
    _multiply_adds,
)
IMAGES_GRADIENT = Kernel(
    SOURCE,
    "depthwise_images_gradient",
    f"const T* gradient, const T* output = null, const T* weight, T* images, I planes, {SIZES}",
    BLOCK,
    _multiply_adds,
)
WEIGHT_GRADIENT = Kernel(
    SOURCE,
    "depthwise_weight_gradient",
    f"const T* gradient, const T* output = null, const T* images, T* slices, I batch, I length, {SIZES}",
    BLOCK,
    _multiply_adds,
)

MOST_TAPS = 49
"""A thread has a sum for each in its registers, in the gradient of the weight."""

MOST_SUMS = 16
"""Of a patch in the gradient of images, which is a stride wide and at least one high."""

STRIP, LONG_STRIP = 4, 8
"""Rows that a thread makes, and those of windows higher than 3, which overlap more."""

LONGEST_SUM = 512
"""Products that a thread adds up one after the other in the weight's gradient: more would lose digits of float32."""

FEWEST_SLICES = 1024
"""Blocks that the weight's gradient has work for, where there is enough."""


class Plan(NamedTuple):
    """How a convolution is computed."""

    constants: tuple[int, ...]
    forward_tiles: int
    images_tiles: int
    length: int
    """Tiles of a slice."""
    slices: int


def suits(task: Convolution) -> bool:
    """Whether each channel has filters of its own, and windows and strides are not too large."""
    channels = task.image_shape[1]
    return 1 < channels == task.groups and chosen_precision() != "bf16" and plan_of(task) is not None


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """`plain.conv2d`."""
    output, plan = xp_of(images).empty(task.output_shape, images.dtype), _plan(task)
    arrays = (contiguous(images), contiguous(weight), contiguous(bias), output)
    launch(FORWARD, plan.forward_tiles * BLOCK, *arrays, _planes(task), *plan.constants, rounds_to_tf32(images))
    return output


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """`plain.conv2d_gradients`."""
    plan, gradient, output = _plan(task), contiguous(gradient), contiguous(output)
    constants = (*plan.constants, rounds_to_tf32(gradient))
    if found.weight is not None and images is not None:
        filters = len(weight)
        slices = xp_of(gradient).empty((plan.slices, filters, prod(task.window.kernel) + 1), gradient.dtype)
        arrays = (gradient, output, contiguous(images), slices)
        launch(WEIGHT_GRADIENT, plan.slices * filters * BLOCK, *arrays, len(gradient), plan.length, *constants)
        add_slices(slices, found.weight, found.bias)
    elif found.bias is not None:
        find_bias_gradient(gradient, output, found.bias)
    if found.images is not None:
        arrays = (gradient, output, contiguous(weight), found.images)
        launch(IMAGES_GRADIENT, plan.images_tiles * BLOCK, *arrays, _planes(task), *constants)


def _planes(task: Convolution) -> int:
    return task.image_shape[0] * task.image_shape[1]


def _plan(task: Convolution) -> Plan:
    plan = plan_of(task)
    assert plan is not None, "`suits` has asked"
    return plan


@lru_cache(4096)
def plan_of(task: Convolution) -> Plan | None:
    """How the kernels go about a convolution and its gradients; None if they cannot."""
    (batch, channels, *size), (filters, _, *kernel), window = task.image_shape, task.weight_shape, task.window
    multiplier, taps, stride = filters // channels, prod(kernel), window.stride
    if taps > MOST_TAPS or prod(stride) > MOST_SUMS:
        return None
    span = [side - 1 for side in window.extent]
    strip = LONG_STRIP if kernel[0] > 3 else STRIP
    rows, columns = task.output_shape[2:]
    forward_strip = parts(rows, parts(rows, strip))
    made = Axis(rows, forward_strip, stride[0], 1, span[0]), Axis(columns, 1, stride[1], 1, span[1])
    forward = choose_tile(batch * channels, *made, (forward_strip, 1), 1, multiplier * taps)
    of_weight = choose_tile(batch, *made, (forward_strip, 1), 1, 0, filters)
    # Pixels of the gradient of images, from the first whole stride on.
    padded = [padding[0] % step + side for padding, step, side in zip(window.padding, stride, size, strict=True)]
    strides = parts(padded[0], stride[0])
    images_strip = parts(strides, parts(strides, max(1, min(strip, MOST_SUMS // stride[1]) // stride[0]))) * stride[0]
    read = (
        Axis(padded[0], images_strip, 1, stride[0], span[0] // stride[0]),
        Axis(padded[1], stride[1], 1, stride[1], span[1] // stride[1]),
    )
    back = choose_tile(batch * channels, *read, (images_strip, stride[1]), multiplier, multiplier * taps)
    if forward is None or of_weight is None or back is None:
        return None
    (tile, forward_tiles), (images_tile, images_tiles), (weight_tile, tiles) = forward, back, of_weight
    length = _length(weight_tile, tiles, filters)
    sizes = window.sizes((size[0], size[1]), (rows, columns))
    strips = (*tile, forward_strip, *images_tile, images_strip, *weight_tile, forward_strip)
    constants = (channels, multiplier, *sizes, int(task.relu), *strips)
    return Plan(constants, forward_tiles, images_tiles, length, parts(tiles, length))


def _length(tile: Tile, tiles: int, filters: int) -> int:
    """Tiles of a slice: so many that blocks have enough to do, and no sum is too long."""
    longest = max(1, LONGEST_SUM * BLOCK // prod(tile))
    return max(1, min(longest, parts(tiles, parts(FEWEST_SLICES, filters))))
