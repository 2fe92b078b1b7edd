"""Max pooling and its gradient.

Padding is minus infinity and never wins; the first maximum of a window wins a tie; a NaN in a window wins it.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import ELEMENT, cut, parallel
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Tap, Window
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop, padded_plane
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.launch import WINDOW, Kernel, accepts, launch
from gpucnn.kernels.pooling import max_pool_loops
from gpucnn.kernels.tiling import PASS_PARTS, passes
from gpucnn.kernels.workspace import workspace

SOURCE = Path(__file__).with_suffix(".cu")
MAX_POOL = Kernel(SOURCE, "max_pool", f"const T* images, T* output, int* argmax = null, long long size, {WINDOW}")
MAX_POOL_SCATTER = Kernel(
    SOURCE,
    "max_pool_scatter",
    "const T* gradient, const int* argmax, T* images, long long size, int cell_rows, int cell_columns, "
    "int height, int width, int stride_height, int stride_width, int padding_top, int padding_left, "
    "int output_height, int output_width",
)
MOST_COPIES = 8
"""How much larger than the images copies may be that taps make of them."""

MAX_POOL_GATHER = Kernel(
    SOURCE, "max_pool_gather", f"const T* gradient, const int* argmax, T* images, long long size, {WINDOW}"
)


def max_pool(images: Array, window: Window) -> Array:
    """The maximum of every window: images (N, C, H, W) of a float dtype to (N, C, OH, OW)."""
    xp = xp_of(images)
    image_size = images.shape[2:4]
    output_size = window.output_size(image_size, "max_pool")
    if accepts(images):
        return _launch_max_pool(images, window, None)
    if ways.compiles(images) and images.size:
        return _compiled_max_pool(images, window)[0]
    output = xp.empty((*images.shape[:2], *output_size), images.dtype)
    _fill_maxima(images, window, output)
    return output


def max_pool_with_argmax(images: Array, window: Window) -> tuple[Array, Array]:
    """`max_pool`, and where each maximum was: int32 indices (N, C, OH, OW) into the flat (H, W) plane.

    A window that lies wholly in padding or gaps has the index -1.
    """
    xp = xp_of(images)
    image_size = images.shape[2:4]
    if accepts(images):
        argmax = xp.empty((*images.shape[:2], *window.output_size(image_size, "max_pool")), xp.int32)
        return _launch_max_pool(images, window, argmax), argmax
    if ways.compiles(images) and images.size:
        output, argmax = _compiled_max_pool(images, window)
        if window.padding == ((0, 0), (0, 0)) or argmax.min() >= 0:
            return output, argmax
    shape = (*images.shape[:2], *window.output_size(image_size, "max_pool"))
    if xp is not np:
        output, argmax = xp.empty(shape, images.dtype), xp.empty(shape, xp.int32)
        _find_maxima(images, window, output, argmax)
        return output, argmax
    output, argmax = empty(shape, images.dtype), empty(shape, np.int32)
    parts = cut(len(images), output[:1].size * math.prod(window.kernel) * ELEMENT // 2, PASS_PARTS)

    def find_part(number: int) -> None:
        for piece in passes(parts[number], images[:1].nbytes):
            _find_maxima(images[piece], window, output[piece], argmax[piece])

    parallel(find_part, len(parts))
    return output, argmax


def _find_maxima(images: Array, window: Window, output: Array, argmax: Array) -> None:
    """Fill `output` with the maxima and `argmax` with where they were."""
    xp, image_size, output_size = xp_of(images), (images.shape[2], images.shape[3]), (output.shape[2], output.shape[3])
    taps = list(window.taps(image_size, output_size))
    seen = [images[..., *tap.inputs] for tap in taps]
    if window.stride[1] == 1 or len(taps) * output.size > MOST_COPIES * images.size:
        _fill_maxima(images, window, output)
    else:
        # Two loops over every second element take longer than a copy and two loops over neighbours.
        copies = workspace((len(taps), *output.shape), images)
        output[...] = -xp.inf
        for number, tap in enumerate(taps):
            copy, target = copies[number, ..., *tap.outputs], output[..., *tap.outputs]
            copy[...] = seen[number]
            seen[number] = copy
            xp.maximum(target, copy, out=target)
    # Which tap holds the maximum first: as many as have missed it before.
    missed, number = xp.ones(output.shape, bool), xp.zeros(output.shape, xp.uint8 if len(taps) < 256 else xp.int32)
    for values, tap in zip(seen, taps, strict=True):
        found = missed[..., *tap.outputs]
        found &= values != output[..., *tap.outputs]
        number += missed
    if missed.any():
        _find_nans(images, taps, number)
    (_, across), (down, right) = window.kernel, window.dilation
    argmax[...] = number // across
    argmax *= down * image_size[1] - across * right
    argmax += number if right == 1 else xp.multiply(number, right, dtype=xp.int32)
    argmax += _first_taps(xp, window, output_size, image_size[1])
    if missed.any():
        argmax[number == len(taps)] = -1


def _fill_maxima(images: Array, window: Window, output: Array) -> None:
    """The maxima alone: first over the rows of every window, where elements are neighbours, then over its columns."""
    xp = xp_of(images)
    image_size, output_size = (images.shape[2], images.shape[3]), (output.shape[2], output.shape[3])
    taps = list(window.taps(image_size, output_size))
    over_rows = xp.full((*output.shape[:3], image_size[1]), -xp.inf, images.dtype)
    for tap in taps[:: window.kernel[1]]:
        target = over_rows[..., tap.outputs[0], :]
        xp.maximum(target, images[..., tap.inputs[0], :], out=target)
    output[...] = -xp.inf
    for tap in taps[: window.kernel[1]]:
        target = output[..., tap.outputs[1]]
        xp.maximum(target, over_rows[..., tap.inputs[1]], out=target)


def _find_nans(images: Array, taps: list[Tap], number: Array) -> None:
    """Where a window has missed its maximum, as NaN is not equal to itself, the number of the tap that holds the first."""
    for place, tap in reversed(list(enumerate(taps))):
        values, target = images[..., *tap.inputs], number[..., *tap.outputs]
        xp_of(images).copyto(target, place, where=values != values)


def max_pool_gradient(gradient: Array, argmax: Array, image_shape: Shape, window: Window) -> Array:
    """The gradient of the images (N, C, H, W): each window's gradient goes to the position that won it.

    The result is the same every time, overlapping windows included: nothing is added up in an order left to chance.
    """
    xp = xp_of(gradient, argmax)
    if accepts(gradient):
        return _launch_gradient(gradient, argmax, image_shape, window)
    if ways.compiles(gradient) and gradient.size:
        return _compiled_gradient(gradient, argmax, image_shape, window)
    if xp is not np:
        images = xp.zeros(image_shape, gradient.dtype)
        _add_to_winners(gradient, argmax, images, window)
        return images
    images = empty(image_shape, gradient.dtype)
    parts = cut(image_shape[0], gradient[:1].size * math.prod(window.kernel) * ELEMENT // 2, PASS_PARTS)

    def fill_part(number: int) -> None:
        for piece in passes(parts[number], images[:1].nbytes):
            if window.overlaps:
                images[piece] = 0
                _add_to_winners(gradient[piece], argmax[piece], images[piece], window)
            else:
                _give_to_winners(gradient[piece], argmax[piece], images[piece])

    parallel(fill_part, len(parts))
    return images


def _add_to_winners(gradient: Array, argmax: Array, images: Array, window: Window) -> None:
    for tap in window.taps((images.shape[2], images.shape[3]), gradient.shape[2:4]):
        won = argmax[..., *tap.outputs] == _plane_indices(xp_of(gradient), tap, images.shape[3])
        images[..., *tap.inputs] += masked(gradient[..., *tap.outputs], won)


def _give_to_winners(gradient: Array, argmax: Array, images: Array) -> None:
    """`_add_to_winners` for windows that share nothing: no element is given more than one gradient."""
    images[...] = 0
    (batch, channels, height, width), size = gradient.shape, images.shape[2] * images.shape[3]
    given, places = (array.reshape(batch * channels, height * width) for array in (gradient, argmax))
    winners, won = places + np.arange(0, batch * channels * size, size)[:, None], places >= 0
    if won.all():
        images.reshape(-1)[winners] = given
    else:
        images.reshape(-1)[winners[won]] = given[won]


def _compiled_max_pool(images: Array, window: Window) -> tuple[Array, Array]:
    """`max_pool_with_argmax`, but for -1 where nothing but padding and minus infinity is in a window."""
    batch, channels, *image_size = images.shape
    output_size = window.output_size((image_size[0], image_size[1]), "max_pool")
    plane = padded_plane.PaddedPlane((image_size[0], image_size[1]), window, output_size)
    output = empty((batch, channels, *output_size), images.dtype)
    argmax, planes = empty(output.shape, np.int32), batch * channels
    arrays = [np.ascontiguousarray(images), output, argmax]
    by_plane = [array.reshape(planes, *array.shape[2:]) for array in arrays]
    work = math.prod(output_size) * math.prod(window.kernel) * ELEMENT
    loop.run(max_pool_loops.forward(plane), planes, by_plane, cut(planes, work))
    return output, argmax


def _compiled_gradient(gradient: Array, argmax: Array, image_shape: Shape, window: Window) -> Array:
    image_size, output_size = (image_shape[2], image_shape[3]), (gradient.shape[2], gradient.shape[3])
    plane, planes = padded_plane.PaddedPlane(image_size, window, output_size), image_shape[0] * image_shape[1]
    images = empty(image_shape, gradient.dtype)
    arrays = [np.ascontiguousarray(gradient), np.ascontiguousarray(argmax), images]
    by_plane = [array.reshape(planes, *array.shape[2:]) for array in arrays]
    work = math.prod(image_size) * ELEMENT
    loop.run(max_pool_loops.gradient(plane), planes, by_plane, cut(planes, work))
    return images


def _plane_indices(xp: Array, tap: Tap, image_width: int) -> Array:
    """The flat (H, W) index of the element that a tap reads, for each of its output positions."""
    rows, columns = (xp.arange(axis.start, axis.stop, axis.step, dtype=xp.int32) for axis in tap.inputs)
    return rows[:, None] * image_width + columns


def _first_taps(xp: Any, window: Window, output_size: Pair, image_width: int) -> Array:
    """The flat (H, W) index of the first tap at each output position, as if the padding were there, too."""
    rows, columns = (
        xp.arange(size, dtype=xp.int32) * step - before
        for size, step, (before, _) in zip(output_size, window.stride, window.padding, strict=True)
    )
    return rows[:, None] * image_width + columns


def _launch_max_pool(images: Array, window: Window, argmax: Array | None) -> Array:
    xp = xp_of(images)
    image_size = images.shape[2:4]
    output_size = window.output_size(image_size, "max_pool")
    output = xp.empty((*images.shape[:2], *output_size), images.dtype)
    sizes = window.sizes(image_size, output_size)
    launch(MAX_POOL, output.size, xp.ascontiguousarray(images), output, argmax, output.size, *sizes)
    return output


def _launch_gradient(gradient: Array, argmax: Array, image_shape: Shape, window: Window) -> Array:
    xp = xp_of(gradient)
    gradient = xp.ascontiguousarray(gradient)
    images = xp.empty(image_shape, gradient.dtype)
    image_size, output_size = (image_shape[2], image_shape[3]), (gradient.shape[2], gradient.shape[3])
    if window.overlaps:
        sizes = window.sizes(image_size, output_size)
        launch(MAX_POOL_GATHER, images.size, gradient, argmax, images, images.size, *sizes)
        return images
    padding = (window.padding[0][0], window.padding[1][0])
    cells = [-(-(image_size[axis] + padding[axis]) // window.stride[axis]) for axis in (0, 1)]
    threads = image_shape[0] * image_shape[1] * cells[0] * cells[1]
    sizes = (*cells, *image_size, *window.stride, *padding, *output_size)
    launch(MAX_POOL_SCATTER, threads, gradient, argmax, images, threads, *sizes)
    return images
