"""Images on one long axis, where a tap of a window is a fixed offset.

Channel by channel the first rows of a tile's images stand one after the other, then the second rows, and so on. Zeros
stand above and below, and after each row, where the next one shares them. Two images of 2x3, padding 1:

    a channel    0 0 0 0 0 0 0 0 0 a b c 0 g h i 0 d e f 0 j k l 0 0 0 0 0 0 0 0 0

From a position to the one below are eight steps, wherever it lies, so a row of the matrix of columns (`im2col`) is one long
copy. Between rows are positions whose columns mean nothing: products with them are dropped, and where a sum runs over
positions, the other factor is 0 there.

With a stride, every `stride`-th row and column, from each *phase* on, has a long axis of its own. With a large stride only
those have one that a tap reads: the others could take more memory than the image.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Window
from gpucnn.kernels.tiling import tiles

SMALL_PRODUCT = 1_000_000
"""Multiply-adds up to which OpenBLAS takes matrices as they lie; larger ones it rearranges first, in up to twice the time."""

LEAST_LENGTH = 96
"""Products of fewer positions leave vectors and registers empty, small or not."""

LENGTH = 448
"""Positions of a product that cannot be small. At a power of 2 the rows would evict each other from the cache."""

SMALL_STRIDE = 16
"""Up to here all phases have a long axis: which ones do decides how positions are cut into products, and with it the bits."""

MOST_LENGTH = 1500
"""Longer ones are no faster."""


class AxisTile(NamedTuple):
    """Some of the positions of a window, on one long axis, as `products` products of `length` positions each."""

    images: slice
    first: Pair
    """Row and column of the first position."""
    size: Pair
    """Rows and columns of positions, of each image."""
    pitch: int
    """Positions from one image's row to the next image's."""
    products: int
    length: int
    """Positions a product."""

    @property
    def positions(self) -> int:
        """Those of all products."""
        return self.products * self.length

    @property
    def row_step(self) -> int:
        """Positions from a row to the one below."""
        images: int = self.images.stop - self.images.start
        return images * self.pitch

    @property
    def place(self) -> tuple[slice, ...]:
        """Where the positions are among those of all images (N, C, H, W)."""
        rows, columns = (slice(first, first + size) for first, size in zip(self.first, self.size, strict=True))
        return self.images, slice(None), rows, columns

    def as_images(self, matrix: Array) -> Array:
        """A matrix (C, positions), contiguous, as images (N, C, *size), in the same memory."""
        shape = (self.images.stop - self.images.start, len(matrix), *self.size)
        return _view(matrix, 0, shape, (self.pitch, matrix.shape[1], self.row_step, 1))

    def fill(self, matrix: Array, images: Array) -> None:
        """Put images (N, C, *size) into a matrix (C, positions), contiguous, zeros at the positions in between."""
        matrix[...] = 0
        copy_rows(images, self.as_images(matrix))

    def has_meaning(self) -> Array:
        """Whether a position is an image's, or in between: bool (products, 1, 1, length)."""
        matrix = np.zeros((1, self.positions), bool)
        self.as_images(matrix)[...] = True
        return self.factors(matrix, 1)

    def factors(self, matrix: Array, groups: int) -> Array:
        """A matrix (groups * C, positions) as (products, groups, C, length), in the same memory."""
        return matrix.reshape(groups, len(matrix) // groups, self.products, self.length).transpose(2, 0, 1, 3)


class LongAxis(NamedTuple):
    """How images lie on long axes for a window that starts `before` rows and columns in front of them, at positions of `size`."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    size: Pair
    reach: Pair
    """Rows and columns from the first to the last tap, within their phases."""
    phases: int
    """How many long axes a channel has."""

    @classmethod
    def of(cls, window: Window, size: Shape) -> "LongAxis":
        """That of a window and its output size."""
        rows, columns = ((window.kernel[axis] - 1) * window.dilation[axis] // window.stride[axis] for axis in (0, 1))
        (top, _), (left, _) = window.padding
        phases = (_phases_read(window.kernel[axis], window.stride[axis], window.dilation[axis]) for axis in (0, 1))
        count = math.prod(map(len, phases))
        return cls(
            window.kernel, window.stride, window.dilation, (top, left), (size[0], size[1]), (rows, columns), count
        )

    def tiles(self, image_shape: Shape, bytes_per_position: int, work: int, byte_cap: int) -> Iterator[AxisTile]:
        """The positions over images of `image_shape` (N, C, H, W), in tiles under `byte_cap`, or of a single position.

        `work`: multiply-adds a position in a product.
        """
        whole = self._pitch(image_shape[3], 0, self.size[1])
        a_position = -(-bytes_per_position * whole // max(1, self.size[1]))
        for tile in tiles(image_shape[0], self.size, a_position, byte_cap):
            count, rows, columns = tile.shape
            first = (tile.rows.start, tile.columns.start)
            pitch = whole if columns == self.size[1] else self._pitch(image_shape[3], first[1], columns)
            positions = (rows * count - 1) * pitch + columns
            products = -(-positions // _length(work))
            yield AxisTile(tile.images, first, (rows, columns), pitch, products, -(-positions // products))

    def width(self, tile: AxisTile) -> int:
        """How long the axes are that the columns of a tile are made from."""
        return tile.positions + self.reach[0] * tile.row_step + self.reach[1]

    def fill(self, axes: Array, tile: AxisTile, images: Array) -> None:
        """Put what is seen of a tile's images (N, C, H, W) into its long axes (C * phases, width), zeros elsewhere."""
        axes[...] = 0
        for seen, place in self._seen(axes, tile, images):
            copy_rows(seen, place)

    def add(self, axes: Array, tile: AxisTile, images: Array) -> None:
        """The transpose of `fill`: add long axes to a tile's images."""
        for seen, place in self._seen(axes, tile, images):
            seen += place

    def fill_columns(self, columns: Array, tile: AxisTile, axes: Array) -> None:
        """Columns (products, C, KH, KW, length) from long axes."""
        width, row_step = axes.shape[1], tile.row_step
        if self.stride == (1, 1):
            steps = (self.dilation[0] * row_step, self.dilation[1])
            columns[...] = _view(axes, 0, columns.shape, (tile.length, width, *steps, 1))
            return
        shape, strides = (tile.products, columns.shape[1], tile.length), (tile.length, self.phases * width, 1)
        for row, column, offset in self._offsets(width, row_step):
            columns[:, :, row, column] = _view(axes, offset, shape, strides)

    def add_columns(self, columns: Array, tile: AxisTile, axes: Array) -> None:
        """Add columns (C, KH, KW, products, length) to long axes: the transpose of `fill_columns`, but for the order."""
        width = axes.shape[1]
        shape, strides = (len(columns), tile.products, tile.length), (self.phases * width, tile.length, 1)
        for row, column, offset in self._offsets(width, tile.row_step):
            target = _view(axes, offset, shape, strides)
            target += columns[:, row, column]

    def _offsets(self, width: int, row_step: int) -> Iterator[tuple[int, int, int]]:
        """Each tap, and where it finds what it reads for the first position."""
        rows, columns = self._phases_along(0), self._phases_along(1)
        for row, column in itertools.product(*map(range, self.kernel)):
            down, row_phase = divmod(row * self.dilation[0], self.stride[0])
            right, column_phase = divmod(column * self.dilation[1], self.stride[1])
            phase = rows.index(row_phase) * len(columns) + columns.index(column_phase)
            yield row, column, phase * width + down * row_step + right

    def _seen(self, axes: Array, tile: AxisTile, images: Array) -> Iterator[tuple[Array, Array]]:
        """Phase by phase what is seen of images (N, C, H, W), and where it stands on the long axes: two views."""
        width, row_step = axes.shape[1], tile.row_step
        strides = (tile.pitch, self.phases * width, row_step, 1)
        for phase, rows, columns, row, column in _seen_by_phase(self, tile.first, tile.size, images.shape[2:]):
            seen = images[:, :, rows, columns]
            yield seen, _view(axes, phase * width + row * row_step + column, seen.shape, strides)

    def _seen_along(self, axis: int, size: int, first: int, positions: int) -> "list[tuple[slice, int]]":
        """For each phase along an axis what is seen of an image's `size`, and where the first of it stands."""
        stride, before = self.stride[axis], self.before[axis] - first * self.stride[axis]
        seen, end = [], positions + self.reach[axis]
        for phase in self._phases_along(axis):
            # Element y stands at (y + before) / stride, with the phase for a remainder.
            start = max(0, -((phase - before) // stride))
            stop = max(start, min(end, (size - 1 + before - phase) // stride + 1))
            offset = phase - before
            seen.append((slice(start * stride + offset, stop * stride + offset, stride), start))
        return seen

    def _phases_along(self, axis: int) -> tuple[int, ...]:
        return _phases_read(self.kernel[axis], self.stride[axis], self.dilation[axis])

    def _pitch(self, image_width: int, first: int, positions: int) -> int:
        """The smallest with which every position sees but zeros of the rows that follow its own."""
        seen = self._seen_along(1, image_width, first, positions)
        zeros = min(start for _, start in seen)
        stop = max(start + len(range(image_width)[part]) for part, start in seen)
        return max(positions, positions + self.reach[1] - zeros, stop)


def copy_rows(source: Array, target: Array) -> None:
    """Copy images (N, C, H, W) to others, which share no memory with them.

    A row is copied as one item where it can be: NumPy's loops over rows take twice the time.
    """
    if source.strides[3] == target.strides[3] == source.itemsize:
        row = np.dtype((np.void, source.shape[3] * source.itemsize))
        source, target = source.view(row), target.view(row)
    target[...] = source


@functools.lru_cache(1024)
def _phases_read(kernel: int, stride: int, dilation: int) -> tuple[int, ...]:
    """The phases of an axis that taps read, and of a small stride the others, too."""
    if stride <= SMALL_STRIDE:
        return tuple(range(stride))
    return tuple(sorted({tap * dilation % stride for tap in range(kernel)}))


@functools.lru_cache(1024)
def _seen_by_phase(
    axis: LongAxis, first: Pair, positions: Pair, size: Shape
) -> list[tuple[int, slice, slice, int, int]]:
    """Each phase of which an image of `size` has anything: its rows and columns, and where the first of both stands."""
    along = (axis._seen_along(side, size[side], first[side], positions[side]) for side in (0, 1))
    return [
        (phase, rows, columns, row, column)
        for phase, ((rows, row), (columns, column)) in enumerate(itertools.product(*along))
        if rows.start < rows.stop and columns.start < columns.stop
    ]


def _view(matrix: Array, offset: int, shape: Shape, strides: Shape) -> Array:
    """A view of a contiguous array, `offset` and `strides` in elements. NumPy's as_strided takes several times as long."""
    size = matrix.itemsize
    return np.ndarray(shape, matrix.dtype, matrix, offset * size, tuple(stride * size for stride in strides))


def _length(work: int) -> int:
    """How many positions a product should have, of `work` multiply-adds each."""
    small = SMALL_PRODUCT // work
    return min(small, MOST_LENGTH) if small >= LEAST_LENGTH else LENGTH
