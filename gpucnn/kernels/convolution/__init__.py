"""Convolution and its gradients as matrix products over tiles of columns.

With the windows of images as a matrix of columns, and feature maps as a matrix of rows, a row a filter, the chapter's
three operations are three products:

    forward             rows     = weight @ columns
    gradient of weight  weight'  = rows' @ columns^T
    gradient of images  columns' = weight^T @ rows', and col2im of that

Columns are made again on the way back, never kept from the forward pass: making them costs less than the memory.

Columns and rows are stacks of matrices, see `stack_shape`; on a GPU there is one for a whole tile. NumPy has a layout of
its own, in `flat_conv2d`, and compiled loops need no columns, `direct_conv2d`, nor do 1x1 filters, `pointwise`.
"""

from collections.abc import Iterator

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.host_memory import empty_beside
from gpucnn.backend.threads import MOST_PARTS, parallel
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Window
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.convolution import compiled as direct
from gpucnn.kernels.convolution import numpy_way as flat_conv2d
from gpucnn.kernels.convolution.col2im import col2im
from gpucnn.kernels.convolution.im2col import im2col
from gpucnn.kernels.convolution.one_by_one import is_pointwise, pointwise_conv2d, pointwise_conv2d_gradients
from gpucnn.kernels.convolution.stacked_product import add_products, by_group, product
from gpucnn.kernels.convolution.tiles import Tile, batch_parts, column_byte_cap, stack_shape, tiles
from gpucnn.kernels.elementwise.bias_relu import images_to_rows, rows_to_images
from gpucnn.kernels.launch import accepts
from gpucnn.kernels.workspace import workspace

LARGEST_PARTIAL_SUMS = 16 << 20
"""Bytes for sums of the weight's gradient, one for each part of the batch."""


def conv2d(
    images: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int = 1,
    relu: bool = False,
    byte_cap: int | None = None,
) -> Array:
    """Cross-correlate images (N, C, H, W) with weight (O, C / groups, KH, KW) and add bias (O,): (N, O, OH, OW).

    With `relu`, what is negative becomes 0. `byte_cap` bounds the columns that exist at one time; by default it suits
    the device.
    """
    if byte_cap is None and direct.suits(images, weight, images.shape, window):
        return direct.conv2d(images, weight, bias, window, groups, relu)
    output_size = window.output_size(images.shape[2:4], "conv2d")
    shape = (images.shape[0], weight.shape[0], *output_size)
    output = empty_beside(images, shape)
    parts = _parts(images, images.shape[0], output[:1].size * (weight.size // max(1, len(weight))))

    def convolve_part(number: int) -> None:
        part = parts[number]
        _convolve(images[part], weight, bias, window, groups, relu, byte_cap, output[part])

    parallel(convolve_part, len(parts))
    return output


def _convolve(
    images: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int,
    relu: bool,
    byte_cap: int | None,
    output: Array,
) -> None:
    """`conv2d` of some images, into their `output`."""
    if is_pointwise(window):
        pointwise_conv2d(images, weight, bias, window, groups, relu, byte_cap, output)
        return
    if xp_of(images) is np:
        cap = column_byte_cap(images) if byte_cap is None else byte_cap
        flat_conv2d.conv2d(images, weight, bias, window, groups, relu, cap, output)
        return
    out_channels, output_size = weight.shape[0], (output.shape[2], output.shape[3])
    filters = weight.reshape(groups, out_channels // groups, -1)
    for tile in _tiles(images, images.shape, window, output_size, byte_cap):
        region, part = _seen_by(tile, window, images.shape[2:4], output_size)
        columns = _place_for_columns(images, images.shape, window, tile)
        im2col(images[tile.images, :, *region], part, out=columns)
        rows = product(filters, by_group(columns, groups))
        rows_to_images(rows, bias, relu, output[tile.images, :, tile.rows, tile.columns])


def conv2d_gradients(
    gradient: Array,
    images: Array | None,
    weight: Array,
    image_shape: Shape,
    window: Window,
    groups: int = 1,
    relu_output: Array | None = None,
    images_gradient: Array | None = None,
    weight_gradient: Array | None = None,
    bias_gradient: Array | None = None,
    byte_cap: int | None = None,
) -> None:
    """Fill the gradients that are given, from `gradient`, that of the output (N, O, OH, OW).

    - `images`: of `image_shape` (N, C, H, W); only looked at for the gradient of the weight (O, C / groups, KH, KW).
    - `relu_output`: the output (N, O, OH, OW) of a convolution with ReLU; None without.
    - `images_gradient`, `weight_gradient`, `bias_gradient`: contiguous arrays of the shapes of images, weight and bias,
      which are overwritten; None for one that nobody needs.
    """
    if gradient.size == 0:
        for total in (images_gradient, weight_gradient, bias_gradient):
            if total is not None:
                total[...] = 0
        return
    if byte_cap is None and direct.suits(gradient, weight, image_shape, window):
        filled = (images_gradient, weight_gradient, bias_gradient)
        direct.conv2d_gradients(gradient, images, weight, window, groups, relu_output, *filled)
        return
    most = MOST_PARTS if weight_gradient is None else max(1, min(MOST_PARTS, LARGEST_PARTIAL_SUMS // weight.nbytes))
    parts = _parts(gradient, len(gradient), gradient[:1].size * (weight.size // len(weight)), most)
    partial = [[total] for total in (weight_gradient, bias_gradient)]
    for sums, total in zip(partial, (weight_gradient, bias_gradient), strict=True):
        sums += [None if total is None else np.empty_like(total) for _ in parts[1:]]

    def find_part(number: int) -> None:
        here = parts[number]
        _fill_gradients(
            gradient[here],
            None if images is None else images[here],
            weight,
            image_shape,
            window,
            groups,
            None if relu_output is None else relu_output[here],
            None if images_gradient is None else images_gradient[here],
            partial[0][number],
            partial[1][number],
            byte_cap,
        )

    parallel(find_part, len(parts))
    for sums in partial:
        for more in sums[1:]:
            if sums[0] is not None:
                sums[0] += more


def _fill_gradients(
    gradient: Array,
    images: Array | None,
    weight: Array,
    image_shape: Shape,
    window: Window,
    groups: int,
    relu_output: Array | None,
    images_gradient: Array | None,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
    byte_cap: int | None,
) -> None:
    """`conv2d_gradients` of some images, on one thread."""
    image_shape = (len(gradient), *image_shape[1:])
    if is_pointwise(window):
        filled = (images_gradient, weight_gradient, bias_gradient)
        pointwise_conv2d_gradients(
            gradient, images, weight, image_shape, window, groups, relu_output, *filled, byte_cap
        )
        return
    if xp_of(gradient) is np:
        filled = (images_gradient, weight_gradient, bias_gradient)
        cap = column_byte_cap(gradient) if byte_cap is None else byte_cap
        flat_conv2d.conv2d_gradients(gradient, images, weight, image_shape, window, groups, relu_output, *filled, cap)
        return
    out_channels, output_size = weight.shape[0], (gradient.shape[2], gradient.shape[3])
    filters = weight.reshape(groups, out_channels // groups, -1).swapaxes(1, 2)
    for tile in _tiles(gradient, image_shape, window, output_size, byte_cap, weight.nbytes):
        first = (tile.images.start, tile.rows.start, tile.columns.start) == (0, 0, 0)
        here = (tile.images, slice(None), tile.rows, tile.columns)
        region, part = _seen_by(tile, window, (image_shape[2], image_shape[3]), output_size)
        rows = images_to_rows(gradient[here], None if relu_output is None else relu_output[here])
        columns = _place_for_columns(gradient, image_shape, window, tile)
        rows_by_group, columns_by_group = by_group(rows, groups), by_group(columns, groups)
        if bias_gradient is not None:
            sums = channel_sums(rows, out=bias_gradient if first else None)
            if not first:
                bias_gradient += sums
        if weight_gradient is not None and images is not None:
            im2col(images[tile.images, :, *region], part, out=columns)
            total = weight_gradient.reshape(groups, out_channels // groups, -1)
            add_products(rows_by_group, columns_by_group.swapaxes(2, 3), total, first)
        if images_gradient is not None:
            product(filters, rows_by_group, out=columns_by_group)
            target = images_gradient[tile.images, :, *region]
            if part is window:
                col2im(columns, target.shape, window, out=target)
            else:
                if tile.rows.start == tile.columns.start == 0:
                    images_gradient[tile.images] = 0
                target += col2im(columns, target.shape, part)


def _parts(like: Array, batch: int, work: int, most: int = MOST_PARTS) -> tuple[slice, ...]:
    """The batch in parts for threads; on a GPU it stays whole."""
    return batch_parts(batch, work, most) if xp_of(like) is np else (slice(0, batch),)


def _tiles(
    like: Array, image_shape: Shape, window: Window, output_size: Pair, byte_cap: int | None, bytes_per_image: int = 1
) -> Iterator[Tile]:
    rows_of_columns = image_shape[1] * window.kernel[0] * window.kernel[1]
    cap = column_byte_cap(like) if byte_cap is None else byte_cap
    # A GPU has one product for the whole tile, whatever its images.
    bytes_per_image = 1 if accepts(like) else bytes_per_image
    return tiles(image_shape[0], output_size, rows_of_columns * like.itemsize, cap, bytes_per_image)


def _seen_by(tile: Tile, window: Window, image_size: Pair, output_size: Pair) -> tuple[tuple[slice, slice], Window]:
    """The slices of the image that a tile's windows may read, and a window for them: for whole images all, and `window`."""
    if tile.shape[1:] == output_size:
        return (slice(None), slice(None)), window
    return window.part(image_size, tile.rows, tile.columns)


def _place_for_columns(like: Array, image_shape: Shape, window: Window, tile: Tile) -> Array:
    count, rows, columns = tile.shape
    height = image_shape[1] * window.kernel[0] * window.kernel[1]
    return workspace(stack_shape(like, count, height, rows * columns), like)
