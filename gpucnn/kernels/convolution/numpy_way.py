"""Convolution and its gradients on a CPU, by few and large products with columns of images on one long axis.

See `flat_images` for the layout. There are three ways to the gradients:

- Turned round: the gradient of the images is a convolution of the output's gradient, with filters that are turned round and
  have channels and filters exchanged. Its columns, times the images, are the gradient of the weight, too.
- Row by row: the same with columns that have but one row of the filters' taps. Times the filters they give a row for each
  row of taps, and these are added up; times rows of the images they give the gradient of the weight.
- Added up: the columns of the images, times the output's gradient, are the gradient of the weight. Those of the images'
  gradient are the filters times the output's gradient, and are added up (`col2im`).

With a stride only the third is there. Else that of the first two is taken which moves less in memory.
"""

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.blas import matmul
from gpucnn.checks import Shape
from gpucnn.geometry import Window
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.convolution.long_axis import SMALL_PRODUCT, Piece, Sliding, copy_rows
from gpucnn.kernels.elementwise.bias_relu import rectify, relu_gradient
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.workspace import workspace

SMALL_SUMS = 1200
"""Up to so many elements of a product with a transposed matrix OpenBLAS takes it as it lies; it rearranges a larger one."""

LEAST_ROWS = 16
"""Of a block, so that elsewhere, too, it costs little that the other matrix is read once for each."""

MOST_CHANNELS = 32
"""Rows of a transposed matrix that is taken as it lies: where more are far apart, memory cannot follow."""

ADDITION = 4
"""To add up a row of a product, and to make the row that it is multiplied with, takes so many times as long as a copy."""


def conv2d(
    images: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int,
    relu: bool,
    byte_cap: int,
    output: Array,
) -> None:
    """`kernels.conv2d.conv2d` of some images (numpy.ndarray), into their `output`."""
    window, seen = _without_idle_taps(window, images.shape, output.shape)
    weight = weight[seen]
    product = _Product(weight, groups, Sliding.of(window, (output.shape[2], output.shape[3])))
    for piece in product.pieces(images.shape, byte_cap):
        columns, axes, matrix, _ = product.room(piece)
        product.fill_columns(columns, axes, piece, images)
        matmul(product.filters, columns, out=piece.factors(matrix, groups))
        # Not on the way to the output, where rows are short.
        if bias is not None:
            matrix += bias[:, None]
        if relu:
            rectify(matrix, matrix)
        copy_rows(piece.as_images(matrix), output[piece.place])


def conv2d_gradients(
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
    byte_cap: int,
) -> None:
    """`kernels.conv2d.conv2d_gradients` of some images (numpy.ndarray)."""
    slopes = gradient if relu_output is None else relu_gradient(gradient, relu_output)
    if bias_gradient is not None:
        batch, channels, height, width = slopes.shape
        channel_sums(slopes.reshape(batch, channels, height * width), out=bias_gradient)
    wanted = None if images is None else weight_gradient
    window, seen = _without_idle_taps(window, image_shape, gradient.shape)
    if window.kernel != weight.shape[2:]:
        weight = weight[seen]
        if wanted is not None:
            own = np.empty_like(weight)
            conv2d_gradients(
                slopes, images, weight, image_shape, window, groups, None, images_gradient, own, None, byte_cap
            )
            wanted[...] = 0
            wanted[seen] = own
            return
    if images_gradient is not None and window.stride == (1, 1):
        way = _turn_round if _is_shorter_turned(weight.shape, slopes.shape[2], image_shape[2]) else _row_by_row
        way(slopes, images, weight, window, groups, images_gradient, wanted, byte_cap)
    elif images_gradient is not None or wanted is not None:
        _add_up(slopes, images, weight, image_shape, window, groups, images_gradient, wanted, byte_cap)


def _without_idle_taps(window: Window, image_shape: Shape, output_shape: Shape) -> tuple[Window, tuple[slice, ...]]:
    """The window without its outer taps that see nothing but padding, and where those that stay are in weights.

    Only if the taps are farther apart than the image is large: then the long axes would be nearly all zeros.
    """
    kernel, padding, seen = list(window.kernel), list(window.padding), [slice(None)] * 4
    for axis in (0, 1):
        if window.dilation[axis] >= image_shape[2 + axis]:
            taps = window.taps_within(axis, image_shape[2 + axis], output_shape[2 + axis])
            skipped = taps.start * window.dilation[axis]
            kernel[axis], seen[2 + axis] = len(taps), slice(taps.start, taps.stop)
            padding[axis] = (padding[axis][0] - skipped, padding[axis][1])
    return window._replace(kernel=(kernel[0], kernel[1]), padding=(padding[0], padding[1])), tuple(seen)


def _is_shorter_turned(weight_shape: Shape, output_height: int, image_height: int) -> bool:
    filters, channels, rows, columns = weight_shape
    return filters * rows * columns * image_height <= (filters * columns + ADDITION * channels * rows) * output_height


def _turn_round(
    gradient: Array,
    images: Array | None,
    weight: Array,
    window: Window,
    groups: int,
    images_gradient: Array,
    weight_gradient: Array | None,
    byte_cap: int,
) -> None:
    """The gradients of the images and, if it is given, of the weight, from columns of the output's gradient."""
    sliding = Sliding.of(window, (images_gradient.shape[2], images_gradient.shape[3]))
    (down, right), (top, left) = sliding.reach, sliding.before
    sliding = sliding._replace(before=(down - top, right - left))
    by_group = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    turned = by_group[..., ::-1, ::-1].swapaxes(1, 2)
    product = _Product(turned.reshape(-1, *turned.shape[2:]), groups, sliding)
    total = np.zeros_like(product.filters)
    for piece in product.pieces(gradient.shape, byte_cap):
        columns, axes, matrix, _ = product.room(piece)
        product.fill_columns(columns, axes, piece, gradient)
        factors = piece.factors(matrix, groups)
        if weight_gradient is not None and images is not None:
            piece.fill(matrix, images[piece.place])
            _add_products(total, columns, factors, piece)
        matmul(product.filters, columns, out=factors)
        copy_rows(piece.as_images(matrix), images_gradient[piece.place])
    if weight_gradient is None:
        return
    if np.isfinite(total).all():
        back = total.reshape(turned.shape).swapaxes(1, 2)[..., ::-1, ::-1]
        weight_gradient.reshape(by_group.shape)[...] = back
    else:
        # An infinity at the border of an image has met zeros around the gradient: on the third way there are no such pairs.
        _add_up(gradient, images, weight, images_gradient.shape, window, groups, None, weight_gradient, byte_cap)


def _row_by_row(
    gradient: Array,
    images: Array | None,
    weight: Array,
    window: Window,
    groups: int,
    images_gradient: Array,
    weight_gradient: Array | None,
    byte_cap: int,
) -> None:
    """`_turn_round` with columns of the output's gradient for one row of taps, and rows of the images for the others."""
    channels, width, (rows, columns) = images_gradient.shape[1], images_gradient.shape[3], window.kernel
    sliding = Sliding.of(window, (gradient.shape[2], width))
    (down, right), (top, left) = sliding.reach, sliding.before
    across = sliding._replace(kernel=(1, columns), before=(0, right - left), reach=(0, right))
    along = sliding._replace(kernel=(rows, 1), before=(top, 0), reach=(down, 0))
    by_group = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    turned = by_group[..., ::-1].transpose(0, 2, 3, 1, 4)
    product = _Product(turned.reshape(channels * rows, -1, 1, columns), groups, across, channels)
    total = np.zeros_like(product.filters)
    images_gradient[...] = 0
    for piece in product.pieces(gradient.shape, byte_cap):
        place, axes, matrix, image_axes = product.room(piece, along.width(piece))
        product.fill_columns(place, axes, piece, gradient)
        factors, by_row = piece.factors(matrix, groups), matrix.reshape(channels, rows, 1, piece.products, piece.length)
        if weight_gradient is not None and images is not None:
            along.fill(image_axes, piece, images[piece.images])
            along.fill_columns(by_row.transpose(3, 0, 1, 2, 4), piece, image_axes)
            _add_products(total, place, factors, piece)
        matmul(product.filters, place, out=factors)
        image_axes[...] = 0
        along.add_columns(by_row, piece, image_axes)
        along.add(image_axes, piece, images_gradient[piece.images])
    if weight_gradient is None:
        return
    if np.isfinite(total).all():
        weight_gradient.reshape(by_group.shape)[...] = total.reshape(turned.shape).transpose(0, 3, 1, 2, 4)[..., ::-1]
    else:  # as in `_turn_round`
        _add_up(gradient, images, weight, images_gradient.shape, window, groups, None, weight_gradient, byte_cap)


def _add_up(
    gradient: Array,
    images: Array | None,
    weight: Array,
    image_shape: Shape,
    window: Window,
    groups: int,
    images_gradient: Array | None,
    weight_gradient: Array | None,
    byte_cap: int,
) -> None:
    """The gradients that are given, from columns of the images, and with columns of their gradient."""
    sliding = Sliding.of(window, (gradient.shape[2], gradient.shape[3]))
    product = _Product(weight, groups, sliding)
    total = np.zeros_like(product.filters)
    if images_gradient is not None:
        images_gradient[...] = 0
    for piece in product.pieces(image_shape, byte_cap):
        columns, axes, matrix, _ = product.room(piece)
        piece.fill(matrix, gradient[piece.place])
        factors = piece.factors(matrix, groups)
        if weight_gradient is not None and images is not None:
            product.fill_columns(columns, axes, piece, images)
            _add_products(total, columns, factors, piece)
        if images_gradient is not None:
            back = columns.reshape(-1, piece.positions)
            matmul(product.filters.swapaxes(1, 2), factors, out=piece.factors(back, groups))
            axes[...] = 0
            by_tap = back.reshape(-1, *window.kernel, piece.products, piece.length)
            sliding.add_columns(by_tap, piece, axes)
            sliding.add(axes, piece, images_gradient[piece.images])
    if weight_gradient is not None:
        weight_gradient[...] = total.reshape(weight.shape)


class _Product:
    """The product of weight (O, C / groups, KH, KW) and the columns of images on their way under a window."""

    def __init__(self, weight: Array, groups: int, sliding: Sliding, more_channels: int = 0) -> None:
        self.filters = weight.reshape(groups, len(weight) // groups, -1)
        """(groups, rows, height)"""
        self.sliding, self.channels = sliding, groups * weight.shape[1]
        self.more_channels = more_channels
        """Those of other long axes that there is to be room for."""

    def pieces(self, image_shape: Shape, byte_cap: int) -> Iterator[Piece]:
        """Pieces of which all that is in `room` takes no more than `byte_cap` bytes, but for a single position."""
        groups, rows, height = self.filters.shape
        values = groups * (rows + height) + self.channels * self.sliding.phases + self.more_channels
        return self.sliding.pieces(image_shape, values, self.filters.itemsize, rows * height, byte_cap)

    def room(self, piece: Piece, more_width: int = 0) -> list[Array]:
        """Memory for columns (products, groups, height, length), long axes (C * phases, width), products (O, positions),
        and other long axes (more_channels, more_width).
        """
        groups, rows, height = self.filters.shape
        shapes = [
            (piece.products, groups, height, piece.length),
            (self.channels * self.sliding.phases, self.sliding.width(piece)),
            (groups * rows, piece.positions),
            (self.more_channels, more_width),
        ]
        sizes = [math.prod(shape) for shape in shapes]
        memory, stops = workspace((sum(sizes),), self.filters), itertools.accumulate(sizes)
        return [
            memory[stop - size : stop].reshape(shape) for shape, size, stop in zip(shapes, sizes, stops, strict=True)
        ]

    def fill_columns(self, columns: Array, axes: Array, piece: Piece, images: Array) -> None:
        """Make a piece's columns from `images` (N, C, H, W), by way of the long axes."""
        self.sliding.fill(axes, piece, images[piece.images])
        by_tap = columns.reshape(piece.products, self.channels, *self.sliding.kernel, piece.length)
        self.sliding.fill_columns(by_tap, piece, axes)


def _add_products(total: Array, columns: Array, factors: Array, piece: Piece) -> None:
    """Add the products of factors (products, groups, rows, length) and a piece's columns to `total` (groups, rows, height)."""
    with np.errstate(invalid="ignore"):  # zeros that mean nothing may meet infinities
        found = _products(columns, factors)
        if not np.isfinite(found).all():
            # Where a column means nothing the factor is 0, but that makes NaN of an infinity.
            columns[...] = masked(columns, np.broadcast_to(piece.has_meaning(), columns.shape))
            found = _products(columns, factors)
    total += found.swapaxes(1, 2)


def _products(columns: Array, factors: Array) -> Array:
    """The sums over positions of columns times factors, (groups, height, rows).

    The larger matrix comes first, in blocks of some rows: so OpenBLAS is up to twice as fast.
    """
    products, groups, height, length = columns.shape
    rows = factors.shape[2]
    blocks = _blocks(height, rows, length) if rows <= MOST_CHANNELS else 1
    by_block = columns.reshape(products, groups, blocks, height // blocks, length)
    found = matmul(by_block, factors[:, :, None].swapaxes(3, 4)).reshape(products, groups, height, rows)
    sums: Array = found[0] if products == 1 else found.sum(axis=0)
    return sums


@functools.lru_cache(1024)
def _blocks(height: int, rows: int, length: int) -> int:
    """In how many equal blocks a matrix of so much height is to be multiplied with the transpose of `rows` of `length`."""
    for blocks in range(1, height // LEAST_ROWS + 1):
        sums = height // blocks * rows
        if height % blocks == 0 and sums <= SMALL_SUMS and sums * length <= SMALL_PRODUCT:
            return blocks
    return 1
