"""Convolution and its gradients by compiled loops, without columns. See `jit.convolution`.

The gradient of the images is a convolution, too: of the output's gradient, with filters that are turned round and have
channels and filters exchanged. With a stride, each of its *phases*, every so many rows and columns, is one, with the taps
that reach it.
"""

from typing import Any

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty, empty_like
from gpucnn.backend.threads import ELEMENT, MOST_PARTS, cut
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Window
from gpucnn.kernels import jit
from gpucnn.kernels.workspace import LARGEST_KEPT

LEAST_WIDTH = 4
"""Rows of fewer positions leave vectors empty; matrix products are faster."""

LARGEST_CODE = 16_384
"""Positions of a row times taps, which are written out one by one: more would take seconds to compile."""

LARGEST_PARTIAL_SUMS = 4 << 20
"""Bytes for sums of the weight's gradient, one for each part of the batch."""


def suits(like: Array, weight: Array, image_shape: Shape, window: Window) -> bool:
    """Whether compiled loops do this convolution of images (N, C, H, W) well, and its gradients, on arrays like these."""
    if not jit.accepts(like, weight) or 0 in image_shape or 0 in weight.shape:
        return False
    rows, columns = window.output_size((image_shape[2], image_shape[3]))
    channels = max(weight.shape[0], weight.shape[1])
    padded = (rows * window.stride[0] + window.extent[0]) * (columns * window.stride[1] + window.extent[1])
    code = columns * window.kernel[0] * window.kernel[1] + max(window.stride) ** 2
    return columns >= LEAST_WIDTH and channels * padded * like.itemsize <= LARGEST_KEPT and code <= LARGEST_CODE


def conv2d(images: Array, weight: Array, bias: Array | None, window: Window, groups: int, relu: bool) -> Array:
    """`kernels.conv2d.conv2d`, directly."""
    output_size = window.output_size((images.shape[2], images.shape[3]), "conv2d")
    return _convolve(images, weight, bias, window, groups, relu, output_size)


def conv2d_gradients(
    gradient: Array,
    images: Array | None,
    weight: Array,
    window: Window,
    groups: int,
    relu_output: Array | None,
    images_gradient: Array | None,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
) -> None:
    """`kernels.conv2d.conv2d_gradients`, directly."""
    slopes = _of_rows(np.ascontiguousarray(gradient), relu_output, bias_gradient)
    if weight_gradient is not None and images is not None:
        _weight_gradient(slopes, np.ascontiguousarray(images), window, groups, weight_gradient)
    if images_gradient is not None:
        _images_gradient(slopes, weight, window, groups, images_gradient)


def _convolve(
    images: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int,
    relu: bool,
    output_size: Pair,
    out: Array | None = None,
) -> Array:
    batch, filters = len(images), len(weight)
    sizes = _sizes(images.shape, weight.shape, window, groups, output_size)
    machine = jit.host.host()
    kernel = jit.convolution.forward(sizes, bias is not None, relu, machine)
    output = empty((batch, filters, *output_size), images.dtype) if out is None else out
    packed = jit.convolution.pack(weight, groups, machine)
    arrays = [np.ascontiguousarray(images), packed, output]
    if bias is not None:
        arrays.append(np.ascontiguousarray(bias))
    work = filters * output_size[0] * output_size[1] * (weight.size // filters)
    jit.kernel.run(kernel, batch, arrays, cut(batch, work))
    return output


def _sizes(image_shape: Shape, weight_shape: Shape, window: Window, groups: int, output_size: Pair) -> Any:
    plane = jit.padded.PaddedPlane((image_shape[2], image_shape[3]), window, output_size)
    return jit.convolution.Convolution(groups, weight_shape[1], weight_shape[0] // groups, plane)


def _of_rows(gradient: Array, relu_output: Array | None, bias_gradient: Array | None) -> Array:
    """The gradient before ReLU, where there is one; the bias's gradient is filled in on the way."""
    batch, filters, height, width = gradient.shape
    if relu_output is None and bias_gradient is None:
        return gradient
    planes, positions = batch * filters, height * width
    sums = np.empty(planes, gradient.dtype)
    arrays, rows = [gradient.reshape(planes, positions), sums], gradient
    if relu_output is not None:
        rows = empty_like(gradient)
        arrays += [np.ascontiguousarray(relu_output).reshape(planes, positions), rows.reshape(planes, positions)]
    kernel = jit.relu.plane_sums(positions, relu_output is not None)
    jit.kernel.run(kernel, planes, arrays, cut(planes, ELEMENT * positions))
    if bias_gradient is not None:
        sums.reshape(batch, filters).sum(axis=0, out=bias_gradient)
    return rows


def _weight_gradient(gradient: Array, images: Array, window: Window, groups: int, weight_gradient: Array) -> None:
    batch, _, rows, columns = gradient.shape
    sizes = _sizes(images.shape, weight_gradient.shape, window, groups, (rows, columns))
    most = max(1, min(MOST_PARTS, LARGEST_PARTIAL_SUMS // weight_gradient.nbytes))
    parts = cut(batch, rows * columns * weight_gradient.size, most)
    partial = empty((len(parts), *weight_gradient.shape), gradient.dtype)
    kernel = jit.convolution.weight_gradient(sizes, jit.host.host())
    jit.kernel.run(kernel, batch, [images, gradient, partial], parts)
    partial.sum(axis=0, out=weight_gradient)


def _images_gradient(gradient: Array, weight: Array, window: Window, groups: int, images_gradient: Array) -> None:
    turned = _turned_round(weight, groups)
    row_stride, column_stride = window.stride
    if window.stride == (1, 1):
        _convolve_phase(gradient, turned, window, groups, (0, 0), images_gradient)
        return
    batch, channels, *size = images_gradient.shape
    image_size, stride = (size[0], size[1]), (row_stride, column_stride)
    places = {}
    for phase in ((row, column) for row in range(row_stride) for column in range(column_stride)):
        place = empty((batch, channels, *jit.phases.phase_size(image_size, stride, phase)), images_gradient.dtype)
        if place.size and _convolve_phase(gradient, turned, window, groups, phase, place):
            places[phase] = place.reshape(-1, *place.shape[2:])
    planes = images_gradient.reshape(-1, *image_size)
    kernel = jit.phases.interleave(image_size, stride, tuple(places))
    parts = cut(len(planes), ELEMENT * image_size[0] * image_size[1])
    jit.kernel.run(kernel, len(planes), [*places.values(), planes], parts)


def _turned_round(weight: Array, groups: int) -> Array:
    """Weights (G * K, C, R, S) as those of the convolution back, (G * C, K, R, S), taps from the last to the first."""
    filters, channels, *taps = weight.shape
    by_group = weight.reshape(groups, filters // groups, channels, *taps).swapaxes(1, 2)
    return by_group.reshape(groups * channels, filters // groups, *taps)[:, :, ::-1, ::-1]


def _convolve_phase(gradient: Array, turned: Array, window: Window, groups: int, phase: Pair, out: Array) -> bool:
    """The gradient of every stride-th row and column of the images, from `phase` on, into `out`.

    False, and nothing is done, if no tap reaches them.
    """
    taps, padding, size = [], [], (out.shape[2], out.shape[3])
    for axis in (0, 1):
        kernel, stride, dilation = window.kernel[axis], window.stride[axis], window.dilation[axis]
        # The taps t with (phase + padding - t * dilation) divisible by the stride reach this phase.
        reaching = [t for t in range(kernel) if (phase[axis] + window.padding[axis][0] - t * dilation) % stride == 0]
        taps.append(slice(0, 0))
        if not reaching:
            continue
        step = reaching[1] - reaching[0] if len(reaching) > 1 else 1
        last = reaching[-1]
        # The turned filter has its taps from the last to the first: tap t stands at kernel - 1 - t.
        taps[axis] = slice(kernel - 1 - last, kernel - reaching[0], step)
        apart = step * dilation // stride
        before = -((phase[axis] + window.padding[axis][0] - last * dilation) // stride)
        extent = apart * (len(reaching) - 1) + 1
        after = size[axis] + extent - 1 - gradient.shape[2 + axis] - before
        padding.append((before, after, apart))
    filters = turned[:, :, taps[0], taps[1]]
    if 0 in filters.shape:
        return False
    inner = Window(
        (filters.shape[2], filters.shape[3]),
        (1, 1),
        ((padding[0][0], padding[0][1]), (padding[1][0], padding[1][1])),
        (padding[0][2], padding[1][2]),
    )
    _convolve(gradient, filters, None, inner, groups, False, size, out)
    return True
