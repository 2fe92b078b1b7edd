"""Images on one long axis, where a tap of a window is a fixed offset.

Channel by channel the images of a piece stand one after the other, row after row, with zeros around each that neighbours
share. Two images of 2x3, padding 1:

    a channel    0 0 0 0 0 a b c 0 d e f 0 0 0 0 0 g h i 0 j k l 0 0 0 0 0

From a position to the one below are four steps, wherever it lies, so a row of the matrix of columns (`im2col`) is one long
copy. Between rows and images are positions whose columns mean nothing: products with them are dropped, and where a sum runs
over positions, the other factor is 0 there.

With a stride, every `stride`-th row and column, from each *phase* on, has a long axis of its own.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Window
from gpucnn.kernels.tiling import tiles

SMALL_PRODUCT = 1_000_000
"""Up to so many multiply-adds OpenBLAS takes matrices as they lie; larger ones it rearranges first, in up to twice the time."""

LEAST_LENGTH = 96
"""Products of fewer positions leave vectors and registers empty, small or not."""

LENGTH = 448
"""Positions of a product that cannot be small. At a power of 2 the rows would evict each other from the cache."""

MOST_LENGTH = 1500
"""Longer ones are no faster."""


class Piece(NamedTuple):
    """Some of the positions of a sliding window, on one long axis, cut into parts of one product each.

    Images that are large enough have one product each, without the positions from the last row to the next image.
    """

    images: slice
    first: Pair
    """Row and column of the first position."""
    size: Pair
    """Rows and columns of positions, of each image."""
    pitch: Pair
    """Rows from one image to the next, positions from one row to the next."""
    products: int
    length: int
    """Positions a product."""
    step: int
    """From the first position of a product to that of the next."""

    @property
    def positions(self) -> int:
        """Those of all products."""
        return self.products * self.length

    @property
    def image_step(self) -> int:
        """From one image to the next in a matrix of positions."""
        return self.length if self.step > self.length else self.pitch[0] * self.pitch[1]

    @property
    def place(self) -> tuple[slice, ...]:
        """Where the positions are among those of all images (N, C, H, W)."""
        rows, columns = (slice(first, first + size) for first, size in zip(self.first, self.size, strict=True))
        return self.images, slice(None), rows, columns

    def as_images(self, matrix: Array) -> Array:
        """A matrix (C, positions), contiguous, as images (N, C, *size), in the same memory."""
        shape = (self.images.stop - self.images.start, len(matrix), *self.size)
        return _view(matrix, 0, shape, (self.image_step, matrix.shape[1], self.pitch[1], 1))

    def fill(self, matrix: Array, images: Array) -> None:
        """Put images (N, C, *size) into a matrix (C, positions), contiguous, zeros at the positions in between."""
        matrix[...] = 0
        self.as_images(matrix)[...] = images

    def has_meaning(self) -> Array:
        """Whether a position is an image's, or in between: bool (products, 1, 1, length)."""
        matrix = np.zeros((1, self.positions), bool)
        self.as_images(matrix)[...] = True
        return self.factors(matrix, 1)

    def factors(self, matrix: Array, groups: int) -> Array:
        """A matrix (groups * C, positions) as (products, groups, C, length), in the same memory."""
        return matrix.reshape(groups, len(matrix) // groups, self.products, self.length).transpose(2, 0, 1, 3)


class Sliding(NamedTuple):
    """A window on its way from `before` rows and columns in front of an image on, over positions of `size`."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    size: Pair
    reach: Pair
    """Rows and columns from the first to the last tap, within their phases."""

    @classmethod
    def of(cls, window: Window, size: Pair) -> "Sliding":
        """That of a window and its output size."""
        rows, columns = ((window.kernel[axis] - 1) * window.dilation[axis] // window.stride[axis] for axis in (0, 1))
        (top, _), (left, _) = window.padding
        return cls(window.kernel, window.stride, window.dilation, (top, left), size, (rows, columns))

    @property
    def phases(self) -> int:
        """How many long axes a channel has."""
        return self.stride[0] * self.stride[1]

    def pieces(self, image_shape: Shape, values: int, itemsize: int, work: int, byte_cap: int) -> Iterator[Piece]:
        """The positions over images of `image_shape` (N, C, H, W), in pieces.

        `values`, of `itemsize` bytes, is what there is in memory for a position; together they stay under `byte_cap`, but
        for a single position. `work`: multiply-adds a position in a product.
        """
        image_size, value = (image_shape[2], image_shape[3]), values * itemsize
        whole = self._pitch(image_size, (0, 0), self.size)
        a_position = -(-value * whole[1] // max(1, self.size[1]))
        for tile in tiles(image_shape[0], self.size, a_position, byte_cap, value * whole[0] * whole[1]):
            count, rows, columns = tile.shape
            first = (tile.rows.start, tile.columns.start)
            pitch = whole if (rows, columns) == self.size else self._pitch(image_size, first, (rows, columns))
            of_image, most = (rows - 1) * pitch[1] + columns, _length(work)
            if LEAST_LENGTH <= of_image <= most:
                products, length, step = count, of_image, pitch[0] * pitch[1]
            else:
                positions = (count - 1) * pitch[0] * pitch[1] + of_image
                products = -(-positions // most)
                length = step = -(-positions // products)
            yield Piece(tile.images, first, (rows, columns), pitch, products, length, step)

    def width(self, piece: Piece) -> int:
        """How long the axes are that the columns of a piece are made from."""
        last = (piece.products - 1) * piece.step + piece.length
        return last + self.reach[0] * piece.pitch[1] + self.reach[1]

    def fill(self, axes: Array, piece: Piece, images: Array) -> None:
        """Put what is seen of a piece's images (N, C, H, W) into its long axes (C * phases, width), zeros elsewhere."""
        axes[...] = 0
        for seen, place in self._seen(axes, piece, images):
            place[...] = seen

    def add(self, axes: Array, piece: Piece, images: Array) -> None:
        """The transpose of `fill`: add long axes to a piece's images."""
        for seen, place in self._seen(axes, piece, images):
            seen += place

    def fill_columns(self, columns: Array, piece: Piece, axes: Array) -> None:
        """Columns (products, C, KH, KW, length) from long axes."""
        width, pitch = axes.shape[1], piece.pitch[1]
        if self.phases == 1:
            steps = (self.dilation[0] * pitch, self.dilation[1])
            columns[...] = _view(axes, 0, columns.shape, (piece.step, width, *steps, 1))
            return
        shape, strides = (piece.products, columns.shape[1], piece.length), (piece.step, self.phases * width, 1)
        for row, column, offset in self._offsets(width, pitch):
            columns[:, :, row, column] = _view(axes, offset, shape, strides)

    def add_columns(self, columns: Array, piece: Piece, axes: Array) -> None:
        """Add columns (C, KH, KW, products, length) to long axes: the transpose of `fill_columns`, but for the order."""
        width = axes.shape[1]
        shape, strides = (len(columns), piece.products, piece.length), (self.phases * width, piece.step, 1)
        for row, column, offset in self._offsets(width, piece.pitch[1]):
            target = _view(axes, offset, shape, strides)
            target += columns[:, row, column]

    def _offsets(self, width: int, pitch: int) -> Iterator[tuple[int, int, int]]:
        """Each tap, and where it finds what it reads for the first position."""
        for row, column in itertools.product(*map(range, self.kernel)):
            down, row_phase = divmod(row * self.dilation[0], self.stride[0])
            right, column_phase = divmod(column * self.dilation[1], self.stride[1])
            yield row, column, (row_phase * self.stride[1] + column_phase) * width + down * pitch + right

    def _seen(self, axes: Array, piece: Piece, images: Array) -> Iterator[tuple[Array, Array]]:
        """Phase by phase what is seen of images (N, C, H, W), and where it stands on the long axes: two views."""
        width, (height, pitch) = axes.shape[1], piece.pitch
        strides = (height * pitch, self.phases * width, pitch, 1)
        rows, columns = (self._seen_along(axis, images.shape[2 + axis], piece.first, piece.size) for axis in (0, 1))
        for phase, ((rows_seen, row), (columns_seen, column)) in enumerate(itertools.product(rows, columns)):
            seen = images[:, :, rows_seen, columns_seen]
            if seen.size:
                yield seen, _view(axes, phase * width + row * pitch + column, seen.shape, strides)

    def _seen_along(self, axis: int, size: int, first: Pair, positions: Pair) -> "list[tuple[slice, int]]":
        stride = self.stride[axis]
        return _seen_along(stride, self.before[axis] - first[axis] * stride, positions[axis] + self.reach[axis], size)

    def _pitch(self, image_size: Pair, first: Pair, positions: Pair) -> Pair:
        """The smallest with which every position sees but zeros of the rows and images that follow its own."""
        pitch = []
        for axis, size in enumerate(image_size):
            seen = self._seen_along(axis, size, first, positions)
            zeros = min(start for _, start in seen)
            stop = max(start + len(range(size)[part]) for part, start in seen)
            pitch.append(max(positions[axis], positions[axis] + self.reach[axis] - zeros, stop))
        return pitch[0], pitch[1]


@functools.lru_cache(4096)
def _seen_along(stride: int, before: int, end: int, size: int) -> list[tuple[slice, int]]:
    """For each phase along an axis what is seen of an image's `size`, and where the first of it stands."""
    seen = []
    for phase in range(stride):
        # Element y stands at (y + before) / stride, with the phase for a remainder.
        start = max(0, -((phase - before) // stride))
        stop = max(start, min(end, (size - 1 + before - phase) // stride + 1))
        offset = phase - before
        seen.append((slice(start * stride + offset, stop * stride + offset, stride), start))
    return seen


def _view(matrix: Array, offset: int, shape: Shape, strides: Shape) -> Array:
    """A view of a contiguous array, `offset` and `strides` in elements. NumPy's as_strided takes several times as long."""
    size = matrix.itemsize
    return np.ndarray(shape, matrix.dtype, matrix, offset * size, tuple(stride * size for stride in strides))


def _length(work: int) -> int:
    """How many positions a product should have, of so much work each."""
    small = SMALL_PRODUCT // work
    return min(small, MOST_LENGTH) if small >= LEAST_LENGTH else LENGTH
