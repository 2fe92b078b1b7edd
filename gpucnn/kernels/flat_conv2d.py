"""Convolution and its gradients on a CPU, by few and large products with columns of images on one long axis.

See `flat_images` for the layout. The gradient of the images is a convolution of the output's gradient, with filters that are
turned round and have channels and filters exchanged. Its columns, times the images, are the gradient of the weight, too.
"""

import math

import numpy as np

from gpucnn.backend import Array
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Window
from gpucnn.kernels.bias_relu import rectify, relu_gradient
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.flat_images import Piece, Sliding, Taps
from gpucnn.kernels.workspace import workspace


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
    taps = Taps.of(window)
    filters = taps.weight(weight, window).reshape(groups, len(weight) // groups, -1)
    sliding = Sliding(taps, _padding_before(window), (output.shape[2], output.shape[3]))
    sizes = _Sizes(groups, *filters.shape[1:], images.shape[1] * taps.phases)
    for piece in sliding.pieces(images.shape, sizes.values, images.dtype, sizes.work, byte_cap):
        columns, products = _columns(images[piece.images], sliding, piece, sizes)
        np.matmul(filters, columns, out=piece.factors(products, groups))
        found, place = piece.as_images(products), output[piece.place]
        if bias is None:
            place[...] = found
        else:
            np.add(found, bias[:, None, None], out=place)
        if relu:
            rectify(place)


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
    if images_gradient is not None:
        wanted = None if images is None else weight_gradient
        _fill_both(slopes, images, weight, window, groups, images_gradient, wanted, byte_cap)
    elif weight_gradient is not None and images is not None:
        _fill_weight_gradient(slopes, images, window, groups, weight_gradient, byte_cap)


def _fill_both(
    gradient: Array,
    images: Array | None,
    weight: Array,
    window: Window,
    groups: int,
    images_gradient: Array,
    weight_gradient: Array | None,
    byte_cap: int,
) -> None:
    """The gradients of the images and, if it is given, of the weight, with columns of the output's gradient."""
    taps = Taps.of(window)
    (top, left), (row_stride, column_stride) = _padding_before(window), window.stride
    size = (
        -(-(images_gradient.shape[2] + top % row_stride) // row_stride),
        -(-(images_gradient.shape[3] + left % column_stride) // column_stride),
    )
    of_images = Sliding(taps.single(), (top % row_stride, left % column_stride), size)
    before = (taps.reach[0] - top // row_stride, taps.reach[1] - left // column_stride)
    sliding = Sliding(taps.of_one_phase(), before, size)
    turned = taps.weight(weight, window)[..., ::-1, ::-1]
    turned = turned.reshape(groups, len(weight) // groups, *turned.shape[1:]).swapaxes(1, 2)
    filters = turned.reshape(groups, turned.shape[1], -1)
    sizes = _Sizes(groups, *filters.shape[1:], len(weight))
    total = np.zeros((groups, sizes.height, sizes.rows), gradient.dtype)
    for piece in sliding.pieces(gradient.shape, sizes.values, gradient.dtype, sizes.work, byte_cap):
        columns, matrix = _columns(gradient[piece.images], sliding, piece, sizes)
        if weight_gradient is not None and images is not None:
            of_images.fill(piece, images[piece.images], matrix)
            total += _products(columns, piece.factors(matrix, groups))
        np.matmul(filters, columns, out=piece.factors(matrix, groups))
        of_images.take(piece, matrix, images_gradient[piece.images])
    if weight_gradient is not None:
        by_tap = total.reshape(groups, turned.shape[2], *taps.count, sizes.rows)[:, :, ::-1, ::-1]
        found = by_tap.transpose(0, 1, 4, 2, 3).reshape(len(weight), sizes.rows, *taps.count)
        taps.fill_weight(weight_gradient, window, found)


def _fill_weight_gradient(
    gradient: Array, images: Array, window: Window, groups: int, weight_gradient: Array, byte_cap: int
) -> None:
    """The gradient of the weight, with columns of the images."""
    taps, size = Taps.of(window), (gradient.shape[2], gradient.shape[3])
    sliding = Sliding(taps, _padding_before(window), size)
    of_gradient = Sliding(taps.single().of_one_phase(), (0, 0), size)
    filters, channels = len(weight_gradient), images.shape[1] * taps.phases
    sizes = _Sizes(groups, filters // groups, channels // groups * math.prod(taps.count), channels)
    total = np.zeros((groups, sizes.height, sizes.rows), gradient.dtype)
    for piece in sliding.pieces(images.shape, sizes.values, gradient.dtype, sizes.work, byte_cap):
        columns, matrix = _columns(images[piece.images], sliding, piece, sizes)
        of_gradient.fill(piece, gradient[piece.images], matrix)
        total += _products(columns, piece.factors(matrix, groups))
    found = total.swapaxes(1, 2).reshape(filters, channels // groups, *taps.count)
    taps.fill_weight(weight_gradient, window, found)


class _Sizes:
    """Of the product of a group's filters (rows, height) and columns (height, positions), from images of `channels`."""

    def __init__(self, groups: int, rows: int, height: int, channels: int) -> None:
        self.groups, self.rows, self.height, self.channels = groups, rows, height, channels

    @property
    def work(self) -> int:
        """Multiply-adds a position."""
        return self.rows * self.height

    @property
    def values(self) -> int:
        """All that is in memory for a position: columns, the images that they are made of, and products."""
        return self.groups * (self.height + self.rows) + self.channels


def _columns(images: Array, sliding: Sliding, piece: Piece, sizes: _Sizes) -> tuple[Array, Array]:
    """The columns of a piece of `images`, (products, groups, height, length), and room for a matrix (groups * rows, positions)."""
    shapes = [
        (piece.products, sizes.channels, *sliding.taps.count, piece.length),
        (sizes.channels, sliding.width(piece)),
        (sizes.groups * sizes.rows, piece.positions),
    ]
    room = workspace((sum(map(math.prod, shapes)),), images)
    columns, matrix, products = (
        part.reshape(shape)
        for part, shape in zip(np.split(room, np.cumsum([math.prod(shape) for shape in shapes[:2]])), shapes, strict=True)
    )
    sliding.fill(piece, images, matrix)
    sliding.fill_columns(piece, matrix, columns)
    return columns.reshape(piece.products, sizes.groups, sizes.height, piece.length), products


def _products(columns: Array, factors: Array) -> Array:
    """The sum over positions of columns (products, groups, height, length) times factors (products, groups, rows, length).

    In this order: the larger matrix first, OpenBLAS multiplies twice as fast.
    """
    products: Array = np.matmul(columns, factors.swapaxes(2, 3))
    return products[0] if len(products) == 1 else products.sum(axis=0)


def _padding_before(window: Window) -> Pair:
    return window.padding[0][0], window.padding[1][0]
