"""NumPy on all threads: every part of a batch in tiles, which all calls for a tile find in the cache."""

import math

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.geometry import Tap
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.pooling.plain import Pooling
from gpucnn.kernels.tiling import TILED_PARTS, for_tiles
from gpucnn.kernels.workspace import workspace

MOST_COPIES = 8
"""How much larger than the images copies may be that taps make of them. Measured by `gpucnn bench --operations`."""


def max_pool(task: Pooling, images: Array, with_argmax: bool) -> tuple[Array, Array | None]:
    """The maxima, and then for each window the first tap that has its maximum."""
    output = empty(task.output_shape, images.dtype)
    if not with_argmax:
        _fill_maxima(task, images, output)
        return output, None
    argmax = empty(output.shape, np.int32)
    parts = cut(len(images), output[:1].size * math.prod(task.window.kernel) * ELEMENT // 2, TILED_PARTS)
    for_tiles(parts, images[:1].nbytes, lambda tile: _find_maxima(task, images[tile], output[tile], argmax[tile]))
    return output, argmax


def max_pool_gradient(task: Pooling, gradient: Array, argmax: Array) -> Array:
    """Tap by tap where windows overlap, else all winners at once."""
    images = empty(task.image_shape, gradient.dtype)
    parts = cut(len(images), gradient[:1].size * math.prod(task.window.kernel) * ELEMENT // 2, TILED_PARTS)

    def fill(tile: slice) -> None:
        images[tile] = 0
        if task.window.overlaps:
            _add_to_winners(task, gradient[tile], argmax[tile], images[tile])
        else:
            _give_to_winners(gradient[tile], argmax[tile], images[tile])

    for_tiles(parts, images[:1].nbytes, fill)
    return images


def _find_maxima(task: Pooling, images: Array, output: Array, argmax: Array) -> None:
    """Fill `output` with the maxima and `argmax` with where they were."""
    window, taps = task.window, list(task.taps())
    seen = [images[..., *tap.inputs] for tap in taps]
    if window.stride[1] == 1 or len(taps) * output.size > MOST_COPIES * images.size:
        _fill_maxima(task, images, output)
    else:
        # Two loops over every second element take longer than a copy and two loops over neighbours.
        copies = workspace((len(taps), *output.shape), images)
        output[...] = -np.inf
        for k, tap in enumerate(taps):
            copy, target = copies[k, ..., *tap.outputs], output[..., *tap.outputs]
            copy[...] = seen[k]
            seen[k] = copy
            np.maximum(target, copy, out=target)
    # Which tap holds the maximum first: as many as have missed it before.
    missed, number = np.ones(output.shape, bool), np.zeros(output.shape, np.uint8 if len(taps) < 256 else np.int32)
    for values, tap in zip(seen, taps, strict=True):
        found = missed[..., *tap.outputs]
        found &= values != output[..., *tap.outputs]
        number += missed
    if missed.any():
        _find_nans(images, taps, number)
    (_, across), (down, right) = window.kernel, window.dilation
    argmax[...] = number // across
    argmax *= down * images.shape[3] - across * right
    argmax += number if right == 1 else np.multiply(number, right, dtype=np.int32)
    argmax += _first_taps(task, output)
    if missed.any():
        argmax[number == len(taps)] = -1


def _fill_maxima(task: Pooling, images: Array, output: Array) -> None:
    """The maxima alone: first over the rows of every window, where elements are neighbours, then over its columns."""
    taps, across = list(task.taps()), task.window.kernel[1]
    over_rows = np.full((*output.shape[:3], images.shape[3]), -np.inf, images.dtype)
    for tap in taps[::across]:
        target = over_rows[..., tap.outputs[0], :]
        np.maximum(target, images[..., tap.inputs[0], :], out=target)
    output[...] = -np.inf
    for tap in taps[:across]:
        target = output[..., tap.outputs[1]]
        np.maximum(target, over_rows[..., tap.inputs[1]], out=target)


def _find_nans(images: Array, taps: list[Tap], number: Array) -> None:
    """Where a window has missed its maximum, as NaN is not equal to itself, the number of the tap that holds the first."""
    for place, tap in reversed(list(enumerate(taps))):
        values, target = images[..., *tap.inputs], number[..., *tap.outputs]
        np.copyto(target, place, where=values != values)


def _first_taps(task: Pooling, output: Array) -> Array:
    """The index into the (H, W) plane of the first tap at each output position, as if the padding were there, too."""
    rows, columns = (
        np.arange(size, dtype=np.int32) * step - before
        for size, step, (before, _) in zip(output.shape[2:], task.window.stride, task.window.padding, strict=True)
    )
    return rows[:, None] * task.image_size[1] + columns


def _add_to_winners(task: Pooling, gradient: Array, argmax: Array, images: Array) -> None:
    places = task.places(np)
    for tap in task.taps():
        won = argmax[..., *tap.outputs] == np.ascontiguousarray(places[tap.inputs])
        images[..., *tap.inputs] += masked(gradient[..., *tap.outputs], won)


def _give_to_winners(gradient: Array, argmax: Array, images: Array) -> None:
    """The same for windows that share nothing: no element is given more than one gradient."""
    (batch, channels, height, width), size = gradient.shape, images.shape[2] * images.shape[3]
    given, places = (array.reshape(batch * channels, height * width) for array in (gradient, argmax))
    winners, won = places + np.arange(0, batch * channels * size, size)[:, None], places >= 0
    if won.all():
        images.reshape(-1)[winners] = given
    else:
        images.reshape(-1)[winners[won]] = given[won]
