"""Convolution on a GPU without columns: kernels that gather from the images while they multiply. See implicit.cu.

What would be columns passes through shared memory alone, so each array is read and written about once. Tiles are chosen here,
by sizes alone: what a sum is made of, and in which order, depends on no GPU.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.convolution.slices import add_slices, find_bias_gradient
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch

SIZES = ", ".join(
    f"constant int {name}"
    for name in (
        "groups", "channels", "filters", "height", "width", "kernel_height", "kernel_width", "stride_height", "stride_width",
        "padding_top", "padding_left", "dilation_height", "dilation_width", "output_height", "output_width", "relu",
        "forward_rows", "forward_columns", "forward_channels", "images_rows", "images_columns", "images_filters",
        "weight_rows", "weight_channels", "weight_is_long",
    )
)  # fmt: skip
"""What the compiler knows: channels and filters of a group, the window, and how the three products are cut."""


def multiply_adds(sizes: Mapping[str, int]) -> int:
    """Of a convolution, or of one of its gradients: the same."""
    taps, each = sizes["kernel_height"] * sizes["kernel_width"], sizes["output_height"] * sizes["output_width"]
    positions = (
        sizes["positions"] if "positions" in sizes else sizes["pixels"] // (sizes["height"] * sizes["width"]) * each
    )
    return positions * sizes["groups"] * sizes["filters"] * sizes["channels"] * taps


SOURCE = Path(__file__).with_name("implicit.cu")
FORWARD = Kernel(
    SOURCE,
    "conv2d_forward",
    f"const T* images, const T* weight, const T* bias = null, T* output, I positions, {SIZES}",
    multiply_adds=multiply_adds,
)
IMAGES_GRADIENT = Kernel(
    SOURCE,
    "conv2d_images_gradient",
    f"const T* gradient, const T* output = null, const T* weight, T* images, I pixels, {SIZES}",
    multiply_adds=multiply_adds,
)
WEIGHT_GRADIENT = Kernel(
    SOURCE,
    "conv2d_weight_gradient",
    f"const T* gradient, const T* output = null, const T* images, T* slices, I positions, I length, {SIZES}",
    block=128,
    multiply_adds=multiply_adds,
)

LEFT, RIGHT, APART, STEP, LONGEST_SUM = 1280, 4608, 4, 16, 512
"""As in implicit.cu: elements of shared memory for a step of each matrix, those that keep rows apart, positions of a step, and how
many products are added up one after the other."""

MOST_FILTERS = 64
"""Of a group. With more, cuBLAS gains more by its faster products than columns cost in bytes: on an H200 sooner, on GPUs with a
slower memory later, see `gpucnn bench --device cuda --model`."""

MOST_TAPS = 32
"""Which of them lie inside the image is kept in the bits of a word."""

TILES = ((64, 128), (64, 64), (32, 256), (32, 128), (16, 256), (16, 128), (8, 128))
"""(rows, columns) of a tile that a block works on, large ones first: they read each element less often."""

DEPTH = 8
"""Rows that a step multiplies, at least."""

GATHERING = 6
"""What it costs to gather an element of the columns, in multiply-adds; each row of tiles gathers them again."""

FEWEST_TILES = 256
"""Fewer leave multiprocessors of a large GPU without work; then tiles are smaller, if they can be, or positions are cut."""

WEIGHT_ROWS, WEIGHT_COLUMNS = (64, 32, 16, 8), {64: 128, 32: 160, 16: 160, 8: 160}
"""Filters of a tile of the weight's gradient, and the most columns, one of them for the bias."""

FEWEST_POSITIONS, MOST_POSITIONS = 64, 4096
"""Of a slice: fewer are not worth its place in memory, more keep multiprocessors waiting."""


class Tiles(NamedTuple):
    """How the three products are cut, in the order of `SIZES`."""

    forward_rows: int
    forward_columns: int
    forward_channels: int
    images_rows: int
    images_columns: int
    images_filters: int
    weight_rows: int
    weight_channels: int
    weight_is_long: int
    """Whether a slice has more positions than one sum takes."""


class Kernels(NamedTuple):
    """Those of one way to multiply."""

    forward: Kernel
    images_gradient: Kernel
    weight_gradient: Kernel


KERNELS = Kernels(FORWARD, IMAGES_GRADIENT, WEIGHT_GRADIENT)


class Plan(NamedTuple):
    """How a convolution is computed."""

    kernels: Kernels
    constants: tuple[int, ...]
    forward_tiles: int
    images_tiles: int
    weight_tiles: int
    length: int
    """Positions of a slice."""
    slices: int


def suits(task: Convolution) -> bool:
    """Whether a convolution is done well without columns; one with 1x1 filters needs none in any way."""
    taps, filters = prod(task.window.kernel), task.weight_shape[0] // task.groups
    return not task.window.is_pixel and taps <= MOST_TAPS and filters <= MOST_FILTERS


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """`plain.conv2d`."""
    return convolve(plan_of(task), task, images, weight, bias)


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """`plain.conv2d_gradients`."""
    find_gradients(plan_of(task), task, gradient, images, weight, output, found)


def convolve(plan: Plan, task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """`conv2d` by a plan."""
    output = xp_of(images).empty(task.output_shape, images.dtype)
    arrays = (contiguous(images), contiguous(weight), contiguous(bias), output)
    threads = plan.forward_tiles * plan.kernels.forward.block
    launch(plan.kernels.forward, threads, *arrays, positions_of(task), *plan.constants)
    return output


def find_gradients(
    plan: Plan,
    task: Convolution,
    gradient: Array,
    images: Array | None,
    weight: Array,
    output: Array | None,
    found: Gradients,
) -> None:
    """`conv2d_gradients` by a plan."""
    gradient, output = contiguous(gradient), contiguous(output)
    if found.weight is not None and images is not None:
        columns = prod(found.weight.shape[1:]) + 1
        slices = xp_of(gradient).empty((plan.slices, len(weight), columns), found.weight.dtype)
        arrays = (gradient, output, contiguous(images), slices)
        threads = plan.weight_tiles * plan.kernels.weight_gradient.block
        launch(plan.kernels.weight_gradient, threads, *arrays, positions_of(task), plan.length, *plan.constants)
        add_slices(slices, found.weight, found.bias)
    elif found.bias is not None:
        find_bias_gradient(gradient, output, found.bias)
    if found.images is not None:
        arrays = (gradient, output, contiguous(weight), found.images)
        pixels = prod(task.image_shape) // task.image_shape[1]
        threads = plan.images_tiles * plan.kernels.images_gradient.block
        launch(plan.kernels.images_gradient, threads, *arrays, pixels, *plan.constants)


def positions_of(task: Convolution) -> int:
    """Of all windows, in all images."""
    return prod(task.output_shape) // task.output_shape[1]


@lru_cache(4096)
def plan_of(task: Convolution) -> Plan:
    """How the kernels go about a convolution and its gradients."""
    (batch, _, *size), channels, taps = task.image_shape, task.weight_shape[1], prod(task.window.kernel)
    filters, groups, positions = task.weight_shape[0] // task.groups, task.groups, positions_of(task)
    forward, forward_tiles = _tile(filters, positions, groups, channels, taps)
    images, images_tiles = _tile(channels, batch * prod(size), groups, filters, taps)
    rows = min(WEIGHT_ROWS, key=lambda rows: parts(filters, rows) * (rows + GATHERING))
    together = min(channels, (WEIGHT_COLUMNS[rows] - 1) // taps)
    tiles = parts(filters, rows) * parts(channels, together) * groups
    length = parts(positions, parts(FEWEST_TILES, tiles))
    length = parts(min(max(length, FEWEST_POSITIONS), MOST_POSITIONS), STEP) * STEP
    slices = parts(positions, length)
    chosen = Tiles(*forward, *images, rows, together, int(length > LONGEST_SUM))
    return Plan(KERNELS, constants_of(task, chosen), forward_tiles, images_tiles, tiles * slices, length, slices)


def constants_of(task: Convolution, chosen: Tiles) -> tuple[int, ...]:
    """Those of `SIZES`."""
    size, output = task.image_shape[2:], task.output_shape[2:]
    window = task.window.sizes((size[0], size[1]), (output[0], output[1]))
    filters, channels = task.weight_shape[:2]
    return task.groups, channels, filters // task.groups, *window, int(task.relu), *chosen


def _tile(rows: int, columns: int, groups: int, depth: int, taps: int) -> tuple[tuple[int, int, int], int]:
    """Rows and columns of a tile for `groups` products of matrices (rows, depth * taps) and (depth * taps, columns).

    With how much of the depth a step takes; and how many tiles there are.
    """

    def count(shape: tuple[int, int]) -> int:
        return parts(rows, shape[0]) * parts(columns, shape[1]) * groups

    def cost(shape: tuple[int, int]) -> tuple[int, bool, int]:
        return parts(rows, shape[0]) * (shape[0] + GATHERING), count(shape) < FEWEST_TILES, count(shape)

    fitting = [shape for shape in TILES if taps * shape[1] <= RIGHT and taps * (shape[0] + APART) <= LEFT]
    height, width = min(fitting, key=cost)
    most = min(RIGHT // (taps * width), LEFT // (taps * (height + APART)), depth)
    return (height, width, min(most, max(parts(DEPTH, taps), 256 // width))), count((height, width))


def parts(whole: int, size: int) -> int:
    """How many parts of `size` cover a whole."""
    return -(-whole // size)
