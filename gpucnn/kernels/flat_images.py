"""Images on one long axis, where a tap of a window is a fixed offset.

Channel by channel the images of a tile stand one after the other, row after row, with zeros around each that neighbours
share. Two images of 2x3, padding 1:

    a channel    0 0 0 0 0 a b c 0 d e f 0 0 0 0 0 g h i 0 j k l 0 0 0 0 0

From a position to its neighbour below are four steps, wherever it lies, so in the matrix of columns (`im2col`) a row is one
long copy. Between rows and images are positions whose columns mean nothing: products with them are dropped, and where a sum
runs over positions, the other factor is 0 there.

A stride is taken away first: every `stride`-th row and column of the images, from each *phase* on, is a channel of its own,
under a window of the taps that meet it.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Window
from gpucnn.kernels.tiling import tiles

SMALL_PRODUCT = 1_000_000
"""Up to so many multiply-adds OpenBLAS takes matrices as they lie; larger ones it rearranges first, in twice the time."""

LEAST_LENGTH = 96
"""Products of fewer positions leave vectors and registers empty, small or not."""

LENGTH = 448
"""Positions of a product that cannot be small. At a power of 2 the rows would evict each other from the cache."""

MOST_LENGTH = 1500
"""Longer ones are no faster."""


class Taps(NamedTuple):
    """A window's taps when its stride is taken away: how many, and how far apart, and the stride that it had."""

    count: Pair
    step: Pair
    stride: Pair

    @classmethod
    def of(cls, window: Window) -> "Taps":
        """Those of `window`. Where it has a stride, its dilation becomes taps of weight 0."""
        count, step = [], []
        for axis, stride in enumerate(window.stride):
            count.append(window.kernel[axis] if stride == 1 else -(-window.extent[axis] // stride))
            step.append(window.dilation[axis] if stride == 1 else 1)
        return cls((count[0], count[1]), (step[0], step[1]), window.stride)

    @property
    def phases(self) -> int:
        """How many channels there are for each of the images'."""
        return self.stride[0] * self.stride[1]

    @property
    def reach(self) -> Pair:
        """From the first to the last tap, in rows and columns."""
        return (self.count[0] - 1) * self.step[0], (self.count[1] - 1) * self.step[1]

    def single(self) -> "Taps":
        """One tap alone, with this stride."""
        return Taps((1, 1), (1, 1), self.stride)

    def of_one_phase(self) -> "Taps":
        """These taps, on images without phases."""
        return self._replace(stride=(1, 1))

    def weight(self, weight: Array, window: Window) -> Array:
        """Weight (O, C, KH, KW) of `window` as (O, C * phases, *count)."""
        if self.phases == 1:
            return weight
        shape = self._shape(weight.shape)
        spread = np.zeros(shape, weight.dtype)
        self._places(spread, window)[...] = weight
        return spread.transpose(0, 1, 3, 5, 2, 4).reshape(shape[0], -1, *self.count)

    def fill_weight(self, weight: Array, window: Window, found: Array) -> None:
        """The way back: weight (O, C, KH, KW) from `found` (O, C * phases, *count)."""
        if self.phases > 1:
            rows, height, columns, width = self._shape(weight.shape)[2:]
            by_phase = found.reshape(*weight.shape[:2], height, width, rows, columns)
            found = self._places(np.ascontiguousarray(by_phase.transpose(0, 1, 4, 2, 5, 3)), window)
        weight[...] = found

    def _shape(self, weight_shape: Shape) -> Shape:
        return (*weight_shape[:2], self.count[0], self.stride[0], self.count[1], self.stride[1])

    def _places(self, spread: Array, window: Window) -> Array:
        """Where the taps of `window` stand among all of `spread` (O, C, count, stride, count, stride)."""
        plane = spread.reshape(*spread.shape[:2], spread.shape[2] * spread.shape[3], spread.shape[4] * spread.shape[5])
        steps = [1 if stride == 1 else dilation for stride, dilation in zip(self.stride, window.dilation, strict=True)]
        stops = [(taps - 1) * step + 1 for taps, step in zip(window.kernel, steps, strict=True)]
        return plane[:, :, : stops[0] : steps[0], : stops[1] : steps[1]]


class Piece(NamedTuple):
    """Some of the positions that a window slides over, of some images, on one long axis, cut for products."""

    images: slice
    size: Pair
    """How many rows and columns of positions an image has."""
    first: Pair
    """The row and column of the first of them."""
    pitch: Pair
    """Rows an image, positions a row, with the zeros that follow."""
    products: int
    length: int
    """Positions a product."""

    @property
    def positions(self) -> int:
        """All positions of all products."""
        return self.products * self.length

    @property
    def place(self) -> tuple[slice, ...]:
        """Where the positions are in all images (N, C, H, W) of positions."""
        rows, columns = (slice(first, first + size) for first, size in zip(self.first, self.size, strict=True))
        return self.images, slice(None), rows, columns

    def as_images(self, matrix: Array) -> Array:
        """A matrix (C, at least the positions), contiguous, as images (N, C, *size), in the same memory."""
        shape = (self.images.stop - self.images.start, len(matrix), *self.size)
        return _view(matrix, 0, shape, (self.pitch[0] * self.pitch[1], matrix.shape[1], self.pitch[1], 1))

    def factors(self, matrix: Array, groups: int) -> Array:
        """A matrix (groups * C, positions) as one for each product and group, (products, groups, C, length)."""
        return matrix.reshape(groups, len(matrix) // groups, self.products, self.length).transpose(2, 0, 1, 3)


class Sliding(NamedTuple):
    """A window that slides over images, from `before` rows and columns in front of them on, to positions of `size`."""

    taps: Taps
    before: Pair
    size: Pair

    def pieces(
        self, image_shape: Shape, values_per_position: int, dtype: np.dtype, work: int, byte_cap: int
    ) -> Iterator[Piece]:
        """Cut the positions of images of `image_shape` (N, C, H, W) so that a piece's values take `byte_cap` bytes.

        `work`: multiply-adds a position in a product.
        """
        image_size = (image_shape[2], image_shape[3])
        whole = self._pitch(image_size, (0, 0), self.size)
        value = values_per_position * dtype.itemsize
        bytes_per_image = value * whole[0] * whole[1]
        bytes_per_position = -(-value * whole[1] // max(1, self.size[1]))
        for tile in tiles(image_shape[0], self.size, bytes_per_position, byte_cap, bytes_per_image):
            count, *size = tile.shape
            first, size = (tile.rows.start, tile.columns.start), (size[0], size[1])
            pitch = whole if size == self.size else self._pitch(image_size, first, size)
            positions = ((count - 1) * pitch[0] + size[0] - 1) * pitch[1] + size[1]
            products = -(-positions // _length(work))
            yield Piece(tile.images, size, first, pitch, products, -(-positions // products))

    def fill(self, piece: Piece, images: Array, matrix: Array) -> None:
        """Put what a piece sees of images (N, C, H, W) into a matrix (C * phases, W), contiguous, and zeros elsewhere."""
        matrix[...] = 0
        for seen, place in self._phases(piece, images, matrix):
            place[...] = seen

    def take(self, piece: Piece, matrix: Array, images: Array) -> None:
        """The way back from `fill`."""
        for seen, place in self._phases(piece, images, matrix):
            seen[...] = place

    def width(self, piece: Piece) -> int:
        """How many values of a channel the columns of a piece are made of."""
        return piece.positions + self.taps.reach[0] * piece.pitch[1] + self.taps.reach[1]

    def fill_columns(self, piece: Piece, matrix: Array, columns: Array) -> None:
        """Columns (products, C, *taps, length) of a matrix (C, width), contiguous."""
        step = self.taps.step
        strides = (piece.length, matrix.shape[1], step[0] * piece.pitch[1], step[1], 1)
        columns[...] = _view(matrix, 0, columns.shape, strides)

    def _phases(self, piece: Piece, images: Array, matrix: Array) -> Iterator[tuple[Array, Array]]:
        """Views of what each phase sees of images (N, C, H, W), and of where it stands in a matrix (C * phases, W)."""
        width, (height, pitch), phases = matrix.shape[1], piece.pitch, self.taps.phases
        strides = (height * pitch, phases * width, pitch, 1)
        rows, columns = (self._seen(axis, images.shape[2 + axis], piece.first, piece.size) for axis in (0, 1))
        for number, ((rows_seen, row), (columns_seen, column)) in enumerate(itertools.product(rows, columns)):
            seen = images[:, :, rows_seen, columns_seen]
            if seen.size:
                yield seen, _view(matrix, number * width + row * pitch + column, seen.shape, strides)

    def _seen(self, axis: int, size: int, first: Pair, positions: Pair) -> list[tuple[slice, int]]:
        """For each phase along an axis the slice of an image of `size` that is seen, and where its first element stands."""
        stride, before = self.taps.stride[axis], self.before[axis] - first[axis] * self.taps.stride[axis]
        end, seen = positions[axis] + self.taps.reach[axis], []
        for phase in range(stride):
            # Element y stands at (y + before) / stride, where phase is the remainder.
            start = max(0, -((phase - before) // stride))
            stop = max(start, min(end, (size - 1 + before - phase) // stride + 1))
            offset = phase - before
            seen.append((slice(start * stride + offset, stop * stride + offset, stride), start))
        return seen

    def _pitch(self, image_size: Pair, first: Pair, positions: Pair) -> Pair:
        """The least rows an image and positions a row with which a window only ever sees zeros of the next ones."""
        pitch = []
        for axis, size in enumerate(image_size):
            seen = self._seen(axis, size, first, positions)
            zeros_before = min(start for _, start in seen)
            stop = max(start + len(range(*part.indices(size))) for part, start in seen)
            pitch.append(max(positions[axis], positions[axis] + self.taps.reach[axis] - zeros_before, stop))
        return pitch[0], pitch[1]


def _view(matrix: Array, offset: int, shape: Shape, strides: Shape) -> Array:
    """A view of a contiguous array, `offset` and `strides` in elements. NumPy's as_strided takes several times as long."""
    size = matrix.itemsize
    return np.ndarray(shape, matrix.dtype, matrix, offset * size, tuple(stride * size for stride in strides))


def _length(work: int) -> int:
    """How many positions a product of so much work a position should have."""
    small = SMALL_PRODUCT // work
    return min(small, MOST_LENGTH) if small >= LEAST_LENGTH else LENGTH
