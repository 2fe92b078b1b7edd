"""Convolution on a GPU without columns: kernels that gather from the images while they multiply. See implicit.cu.

What a kernel makes of the columns passes through shared memory alone, so each array is read and written about once. Tiles
are chosen here, by sizes alone: what a sum is made of, and in which order, depends on no GPU.
"""

from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.convolution.plain import Convolution
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch

SIZES = (
    "constant int groups, constant int channels, constant int filters, constant int height, constant int width, "
    "constant int kernel_height, constant int kernel_width, constant int stride_height, constant int stride_width, "
    "constant int padding_top, constant int padding_left, constant int dilation_height, constant int dilation_width, "
    "constant int output_height, constant int output_width, "
    "constant int forward_rows, constant int forward_columns, constant int forward_channels"
)
"""What the compiler knows: channels and filters of a group, the window, and how the products are cut."""

SOURCE = Path(__file__).with_name("implicit.cu")
FORWARD = Kernel(
    SOURCE,
    "conv2d_forward",
    f"const T* images, const T* weight, const T* bias = null, T* output, I positions, int relu, {SIZES}",
)

LEFT, RIGHT, APART = 1280, 4608, 4
"""Elements of shared memory for a step of each matrix, as in implicit.cu."""

MOST_TAPS = 32
"""Which of them lie inside the image is kept in the bits of a word."""

TILES = ((64, 128), (64, 64), (32, 256), (32, 128), (16, 256), (16, 128), (8, 128))
"""(rows, columns) of a tile that a block works on, large ones first: they read each element less often."""

FEWEST_TILES = 256
"""Fewer leave multiprocessors of a large GPU without work; then tiles are smaller, if they can be."""

DEPTH = 8
"""Rows that a step multiplies, at least."""


class Tile(NamedTuple):
    """How a product is cut: rows and columns of a tile, and how many channels' taps a step takes."""

    rows: int
    columns: int
    channels: int


def suits(task: Convolution) -> bool:
    """Whether a convolution is done well without columns."""
    return not task.window.is_pixel and prod(task.window.kernel) <= MOST_TAPS


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """`plain.conv2d`."""
    output = xp_of(images).empty(task.output_shape, images.dtype)
    sizes = _constants(task)
    tile = sizes[-1]
    batch, filters, *size = task.output_shape
    positions = batch * prod(size)
    arrays = (contiguous(images), contiguous(weight), contiguous(bias), output)
    tiles = -(-positions // tile.columns) * -(-(filters // task.groups) // tile.rows) * task.groups
    launch(FORWARD, tiles * FORWARD.block, *arrays, positions, int(task.relu), *sizes[0], *tile)
    return output


@lru_cache(4096)
def _constants(task: Convolution) -> tuple[tuple[int, ...], Tile]:
    filters, channels = task.weight_shape[:2]
    window = task.window.sizes(
        (task.image_shape[2], task.image_shape[3]), (task.output_shape[2], task.output_shape[3])
    )
    filters //= task.groups
    positions = task.output_shape[0] * prod(task.output_shape[2:])
    tile = _tile(filters, positions, task.groups, channels, prod(task.window.kernel))
    return (task.groups, channels, filters, *window), tile


def _tile(rows: int, columns: int, groups: int, channels: int, taps: int) -> Tile:
    """The tile for a product of `groups` matrices (rows, channels * taps) with (channels * taps, columns)."""

    def cost(shape: tuple[int, int]) -> tuple[int, bool, int]:
        tiles = -(-rows // shape[0])
        return tiles * shape[0], tiles * -(-columns // shape[1]) * groups < FEWEST_TILES, tiles

    fitting = [shape for shape in TILES if taps * shape[1] <= RIGHT and taps * (shape[0] + APART) <= LEFT]
    height, width = min(fitting, key=cost)
    most = min(RIGHT // (taps * width), LEFT // (taps * (height + APART)))
    return Tile(height, width, max(1, min(most, channels, max(-(-DEPTH // taps), 256 // width))))
