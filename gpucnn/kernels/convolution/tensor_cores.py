"""Convolution on a GPU's tensor cores, without columns: as `implicit`, in TF32 or bf16. See tensor_cores.cu.

Tiles are chosen by the clocks that they take, which `tensor_clocks` counts, on a large GPU.
"""

from functools import lru_cache, partial
from math import prod
from pathlib import Path

from gpucnn.backend import Array
from gpucnn.kernels.convolution import implicit
from gpucnn.kernels.convolution.implicit import (
    FEWEST_POSITIONS,
    FEWEST_TILES,
    MOST_POSITIONS,
    MOST_TAPS,
    SIZES,
    Plan,
    Tiles,
    constants_of,
    parts,
    positions_of,
)
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.convolution.tensor_clocks import STEP, WARPS, WORDS, product_clocks, tile_clocks, weight_clocks
from gpucnn.kernels.kernel import BF16, Kernel

SOURCE = Path(__file__).with_name("tensor_cores.cu")
FORWARD = Kernel(
    SOURCE,
    "tensor_forward",
    f"const T* images, const A* weight, const A* bias = null, T* output, I positions, {SIZES}",
    multiply_adds=implicit.multiply_adds,
    bf16=True,
    clocks=partial(product_clocks, of="forward"),
)
IMAGES_GRADIENT = Kernel(
    SOURCE,
    "tensor_images_gradient",
    f"const T* gradient, const T* output = null, const A* weight, T* images, I pixels, {SIZES}",
    multiply_adds=implicit.multiply_adds,
    bf16=True,
    clocks=partial(product_clocks, of="images"),
)
WEIGHT_GRADIENT = Kernel(
    SOURCE,
    "tensor_weight_gradient",
    f"const T* gradient, const T* output = null, const T* images, A* slices, I positions, I length, {SIZES}",
    multiply_adds=implicit.multiply_adds,
    bf16=True,
    clocks=weight_clocks,
)
KERNELS = implicit.Kernels(FORWARD, IMAGES_GRADIENT, WEIGHT_GRADIENT)

TILES = ((64, 256), (64, 128), (64, 64), (32, 256), (32, 128), (32, 64), (16, 256), (16, 128), (16, 64))
"""(rows, columns) of a tile that a block works on, large ones first: they read each element less often."""

MULTIPROCESSORS = 128
"""Of a large GPU, for which tiles are chosen."""

WEIGHT_ROWS, WEIGHT_COLUMNS, WEIGHT_TAPS = (64, 32, 16), 160, 32
"""Filters of a tile of the weight's gradient, the most columns, and the most taps that a lane reads."""

MOST_FILTERS = 128
"""Of a group. With more, cuBLAS gains more by its faster products than columns cost in bytes: on an H200 sooner, on GPUs with a
slower memory later, see `gpucnn bench --device cuda --model`."""


def suits(task: Convolution) -> bool:
    """Whether a convolution is done well without columns; one with 1x1 filters needs none in any way."""
    taps, filters = prod(task.window.kernel), task.weight_shape[0] // task.groups
    return not task.window.is_pixel and taps <= MOST_TAPS and filters <= MOST_FILTERS


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """`plain.conv2d`."""
    return implicit.convolve(plan_of(task, images.dtype == BF16), task, images, weight, bias)


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """`plain.conv2d_gradients`."""
    implicit.find_gradients(plan_of(task, gradient.dtype == BF16), task, gradient, images, weight, output, found)


@lru_cache(4096)
def plan_of(task: Convolution, is_bf16: bool = False) -> Plan:
    """How the kernels go about a convolution and its gradients, of arrays of bfloat16 or of float32."""
    numbers = 2 if is_bf16 else 1
    channels, taps, groups = task.weight_shape[1], prod(task.window.kernel), task.groups
    filters, positions, pixels = (
        task.weight_shape[0] // groups,
        positions_of(task),
        prod(task.image_shape) // task.image_shape[1],
    )
    forward, forward_tiles = _tile(filters, positions, groups, channels, taps, WORDS * numbers)
    images, images_tiles = _tile(channels, pixels, groups, filters, taps, WORDS * numbers)
    rows = next((rows for rows in WEIGHT_ROWS if rows < 2 * filters), WEIGHT_ROWS[-1])
    together = min(channels, WEIGHT_COLUMNS // taps, WEIGHT_TAPS // taps * WARPS)
    if WARPS < together < channels:
        together -= together % WARPS  # so that all warps read as many
    tiles = parts(filters, rows) * parts(channels, together) * groups
    length = parts(positions, parts(FEWEST_TILES, tiles))
    length = parts(min(max(length, FEWEST_POSITIONS), MOST_POSITIONS), STEP * numbers) * STEP * numbers
    slices = parts(positions, length)
    chosen = Tiles(*forward, *images, rows, together, weight_is_long=0)
    return Plan(KERNELS, constants_of(task, chosen), forward_tiles, images_tiles, tiles * slices, length, slices)


def _tile(rows: int, columns: int, groups: int, depth: int, taps: int, step: int) -> tuple[tuple[int, int, int], int]:
    """Rows and columns of a tile for `groups` products, and the channels of the depth that a thread gathers in a round.

    With how many tiles there are. It is the one that takes the fewest clocks, wave by wave.
    """

    def count(shape: tuple[int, int]) -> int:
        return parts(rows, shape[0]) * parts(columns, shape[1]) * groups

    def each(shape: tuple[int, int]) -> int:
        return parts(depth, parts(depth, step) * (WARPS * 32 // shape[1]))

    def cost(shape: tuple[int, int]) -> int:
        return parts(count(shape), MULTIPROCESSORS) * tile_clocks(*shape, each(shape), depth, taps)

    best = min(TILES, key=cost)
    return (*best, each(best)), count(best)
