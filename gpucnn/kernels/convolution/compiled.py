"""Convolution and its gradients by compiled loops, without columns. See `compiled_by_rows`.

The gradient of the images is a convolution, too: of the output's gradient, with filters that are turned round and have
channels and filters exchanged. With a stride, each of its *phases*, every so many rows and columns, is one, with the taps
that reach it.
"""

import itertools
import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty, empty_like
from gpucnn.backend.threads import ELEMENT, MOST_PARTS, cut
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Window
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop, padded_plane, processor
from gpucnn.kernels.convolution import compiled_by_images, compiled_by_rows, compiled_strides
from gpucnn.kernels.elementwise import relu_loops
from gpucnn.kernels.workspace import LARGEST_KEPT

LEAST_WIDTH = 4
"""Rows of fewer positions leave vectors empty; matrix products are faster."""

LARGEST_ROW = 16_384
"""Positions of a row times taps, with the phases of a stride: what has more, as long signals have, goes by columns."""

MOST_INTERLEAVED = 64
"""Phases of a stride that one compiled loop puts together, each written out: more go into their places one by one."""

LARGEST_PARTIAL_SUMS = 4 << 20
"""Bytes for sums of the weight's gradient, one for each part of the batch."""


def suits(like: Array, weight: Array, image_shape: Shape, window: Window) -> bool:
    """Whether compiled loops do this convolution of images (N, C, H, W) well, and its gradients, on arrays like these."""
    return ways.compiles(like, weight) and _shapes_suit(image_shape, weight.shape, window)


@lru_cache(4096)
def _shapes_suit(image_shape: Shape, weight_shape: Shape, window: Window) -> bool:
    if 0 in image_shape or 0 in weight_shape:
        return False
    rows, columns = window.output_size((image_shape[2], image_shape[3]))
    channels = max(weight_shape[0], weight_shape[1])
    padded = (rows * window.stride[0] + window.extent[0]) * (columns * window.stride[1] + window.extent[1])
    row = columns * window.kernel[0] * window.kernel[1] + max(window.stride) ** 2
    return columns >= LEAST_WIDTH and channels * padded * 4 <= LARGEST_KEPT and row <= LARGEST_ROW


def conv2d(images: Array, weight: Array, bias: Array | None, window: Window, groups: int, relu: bool) -> Array:
    """`kernels.conv2d.conv2d`, directly."""
    output_size = window.output_size((images.shape[2], images.shape[3]), "conv2d")
    sizes = _sizes(images.shape, weight.shape, window, groups, output_size)
    output = empty((len(images), len(weight), *output_size), images.dtype)
    layout = compiled_by_rows.WeightLayout.plain(sizes)
    _convolve(images, np.ascontiguousarray(weight).reshape(-1), sizes, layout, bias, relu, output)
    return output


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
    images: Array, weight: Array, sizes: Any, layout: Any, bias: Array | None, relu: bool, output: Array
) -> None:
    batch, machine = len(images), processor.processor()
    together = compiled_by_images.pays(sizes, batch, False, machine)
    module = compiled_by_images if together else compiled_by_rows
    kernel = module.forward(sizes, layout, bias is not None, relu, machine)
    arrays = [np.ascontiguousarray(images), weight[: layout.size], output]
    if bias is not None:
        arrays.append(np.ascontiguousarray(bias))
    work = output.size // batch * sizes.channels * len(sizes.taps)
    loop.run(kernel, batch, arrays, cut(batch, work, step=machine.lanes if together else 1))


def _sizes(image_shape: Shape, weight_shape: Shape, window: Window, groups: int, output_size: Pair) -> Any:
    plane = padded_plane.PaddedPlane((image_shape[2], image_shape[3]), window, output_size)
    return compiled_by_rows.Convolution(groups, weight_shape[1], weight_shape[0] // groups, plane)


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
    kernel = relu_loops.plane_sums(positions, relu_output is not None)
    loop.run(kernel, planes, arrays, cut(planes, ELEMENT * positions))
    if bias_gradient is not None:
        sums.reshape(batch, filters).sum(axis=0, out=bias_gradient)
    return rows


def _weight_gradient(gradient: Array, images: Array, window: Window, groups: int, weight_gradient: Array) -> None:
    batch, _, rows, columns = gradient.shape
    sizes = _sizes(images.shape, weight_gradient.shape, window, groups, (rows, columns))
    machine = processor.processor()
    together = compiled_by_images.pays(sizes, batch, True, machine)
    module, step = (compiled_by_images, machine.lanes) if together else (compiled_by_rows, 1)
    most = max(1, min(MOST_PARTS, LARGEST_PARTIAL_SUMS // weight_gradient.nbytes))
    parts = cut(batch, rows * columns * weight_gradient.size, most, step)
    partial = empty((len(parts), *weight_gradient.shape), gradient.dtype)
    loop.run(module.weight_gradient(sizes, machine), batch, [images, gradient, partial], parts)
    partial.sum(axis=0, out=weight_gradient)


def _images_gradient(gradient: Array, weight: Array, window: Window, groups: int, images_gradient: Array) -> None:
    weight, size = np.ascontiguousarray(weight), (gradient.shape[2], gradient.shape[3])
    batch, channels, height, width = images_gradient.shape
    if window.stride == (1, 1):
        sizes, layout, first = _phase_convolution(weight.shape, size, (height, width), window, groups, (0, 0))
        _convolve(gradient, weight.reshape(-1)[first:], sizes, layout, None, False, images_gradient)
        return
    places = {}
    for phase in itertools.product(_phases_reached(window, 0, height), _phases_reached(window, 1, width)):
        phase_size = compiled_strides.phase_size((height, width), window.stride, phase)
        sizes, layout, first = _phase_convolution(weight.shape, size, phase_size, window, groups, phase)
        place = empty((batch, channels, *phase_size), images_gradient.dtype)
        _convolve(gradient, weight.reshape(-1)[first:], sizes, layout, None, False, place)
        places[phase] = place.reshape(-1, *phase_size)
    planes = images_gradient.reshape(-1, height, width)
    if math.prod(window.stride) > MOST_INTERLEAVED:
        planes[...] = 0
        for (row, column), place in places.items():
            planes[:, row :: window.stride[0], column :: window.stride[1]] = place
        return
    kernel = compiled_strides.interleave((height, width), window.stride, tuple(places))
    parts = cut(len(planes), ELEMENT * height * width)
    loop.run(kernel, len(planes), [*places.values(), planes], parts)


def _phases_reached(window: Window, axis: int, size: int) -> list[int]:
    """The phases of an axis of an image that any tap reaches."""
    stride, dilation, before = window.stride[axis], window.dilation[axis], window.padding[axis][0]
    phases = {(tap * dilation - before) % stride for tap in range(window.kernel[axis])}
    return sorted(phase for phase in phases if phase < size)


@lru_cache(4096)
def _phase_convolution(
    weight_shape: Shape, gradient_size: Pair, phase_size: Pair, window: Window, groups: int, phase: Pair
) -> Any:
    """The convolution of the output's gradient that gives the gradient of every stride-th row and column from `phase` on.

    Its sizes, the layout of its weights, and the first of them that it reads: phases with equally many taps are alike.
    """
    filters, channels, rows, columns = weight_shape
    down, across = (_reach(window, axis, phase[axis], gradient_size[axis], phase_size[axis]) for axis in (0, 1))
    padding = (down.padding, across.padding)
    inner = Window((down.taps, across.taps), (1, 1), padding, (down.dilation, across.dilation))
    plane = padded_plane.PaddedPlane(gradient_size, inner, phase_size)
    of_filter = channels * rows * columns
    lowest, highest = down.first * columns + across.first, down.last * columns + across.last
    layout = compiled_by_rows.WeightLayout(
        size=filters * of_filter - rows * columns + highest - lowest + 1,
        group=filters // groups * of_filter,
        filter=rows * columns,
        channel=of_filter,
        row=-down.step * columns,
        column=-across.step,
        first=highest - lowest,
    )
    return compiled_by_rows.Convolution(groups, filters // groups, channels, plane), layout, lowest


class _Reach(NamedTuple):
    """The taps that reach a phase of an axis: every `step`-th from `first` to `last`; and how they lie on the gradient."""

    taps: int
    step: int
    first: int
    last: int
    padding: Pair
    dilation: int


def _reach(window: Window, axis: int, phase: int, gradient_size: int, phase_size: int) -> _Reach:
    stride, dilation = window.stride[axis], window.dilation[axis]
    corner = phase + window.padding[axis][0]
    # Tap t reaches this phase if corner - t * dilation is divisible by the stride.
    reaching = [tap for tap in range(window.kernel[axis]) if (corner - tap * dilation) % stride == 0]
    first, last = reaching[0], reaching[-1]
    step = reaching[1] - reaching[0] if len(reaching) > 1 else stride
    apart = step * dilation // stride
    before = (last * dilation - corner) // stride
    after = phase_size + apart * (len(reaching) - 1) - gradient_size - before
    return _Reach(len(reaching), step, first, last, (before, after), apart)
