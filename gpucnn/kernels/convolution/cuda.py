"""Convolution on a GPU: the plain way with our own kernels for the columns, tile by tile, so that they fit its memory.

A GPU wants few large products: all images of a tile stand side by side in one matrix of columns (C * KH * KW, N * OH * OW), and
the products have *rows*, channel by channel, (O, N * OH * OW). Columns are made again on the way back, never kept: making
them costs less than the memory.
"""

from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape
from gpucnn.geometry import Window
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.convolution import one_by_one
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.convolution.stacks import by_group
from gpucnn.kernels.elementwise import add_bias, relu_gradient
from gpucnn.kernels.elementwise.cuda import images_to_rows, rows_to_images
from gpucnn.kernels.gemm import matmul
from gpucnn.kernels.kernel import COMPILED_WINDOW, Kernel
from gpucnn.kernels.launch import launch
from gpucnn.kernels.tiling import Tile, tiles

IM2COL = Kernel(
    Path(__file__).with_name("im2col.cu"),
    "im2col",
    f"const T* images, T* columns, I size, Divisor positions, I channels, {COMPILED_WINDOW}",
)
COL2IM = Kernel(
    Path(__file__).with_name("col2im.cu"),
    "col2im",
    f"const T* columns, T* images, I size, I positions, Divisor channels, {COMPILED_WINDOW}",
)

DEVICE_COLUMN_BYTES = 256 << 20
"""Of the columns that exist at one time. Few large products win; the cap is there for the GPU's memory."""


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """`plain.conv2d`."""
    output = xp_of(images).empty(task.output_shape, images.dtype)
    if task.window.is_pixel:
        for part in one_by_one.convolve(task, images, weight, output, DEVICE_COLUMN_BYTES):
            add_bias(output[part], bias, task.relu)
        return output
    filters = by_group(weight.reshape(len(weight), -1), task.groups)
    for tile in _tiles(task, images.itemsize):
        region, window = _seen_by(tile, task)
        columns = im2col(images[tile.images, :, *region], window)
        rows = matmul(filters, by_group(columns, task.groups))
        rows_to_images(rows, bias, task.relu, output[tile.place])
    return output


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """`plain.conv2d_gradients`."""
    if task.window.is_pixel:
        if output is not None:
            gradient = relu_gradient(gradient, output)
        as_rows = partial(images_to_rows, output=None)
        one_by_one.find_gradients(task, gradient, images, weight, found, DEVICE_COLUMN_BYTES, as_rows)
        return
    filters = by_group(weight.reshape(len(weight), -1), task.groups).swapaxes(1, 2)
    height, bias_gradient = task.image_shape[1] * prod(task.window.kernel), found.bias
    for number, tile in enumerate(_tiles(task, gradient.itemsize)):
        region, window = _seen_by(tile, task)
        rows = images_to_rows(gradient[tile.place], None if output is None else output[tile.place])
        rows_by_group = by_group(rows[0], task.groups)
        columns = xp_of(gradient).empty((height, prod(tile.shape)), gradient.dtype)
        if bias_gradient is not None:
            sums = channel_sums(rows, out=None if number else bias_gradient)
            if number:
                bias_gradient += sums
        if found.weight is not None and images is not None:
            im2col(images[tile.images, :, *region], window, columns)
            total = by_group(found.weight.reshape(len(weight), -1), task.groups)
            transposed = by_group(columns, task.groups).swapaxes(1, 2)
            if number:
                total += matmul(rows_by_group, transposed)
            else:
                matmul(rows_by_group, transposed, out=total)
        if found.images is not None:
            matmul(filters, rows_by_group, out=by_group(columns, task.groups))
            target = found.images[tile.images, :, *region]
            if window is task.window:
                col2im(columns, target.shape, window, target)
            else:
                if tile.rows.start == tile.columns.start == 0:
                    found.images[tile.images] = 0
                target += col2im(columns, target.shape, window)


def im2col(images: Array, window: Window, out: Array | None = None) -> Array:
    """Images (N, C, H, W) as columns (C * KH * KW, N * OH * OW), zeros where a window lies in the padding.

    Row c * KH * KW + i * KW + j holds channel c under tap (i, j). `out`, a contiguous array of that shape and dtype, is
    overwritten and returned; without it a new array is made.
    """
    batch, channels, height, width = images.shape
    output_size = window.output_size((height, width), "im2col")
    positions = batch * prod(output_size)
    if out is None:
        out = xp_of(images).empty((channels * prod(window.kernel), positions), images.dtype)
    sizes = window.sizes((height, width), output_size)
    images, threads = xp_of(images).ascontiguousarray(images), channels * positions
    launch(IM2COL, threads, images, out, threads, positions, channels, *sizes)
    return out


def col2im(columns: Array, image_shape: Shape, window: Window, out: Array | None = None) -> Array:
    """Columns, as `im2col` makes them, to images of `image_shape` (N, C, H, W), where overlapping windows add up.

    `out`, a contiguous array of that shape and dtype, is overwritten and returned; without it a new array is made. What
    a column holds for the padding is dropped. The order of the additions is fixed, so the result is always the same.
    """
    batch, channels, height, width = image_shape
    output_size = window.output_size((height, width), "col2im")
    positions, sizes = batch * prod(output_size), window.sizes((height, width), output_size)
    if out is None:
        out = xp_of(columns).empty(image_shape, columns.dtype)
    columns = xp_of(columns).ascontiguousarray(columns)
    launch(COL2IM, out.size, columns, out, out.size, positions, channels, *sizes)
    return out


def _tiles(task: Convolution, itemsize: int) -> Iterator[Tile]:
    bytes_per_position = task.image_shape[1] * prod(task.window.kernel) * itemsize
    return tiles(task.output_shape[0], task.output_shape[2:], bytes_per_position, DEVICE_COLUMN_BYTES)


def _seen_by(tile: Tile, task: Convolution) -> tuple[tuple[slice, slice], Window]:
    """The slices of the image that a tile's windows may read, and a window for them: for whole images all, and the task's."""
    if tile.shape[1:] == task.output_shape[2:]:
        return (slice(None), slice(None)), task.window
    return task.window.part((task.image_shape[2], task.image_shape[3]), tile.rows, tile.columns)
