"""The plain way: a loop over the taps of a window, each of which looks at all windows at once."""

from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, wide, xp_of
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Tap, Window


class Pooling(NamedTuple):
    """What is pooled: images (N, C, H, W), by a window. `count_include_pad`: whether an average counts padding, as zeros."""

    image_shape: Shape
    window: Window
    count_include_pad: bool = True

    @property
    def image_size(self) -> Pair:
        """(H, W)."""
        return self.image_shape[2], self.image_shape[3]

    @property
    def output_shape(self) -> Shape:
        """(N, C, OH, OW)."""
        return *self.image_shape[:2], *self.window.output_size(self.image_size)

    def taps(self) -> Iterator[Tap]:
        """The window's taps, with the positions of outputs and images that each one is about."""
        return self.window.taps(self.image_size, self.window.output_size(self.image_size))

    def places(self, xp: ModuleType) -> Array:
        """The number of every position of the (H, W) plane, row by row: int32, (H, W)."""
        height, width = self.image_size
        return xp.arange(height * width, dtype=xp.int32).reshape(height, width)


def max_pool(task: Pooling, images: Array, with_argmax: bool) -> tuple[Array, Array | None]:
    """The maxima (N, C, OH, OW), and the place of each in its plane, int32, -1 for a window in padding alone."""
    xp = xp_of(images)
    best, winner = xp.full(task.output_shape, -xp.inf, images.dtype), xp.full(task.output_shape, -1, xp.int32)
    places = task.places(xp)
    for tap in task.taps():
        value, maximum, place = images[..., *tap.inputs], best[..., *tap.outputs], winner[..., *tap.outputs]
        is_first_nan = (value != value) & (maximum == maximum)
        wins = (place < 0) | (value > maximum) | is_first_nan
        maximum[...] = xp.where(wins, value, maximum)
        place[...] = xp.where(wins, places[tap.inputs], place)
    return best, winner


def max_pool_gradient(task: Pooling, gradient: Array, argmax: Array) -> Array:
    """The argmax scatter: each window's gradient goes to the place that won it."""
    xp = xp_of(gradient)
    images, places = xp.zeros(task.image_shape, gradient.dtype), task.places(xp)
    for tap in task.taps():
        won = argmax[..., *tap.outputs] == places[tap.inputs]
        images[..., *tap.inputs] += xp.where(won, gradient[..., *tap.outputs], 0)
    return images


def avg_pool(task: Pooling, images: Array) -> Array:
    """The means (N, C, OH, OW)."""
    xp, dtype = xp_of(images), wide(images.dtype)
    output = xp.zeros(task.output_shape, dtype)
    for tap in task.taps():
        output[..., *tap.outputs] += images[..., *tap.inputs]
    output /= counts(task, xp, dtype)
    return output.astype(images.dtype, copy=False)


def avg_pool_gradient(task: Pooling, gradient: Array) -> Array:
    """Each window's gradient is shared out evenly among its elements."""
    xp, dtype = xp_of(gradient), wide(gradient.dtype)
    shares, images = gradient / counts(task, xp, dtype), xp.zeros(task.image_shape, dtype)
    for tap in task.taps():
        images[..., *tap.inputs] += shares[..., *tap.outputs]
    return images.astype(gradient.dtype, copy=False)


def counts(task: Pooling, xp: ModuleType, dtype: np.dtype) -> Array:
    """How many elements each window counts, (OH, OW): 1 for one that counts none, as its sum is 0 anyway."""
    size, window = task.image_size, task.window
    if task.count_include_pad:
        size = size[0] + sum(window.padding[0]), size[1] + sum(window.padding[1])
        window = window._replace(padding=((0, 0), (0, 0)))
    found = np.zeros(task.output_shape[2:], int)
    for tap in window.taps(size, (found.shape[0], found.shape[1])):
        found[tap.outputs] += 1
    return xp.asarray(np.maximum(found, 1), dtype=dtype)
