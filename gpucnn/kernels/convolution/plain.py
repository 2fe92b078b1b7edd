"""Convolution in the plain way: the chapter's loops over windows as three matrix products. A dash marks a gradient.

    forward             rows     = weight @ columns
    gradient of weight  weight'  = rows' @ columns^T
    gradient of images  columns' = weight^T @ rows', and every column is added back to where it was read

Source: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006.
"""

from math import prod
from typing import NamedTuple

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape
from gpucnn.geometry import Window
from gpucnn.kernels.gemm import matmul


class Convolution(NamedTuple):
    """What is convolved: images (N, C, H, W) and weight (O, C / groups, KH, KW), to an output (N, O, OH, OW)."""

    image_shape: Shape
    weight_shape: Shape
    output_shape: Shape
    window: Window
    groups: int = 1
    relu: bool = False

    @property
    def work(self) -> int:
        """The multiply-adds of one image."""
        return prod(self.output_shape[1:]) * prod(self.weight_shape[1:])


class Gradients(NamedTuple):
    """Contiguous arrays to be overwritten with the gradients of images, weight and bias; None for one that nobody needs."""

    images: Array | None = None
    weight: Array | None = None
    bias: Array | None = None


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """Cross-correlate images with weight and add bias (O,); with `task.relu`, what is negative becomes 0."""
    output = matmul(_filters(task, weight), im2col(task, images)).reshape(task.output_shape)
    if bias is not None:
        output += bias[:, None, None]
    return xp_of(output).maximum(output, 0) if task.relu else output


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """Fill `found` from `gradient`, that of the output.

    `images` are only looked at for the gradient of the weight, `output` only with ReLU.
    """
    xp = xp_of(gradient)
    if task.relu:
        gradient = xp.where(output != 0, gradient, 0)
    if found.bias is not None:
        gradient.sum(axis=(0, 2, 3), out=found.bias)
    batch, filters, height, width = task.output_shape
    rows = xp.ascontiguousarray(gradient).reshape(batch, task.groups, filters // task.groups, height * width)
    if found.weight is not None and images is not None:
        products = matmul(rows, im2col(task, images).swapaxes(2, 3))
        products.sum(axis=0, out=_filters(task, found.weight))
    if found.images is not None:
        col2im(task, matmul(_filters(task, weight).swapaxes(1, 2), rows), found.images)


def im2col(task: Convolution, images: Array) -> Array:
    """Every window as a column: (N, groups, C / groups * KH * KW, OH * OW), zeros where it lies in the padding."""
    batch, channels, *size = task.image_shape
    height, width = task.output_shape[2:]
    columns = xp_of(images).zeros((batch, channels, *task.window.kernel, height, width), images.dtype)
    for tap in task.window.taps((size[0], size[1]), (height, width)):
        columns[:, :, tap.row, tap.column, *tap.outputs] = images[..., *tap.inputs]
    return columns.reshape(batch, task.groups, prod(task.weight_shape[1:]), height * width)


def col2im(task: Convolution, columns: Array, images: Array) -> None:
    """The transpose of im2col, into `images`: every column is added back to the pixels that it was read from."""
    batch, channels, *size = task.image_shape
    height, width = task.output_shape[2:]
    by_tap = columns.reshape(batch, channels, *task.window.kernel, height, width)
    images[...] = 0
    for tap in task.window.taps((size[0], size[1]), (height, width)):
        images[..., *tap.inputs] += by_tap[:, :, tap.row, tap.column, *tap.outputs]


def _filters(task: Convolution, weight: Array) -> Array:
    """Weight (O, C / groups, KH, KW) as matrices with one row per filter: (groups, O / groups, C / groups * KH * KW)."""
    filters = task.weight_shape[0]
    return weight.reshape(task.groups, filters // task.groups, prod(task.weight_shape[1:]))
