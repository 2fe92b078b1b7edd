"""Convolution and its gradients by compiled loops, without columns. See `compiled_by_rows` and `compiled_by_images`.

The gradient of the images is a convolution, too: of the output's gradient, with filters that are turned round and have
channels and filters exchanged. With a stride, each of its *phases*, every stride-th row and column from one start, is one, with
the taps that reach it. `gpucnn bench --operations` shows what the constants of these files are worth.
"""

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty, empty_like
from gpucnn.backend.threads import ELEMENT, FEW_PARTS, MOST_PARTS, Parts, cut
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Window
from gpucnn.kernels.compiler import loop, processor
from gpucnn.kernels.compiler.padded_plane import PaddedPlane
from gpucnn.kernels.compiler.processor import Processor
from gpucnn.kernels.convolution import compiled_by_images, compiled_by_rows, compiled_strides
from gpucnn.kernels.convolution.compiled_by_rows import LoopSizes, WeightLayout
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.elementwise import compiled as elementwise_loops
from gpucnn.kernels.workspace import LARGEST_KEPT

LEAST_WIDTH = 4
"""Rows of fewer positions leave vectors empty; matrix products are faster."""

LARGEST_ROW = 16_384
"""Positions of a row times taps, with the phases of a stride: what has more, as long signals have, goes by columns."""

MOST_INTERLEAVED = 64
"""Phases of a stride that one compiled loop puts together, each written out: more go into their places one by one."""

LARGEST_PARTIAL_SUMS, CACHED_PARTIAL_SUMS = 4 << 20, 1 << 20
"""Bytes for sums of the weight's gradient, one for each part of the batch: of a few parts, and of more."""


@lru_cache(4096)
def suits(task: Convolution) -> bool:
    """Whether compiled loops do a convolution well, and its gradients."""
    window, (rows, columns) = task.window, task.output_shape[2:]
    channels = max(task.weight_shape[:2])
    padded = (rows * window.stride[0] + window.extent[0]) * (columns * window.stride[1] + window.extent[1])
    row = columns * window.kernel[0] * window.kernel[1] + max(window.stride) ** 2
    return columns >= LEAST_WIDTH and channels * padded * 4 <= LARGEST_KEPT and row <= LARGEST_ROW


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """`plain.conv2d`."""
    output = empty(task.output_shape, images.dtype)
    arrays = [np.ascontiguousarray(images), np.ascontiguousarray(weight).reshape(-1), output]
    if bias is not None:
        arrays.append(np.ascontiguousarray(bias))
    code, parts = _forward(task, bias is not None, processor.processor())
    loop.run(code, len(images), arrays, parts)
    return output


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """`plain.conv2d_gradients`."""
    rows = _before_relu(np.ascontiguousarray(gradient), output, found.bias)
    if found.weight is not None and images is not None:
        code, parts = _weight_gradient(task, processor.processor())
        whole = found.weight[None] if len(parts) == 1 else None
        partial = empty((len(parts), *task.weight_shape), rows.dtype) if whole is None else whole
        loop.run(code, len(rows), [np.ascontiguousarray(images), rows, partial], parts)
        if whole is None:
            elementwise_loops.add_rows(partial.reshape(len(parts), -1), found.weight.reshape(-1))
    if found.images is not None:
        _find_images_gradient(task, rows, np.ascontiguousarray(weight).reshape(-1), found.images)


def _before_relu(gradient: Array, output: Array | None, bias_gradient: Array | None) -> Array:
    """The gradient before ReLU, where there is one; the bias's gradient is filled in on the way."""
    if output is None and bias_gradient is None:
        return gradient
    batch, filters, height, width = gradient.shape
    planes, positions = batch * filters, height * width
    sums, rows = empty((planes,), gradient.dtype), gradient
    arrays = [gradient.reshape(planes, positions), sums]
    if output is not None:
        rows = empty_like(gradient)
        arrays += [np.ascontiguousarray(output).reshape(planes, positions), rows.reshape(planes, positions)]
    code = elementwise_loops.plane_sums_loop(positions, output is not None)
    loop.run(code, planes, arrays, cut(planes, ELEMENT * positions))
    if bias_gradient is not None:
        elementwise_loops.add_rows(sums.reshape(batch, filters), bias_gradient)
    return rows


def _find_images_gradient(task: Convolution, gradient: Array, weight: Array, images_gradient: Array) -> None:
    phases = _phases(task, processor.processor())
    whole = task.window.stride == (1, 1)
    places = [images_gradient if whole else empty(one.shape, gradient.dtype) for one in phases]
    for one, place in zip(phases, places, strict=True):
        loop.run(one.code, len(gradient), [gradient, weight[one.weights], place], one.parts)
    if not whole:
        _put_together(phases, places, task.window.stride, images_gradient)


def _put_together(phases: "list[_Phase]", places: list[Array], stride: Pair, images: Array) -> None:
    """Fill images from what stands in the `places` of their phases; what belongs to others becomes 0."""
    starts, size = tuple(phase.start for phase in phases), (images.shape[2], images.shape[3])
    planes = images.reshape(-1, *size)
    places = [place.reshape(-1, *place.shape[2:]) for place in places]
    if math.prod(stride) > MOST_INTERLEAVED:
        planes[...] = 0
        for (row, column), place in zip(starts, places, strict=True):
            planes[:, row :: stride[0], column :: stride[1]] = place
        return
    code = compiled_strides.interleave(size, stride, starts)
    loop.run(code, len(planes), [*places, planes], cut(len(planes), ELEMENT * math.prod(size)))


@lru_cache(4096)
def _forward(task: Convolution, bias: bool, machine: Processor) -> tuple[loop.Loop, Parts]:
    """The loop that convolves, and the parts of the batch."""
    sizes = _sizes(task)
    return _convolution(sizes, WeightLayout.plain(sizes), task.image_shape[0], bias, task.relu, machine)


@lru_cache(4096)
def _weight_gradient(task: Convolution, machine: Processor) -> tuple[loop.Loop, Parts]:
    """The loop for the gradient of the weight, and the parts of the batch."""
    batch, sizes = task.image_shape[0], _sizes(task)
    together = compiled_by_images.pays(sizes, batch, True, machine)
    module, step = (compiled_by_images, machine.lanes) if together else (compiled_by_rows, 1)
    nbytes = 4 * math.prod(task.weight_shape)
    few, most = min(FEW_PARTS, LARGEST_PARTIAL_SUMS // nbytes), min(MOST_PARTS, CACHED_PARTIAL_SUMS // nbytes)
    return module.weight_gradient(sizes, machine), cut(batch, task.work, max(1, few, most), step)


class _Phase(NamedTuple):
    """The images' gradient at every stride-th row and column: from where on, its shape, and how it is found."""

    start: Pair
    shape: Shape
    weights: slice
    """The weights that are read."""
    code: loop.Loop
    parts: Parts


@lru_cache(4096)
def _phases(task: Convolution, machine: Processor) -> list[_Phase]:
    """The phases of the images that any tap reaches; with stride 1 there is one."""
    batch, channels, height, width = task.image_shape
    found, starts = [], (_starts(task.window, axis, size) for axis, size in enumerate((height, width)))
    for row, column in itertools.product(*starts):
        size = compiled_strides.phase_size((height, width), task.window.stride, (row, column))
        sizes, layout, first = _phase_convolution(task, (row, column), size)
        code, parts = _convolution(sizes, layout, batch, False, False, machine)
        weights = slice(first, first + layout.size)
        found.append(_Phase((row, column), (batch, channels, *size), weights, code, parts))
    return found


def _starts(window: Window, axis: int, size: int) -> list[int]:
    """Where the phases of an axis begin that any tap reaches."""
    stride, dilation, before = window.stride[axis], window.dilation[axis], window.padding[axis][0]
    starts = {(tap * dilation - before) % stride for tap in range(window.kernel[axis])}
    return sorted(start for start in starts if start < size)


def _sizes(task: Convolution) -> LoopSizes:
    plane = PaddedPlane(
        (task.image_shape[2], task.image_shape[3]), task.window, (task.output_shape[2], task.output_shape[3])
    )
    return LoopSizes(task.groups, task.weight_shape[1], task.weight_shape[0] // task.groups, plane)


def _convolution(
    sizes: LoopSizes, layout: WeightLayout, batch: int, bias: bool, relu: bool, machine: Processor
) -> tuple[loop.Loop, Parts]:
    together = compiled_by_images.pays(sizes, batch, False, machine)
    module, step = (compiled_by_images, machine.lanes) if together else (compiled_by_rows, 1)
    work = sizes.groups * sizes.filters * math.prod(sizes.plane.output_size) * sizes.channels * sizes.taps
    return module.forward(sizes, layout, bias, relu, machine), cut(batch, work, step=step)


def _phase_convolution(task: Convolution, start: Pair, phase_size: Pair) -> tuple[LoopSizes, WeightLayout, int]:
    """The convolution of the output's gradient that gives the gradient of every stride-th row and column from `start` on.

    Its sizes, the layout of its weights, and the first of them that it reads: phases with equally many taps are alike.
    """
    filters, channels, rows, columns = task.weight_shape
    gradient_size = task.output_shape[2], task.output_shape[3]
    down, across = (_reach(task.window, axis, start[axis], gradient_size[axis], phase_size[axis]) for axis in (0, 1))
    padding = (down.padding, across.padding)
    inner = Window((down.taps, across.taps), (1, 1), padding, (down.dilation, across.dilation))
    plane = PaddedPlane(gradient_size, inner, phase_size)
    of_filter = channels * rows * columns
    lowest, highest = down.first * columns + across.first, down.last * columns + across.last
    layout = WeightLayout(
        size=filters * of_filter - rows * columns + highest - lowest + 1,
        group=filters // task.groups * of_filter,
        filter=rows * columns,
        channel=of_filter,
        row=-down.step * columns,
        column=-across.step,
        first=highest - lowest,
    )
    return LoopSizes(task.groups, filters // task.groups, channels, plane), layout, lowest


class _Reach(NamedTuple):
    """The taps that reach a phase of an axis: every `step`-th from `first` to `last`; and how they lie on the gradient."""

    taps: int
    step: int
    first: int
    last: int
    padding: Pair
    dilation: int


def _reach(window: Window, axis: int, start: int, gradient_size: int, phase_size: int) -> _Reach:
    stride, dilation = window.stride[axis], window.dilation[axis]
    corner = start + window.padding[axis][0]
    # Tap t reaches the phase if corner - t * dilation is divisible by the stride.
    reaching = [tap for tap in range(window.kernel[axis]) if (corner - tap * dilation) % stride == 0]
    first, last = reaching[0], reaching[-1]
    step = reaching[1] - reaching[0] if len(reaching) > 1 else stride
    apart = step * dilation // stride
    before = (last * dilation - corner) // stride
    after = phase_size + apart * (len(reaching) - 1) - gradient_size - before
    return _Reach(len(reaching), step, first, last, (before, after), apart)
