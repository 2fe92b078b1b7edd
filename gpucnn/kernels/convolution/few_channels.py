"""Convolution of images with a few channels on a GPU, as first layers have: kernels that read each pixel once. See few_channels.cu.

The gradient of the images, which is seldom wanted there, is left to the next way. Tiles are chosen by sizes alone, so that what a
sum is made of, and in which order, depends on no GPU.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from gpucnn.backend import Array, xp_of
from gpucnn.backend.precision import chosen_precision
from gpucnn.kernels.convolution import cuda, implicit, tensor_cores
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.convolution.slices import add_slices, find_bias_gradient
from gpucnn.kernels.convolution.staging import BLOCK, FEWEST_TILES, MOST_STAGED, Axis, choose_tile, parts
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch
from gpucnn.kernels.ways import rounds_to_tf32

SIZES = ", ".join(
    f"constant int {name}"
    for name in (
        "channels", "filters", "height", "width", "kernel_height", "kernel_width", "stride_height", "stride_width",
        "padding_top", "padding_left", "dilation_height", "dilation_width", "output_height", "output_width", "relu",
        "tile_rows", "tile_columns", "tile_strip", "forward_filters", "weight_filters", "weight_channels", "tf32",
    )
)  # fmt: skip
"""What the compiler knows: channels and filters, the window, how outputs are cut, and whether operands are rounded."""


def _multiply_adds(sizes: Mapping[str, int]) -> int:
    """Of a convolution, or of the gradient of its weight: the same."""
    positions = sizes["batch"] * sizes["output_height"] * sizes["output_width"]
    return positions * sizes["filters"] * sizes["channels"] * sizes["kernel_height"] * sizes["kernel_width"]


SOURCE = Path(__file__).with_name("few_channels.cu")
FORWARD = Kernel(
    SOURCE,
    "few_channels_forward",
    f"const T* images, const T* weight, const T* bias = null, T* output, I batch, {SIZES}",
    BLOCK,
    _multiply_adds,
)
WEIGHT_GRADIENT = Kernel(
    SOURCE,
    "few_channels_weight_gradient",
    f"const T* gradient, const T* output = null, const T* images, T* slices, I batch, I length, {SIZES}",
    BLOCK,
    _multiply_adds,
)

MOST_CHANNELS = 4
"""Of more, a tile with all of them is small, and columns are long enough for products."""

MOST_DEPTH = 100
"""Products in an output: of more, as of 7x7 windows on three channels, cuBLAS's are faster by more than columns cost."""

LEAST_POSITIONS = 128
"""Of an image: fewer leave threads idle."""

STRIP, OWN_FILTERS, MOST_SUMS = 4, 8, 64
"""As in few_channels.cu: rows and filters whose outputs a thread makes, and its sums in the gradient of the weight."""

WARPS = BLOCK // 32

LONGEST_SUM = 512
"""Products that a thread adds up one after the other in the weight's gradient: more would lose digits of float32."""


class Plan(NamedTuple):
    """How a convolution is computed."""

    constants: tuple[int, ...]
    tiles: int
    filter_blocks: int
    """Blocks that share the filters in the gradient of the weight."""
    length: int
    """Tiles of a slice."""
    slices: int


def suits(task: Convolution) -> bool:
    """Whether images have few channels and enough positions, and windows are not too large."""
    depth, positions = prod(task.weight_shape[1:]), prod(task.output_shape[2:])
    if task.groups > 1 or task.image_shape[1] > MOST_CHANNELS or task.window.is_pixel or depth > MOST_DEPTH:
        return False
    return positions >= LEAST_POSITIONS and chosen_precision() != "bf16" and plan_of(task) is not None


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """`plain.conv2d`."""
    output, plan = xp_of(images).empty(task.output_shape, images.dtype), _plan(task)
    arrays = (contiguous(images), contiguous(weight), contiguous(bias), output)
    launch(FORWARD, plan.tiles * BLOCK, *arrays, len(images), *plan.constants, rounds_to_tf32(images))
    return output


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """`plain.conv2d_gradients`."""
    plan, gradient, output = _plan(task), contiguous(gradient), contiguous(output)
    if found.weight is not None and images is not None:
        slices = xp_of(gradient).empty((plan.slices, len(weight), prod(task.weight_shape[1:]) + 1), gradient.dtype)
        arrays = (gradient, output, contiguous(images), slices)
        threads = plan.slices * plan.filter_blocks * BLOCK
        launch(WEIGHT_GRADIENT, threads, *arrays, len(gradient), plan.length, *plan.constants, rounds_to_tf32(gradient))
        add_slices(slices, found.weight, found.bias)
    elif found.bias is not None:
        find_bias_gradient(gradient, output, found.bias)
    if found.images is not None:
        _next_way(task, gradient).conv2d_gradients(task, gradient, None, weight, output, Gradients(found.images))


def _next_way(task: Convolution, gradient: Array) -> Any:
    """The module that finds the gradient of images, which a first layer is seldom asked for."""
    gathers = tensor_cores if rounds_to_tf32(gradient) else implicit
    return gathers if gathers.suits(task) else cuda


def _plan(task: Convolution) -> Plan:
    plan = plan_of(task)
    assert plan is not None, "`suits` has asked"
    return plan


@lru_cache(4096)
def plan_of(task: Convolution) -> Plan | None:
    """How the kernels go about a convolution and the gradient of its weight; None if they cannot."""
    (batch, channels, *size), (filters, _, *kernel), window = task.image_shape, task.weight_shape, task.window
    (rows, columns), taps, depth = task.output_shape[2:], prod(kernel), channels * prod(kernel)
    strip, span = parts(rows, parts(rows, STRIP)), [side - 1 for side in window.extent]
    axes = Axis(rows, strip, window.stride[0], 1, span[0]), Axis(columns, 1, window.stride[1], 1, span[1])
    found = choose_tile(batch, *axes, (strip, 1), channels, depth * min(2, parts(filters, OWN_FILTERS)) * OWN_FILTERS)
    fitting = [count for count in range(channels, 0, -1) if channels % count == 0 and count * taps <= MOST_SUMS]
    if found is None or not fitting:
        return None
    (_, height, width), _ = found
    tiles = batch * parts(rows, height) * parts(columns, width)
    room = (MOST_STAGED - axes[0].reads(height) * axes[1].reads(width) * channels) // depth
    together = min(room // OWN_FILTERS, parts(filters, OWN_FILTERS)) * OWN_FILTERS
    shares = WARPS // (channels // fitting[0])  # warps that have other filters
    own = max(1, min(MOST_SUMS // (fitting[0] * taps), parts(filters, shares), OWN_FILTERS))
    filter_blocks = parts(filters, shares * own)
    longest = max(1, LONGEST_SUM * 32 // (height * width))
    length = max(1, min(longest, parts(tiles, parts(FEWEST_TILES, filter_blocks))))
    sizes = window.sizes((size[0], size[1]), (rows, columns))
    constants = (channels, filters, *sizes, int(task.relu), height, width, strip, together, own, fitting[0])
    return Plan(constants, tiles, filter_blocks, length, parts(tiles, length))
