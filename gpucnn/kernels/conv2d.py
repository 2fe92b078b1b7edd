"""Convolution and its two gradients as matrix products over tiles of columns.

With the columns of an image as a matrix, the chapter's three operations are three products:

    forward             output   = weight @ columns
    gradient of weight  weight'  = output' @ columns^T
    gradient of image   columns' = weight^T @ output', and col2im of that

Columns are made again in each, never kept from forward to backward: making them costs less than the memory.
"""

from collections.abc import Iterator

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Pair
from gpucnn.geometry import Window
from gpucnn.kernels.col2im import col2im
from gpucnn.kernels.im2col import im2col
from gpucnn.kernels.tiling import Tile, column_byte_cap, tiles


def conv2d(
    images: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1, byte_cap: int | None = None
) -> Array:
    """Cross-correlate images (N, C, H, W) with weight (O, C / groups, KH, KW) and add bias (O,): (N, O, OH, OW).

    `byte_cap` bounds the columns that exist at one time; by default it suits the device.
    """
    xp = xp_of(images, weight)
    batch, out_channels = images.shape[0], weight.shape[0]
    output_size = window.output_size(images.shape[2:4], "conv2d")
    output = xp.empty((batch, out_channels, *output_size), images.dtype)
    filters = weight.reshape(groups, out_channels // groups, -1)
    for tile, columns in _column_tiles(images, window, output_size, groups, byte_cap):
        count, rows, width = tile.shape
        product = (filters @ columns).reshape(count, out_channels, rows, width)
        target = output[tile.images, :, tile.rows, tile.columns]
        if bias is None:
            target[...] = product
        else:
            xp.add(product, bias[:, None, None], out=target)
    return output


def conv2d_weight_gradient(
    gradient: Array, images: Array, window: Window, groups: int = 1, byte_cap: int | None = None
) -> Array:
    """The gradient of the weight (O, C / groups, KH, KW), from that of the output (N, O, OH, OW)."""
    xp = xp_of(gradient, images)
    out_channels, output_size = gradient.shape[1], gradient.shape[2:4]
    channels = images.shape[1] // groups
    total = xp.zeros((groups, out_channels // groups, channels * window.kernel[0] * window.kernel[1]), images.dtype)
    # The product has one weight gradient for each image of the tile.
    for tile, columns in _column_tiles(images, window, output_size, groups, byte_cap, total.nbytes):
        total += (_tile_of(gradient, tile, groups) @ columns.swapaxes(2, 3)).sum(axis=0)
    return total.reshape(out_channels, channels, *window.kernel)


def conv2d_image_gradient(
    gradient: Array, weight: Array, image_size: Pair, window: Window, groups: int = 1, byte_cap: int | None = None
) -> Array:
    """The gradient of the images (N, C, H, W), from that of the output (N, O, OH, OW)."""
    xp = xp_of(gradient, weight)
    batch, out_channels = gradient.shape[:2]
    rows_of_columns = weight[0].size * groups
    images = xp.zeros((batch, weight.shape[1] * groups, *image_size), gradient.dtype)
    filters = weight.reshape(groups, out_channels // groups, -1).swapaxes(1, 2)
    cap = column_byte_cap(gradient) if byte_cap is None else byte_cap
    for tile in tiles(batch, gradient.shape[2:4], rows_of_columns * gradient.itemsize, cap):
        region, part = window.part(image_size, tile.rows, tile.columns)
        columns = (filters @ _tile_of(gradient, tile, groups)).reshape(tile.shape[0], rows_of_columns, -1)
        target = images[tile.images, :, *region]
        col2im(columns, target.shape[2:4], part, out=target)
    return images


def _column_tiles(
    images: Array, window: Window, output_size: Pair, groups: int, byte_cap: int | None, bytes_per_image: int = 1
) -> Iterator[tuple[Tile, Array]]:
    """Each tile of the output with its columns (images, groups, C / groups * KH * KW, positions)."""
    batch, channels = images.shape[:2]
    rows_of_columns = channels * window.kernel[0] * window.kernel[1]
    cap = column_byte_cap(images) if byte_cap is None else byte_cap
    buffer = None
    for tile in tiles(batch, output_size, rows_of_columns * images.itemsize, cap, bytes_per_image):
        count, rows, width = tile.shape
        region, part = window.part(images.shape[2:4], tile.rows, tile.columns)
        if buffer is None or buffer.shape != (count, rows_of_columns, rows * width):
            buffer = None  # let the old one go before the new one is made
        buffer = im2col(images[tile.images, :, *region], part, out=buffer)
        yield tile, buffer.reshape(count, groups, rows_of_columns // groups, rows * width)


def _tile_of(gradient: Array, tile: Tile, groups: int) -> Array:
    """One tile of the output's gradient as (images, groups, O / groups, positions)."""
    out_channels = gradient.shape[1]
    part = gradient[tile.images, :, tile.rows, tile.columns]
    return part.reshape(tile.shape[0], groups, out_channels // groups, -1)
