"""Convolution and its gradients on a CPU, by few and large products with columns of images on one long axis.

See `flat_images` for the layout. Of two ways to the gradients the shorter one is taken:

- The gradient of the images is a convolution of the output's gradient, with filters that are turned round and have channels
  and filters exchanged. Its columns, times the images, are the gradient of the weight, too.
- The columns of the images, times the output's gradient, are the gradient of the weight. Those of the images' gradient are
  the filters times the output's gradient, and are added up (`col2im`).
"""

import functools
import math
from collections.abc import Iterator

import numpy as np

from gpucnn.backend import Array
from gpucnn.checks import Shape
from gpucnn.geometry import Window
from gpucnn.kernels.bias_relu import rectify, relu_gradient
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.flat_images import Piece, Sliding, copy_rows
from gpucnn.kernels.masked import masked
from gpucnn.kernels.workspace import workspace

SMALL_BLOCK = 500_000
"""Up to so many multiply-adds OpenBLAS takes a product with a transposed matrix as it lies; larger ones it rearranges."""

LEAST_ROWS = 16
"""Of a block, so that elsewhere, too, it costs little that the other matrix is read once for each."""

MOST_CHANNELS = 16
"""Rows of a transposed matrix that is taken as it lies: where more are far apart, memory cannot follow."""

ADDITION = 2
"""Columns are made in so many times less time than they are made and then, from others, added up."""


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
    product = _Product(weight, groups, Sliding.of(window, (output.shape[2], output.shape[3])))
    for piece in product.pieces(images.shape, byte_cap):
        columns, axes, matrix = product.room(piece)
        product.fill_columns(columns, axes, piece, images)
        np.matmul(product.filters, columns, out=piece.factors(matrix, groups))
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
    if images_gradient is not None and window.stride == (1, 1) and _is_shorter_back(slopes.shape, image_shape):
        _turn_round(slopes, images, weight, window, groups, images_gradient, wanted, byte_cap)
    elif images_gradient is not None or wanted is not None:
        _add_up(slopes, images, weight, image_shape, window, groups, images_gradient, wanted, byte_cap)


def _is_shorter_back(output_shape: Shape, image_shape: Shape) -> bool:
    """Whether columns of the output's gradient, at the images' positions, take less time than the second way."""
    return math.prod(output_shape[1:2] + image_shape[2:]) <= ADDITION * math.prod(image_shape[1:2] + output_shape[2:])


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
        columns, axes, matrix = product.room(piece)
        product.fill_columns(columns, axes, piece, gradient)
        factors = piece.factors(matrix, groups)
        if weight_gradient is not None and images is not None:
            piece.fill(matrix, images[piece.place])
            _add_products(total, columns, factors, piece)
        np.matmul(product.filters, columns, out=factors)
        copy_rows(piece.as_images(matrix), images_gradient[piece.place])
    if weight_gradient is not None and not np.isfinite(total).all():
        # An infinity at the border of an image has met zeros around the gradient: on the other way there are no such pairs.
        _add_up(gradient, images, weight, images_gradient.shape, window, groups, None, weight_gradient, byte_cap)
    elif weight_gradient is not None:
        back = total.reshape(turned.shape).swapaxes(1, 2)[..., ::-1, ::-1]
        weight_gradient.reshape(by_group.shape)[...] = back


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
        columns, axes, matrix = product.room(piece)
        piece.fill(matrix, gradient[piece.place])
        factors = piece.factors(matrix, groups)
        if weight_gradient is not None and images is not None:
            product.fill_columns(columns, axes, piece, images)
            _add_products(total, columns, factors, piece)
        if images_gradient is not None:
            back = columns.reshape(-1, piece.positions)
            np.matmul(product.filters.swapaxes(1, 2), factors, out=piece.factors(back, groups))
            axes[...] = 0
            by_tap = back.reshape(-1, *window.kernel, piece.products, piece.length)
            sliding.add_columns(by_tap, piece, axes)
            sliding.add(axes, piece, images_gradient[piece.images])
    if weight_gradient is not None:
        weight_gradient[...] = total.reshape(weight.shape)


class _Product:
    """The product of weight (O, C / groups, KH, KW) and the columns of images on their way under a window."""

    def __init__(self, weight: Array, groups: int, sliding: Sliding) -> None:
        self.filters = weight.reshape(groups, len(weight) // groups, -1)
        """(groups, rows, height)"""
        self.sliding, self.channels = sliding, groups * weight.shape[1]

    def pieces(self, image_shape: Shape, byte_cap: int) -> Iterator[Piece]:
        """Pieces of which all that is in `room` takes no more than `byte_cap` bytes, but for a single position."""
        groups, rows, height = self.filters.shape
        values = groups * (rows + height) + self.channels * self.sliding.phases
        return self.sliding.pieces(image_shape, values, self.filters.itemsize, rows * height, byte_cap)

    def room(self, piece: Piece) -> tuple[Array, Array, Array]:
        """Memory for columns (products, groups, height, length), long axes (C * phases, width), and products (O, positions)."""
        groups, rows, height = self.filters.shape
        columns = (piece.products, groups, height, piece.length)
        axes = (self.channels * self.sliding.phases, self.sliding.width(piece))
        first, second, third = (math.prod(shape) for shape in (columns, axes, (groups * rows, piece.positions)))
        room = workspace((first + second + third,), self.filters)
        rest = room[first + second :].reshape(groups * rows, piece.positions)
        return room[:first].reshape(columns), room[first : first + second].reshape(axes), rest

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
    blocks = _blocks(height, rows * length) if rows <= MOST_CHANNELS else 1
    by_block = columns.reshape(products, groups, blocks, height // blocks, length)
    found = np.matmul(by_block, factors[:, :, None].swapaxes(3, 4)).reshape(products, groups, height, rows)
    sums: Array = found[0] if products == 1 else found.sum(axis=0)
    return sums


@functools.lru_cache(1024)
def _blocks(rows: int, work: int) -> int:
    """In how many equal blocks so many rows, of so much work each, are to be multiplied."""
    for blocks in range(1, rows // LEAST_ROWS + 1):
        if rows % blocks == 0 and rows // blocks * work <= SMALL_BLOCK:
            return blocks
    return 1
