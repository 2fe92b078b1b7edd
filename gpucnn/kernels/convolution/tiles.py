"""Pieces of a convolution's output whose columns fit under a byte cap.

im2col multiplies an image by the size of the kernel. Made for a whole batch at once the columns would not fit the
cache, and for large images not the memory; made tile by tile they never take more than the cap.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.threads import MOST_PARTS, cut
from gpucnn.checks import Pair
from gpucnn.kernels.launch import accepts
from gpucnn.kernels.tiling import pieces

HOST_COLUMN_BYTES = 3 << 20
"""On a CPU columns should stay in its cache. Measured on a 2-core AMD EPYC: 2 to 4 MiB is best; with less, threads spend
their time on waiting for Python's lock, with more, on waiting for memory."""

DEVICE_COLUMN_BYTES = 256 << 20
"""On a GPU few large products win; the cap is there for its memory."""

COLUMN_SHARE = 8
"""NumPy's convolutions are cut into parts of so many times the work of compiled ones: Python takes its time for each."""


class Tile(NamedTuple):
    """A box of output positions."""

    images: slice
    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many (images, rows, columns) it holds."""
        images, rows, columns = (part.stop - part.start for part in self)
        return images, rows, columns


def column_byte_cap(array: Array) -> int:
    """How many bytes of columns to make at once on the device of `array`."""
    return HOST_COLUMN_BYTES if xp_of(array) is np else DEVICE_COLUMN_BYTES


def batch_parts(batch: int, work: int, most: int = MOST_PARTS) -> tuple[slice, ...]:
    """A batch in parts for the threads that convolve it with NumPy, where an image takes so many multiply-adds.

    Their number is a power of 2, so that two or four threads have equally many.
    """
    number = len(cut(batch, work // COLUMN_SHARE, most))
    return cut(batch, work // COLUMN_SHARE, 1 << (number.bit_length() - 1))


def stack_shape(like: Array, batch: int, height: int, positions: int) -> tuple[int, int, int]:
    """The shape of a stack of matrices (S, height, width) for `batch` images of so many positions.

    A GPU wants few large products: there all images are side by side in one matrix. A CPU wants small ones, which stay
    in its cache and do not wake BLAS's threads: there each image has its own.
    """
    return (1, height, batch * positions) if accepts(like) else (batch, height, positions)


def tiles(
    batch: int, output_size: Pair, bytes_per_position: int, byte_cap: int, bytes_per_image: int = 1
) -> Iterator[Tile]:
    """Cut `batch` outputs of `output_size` into tiles of at most `byte_cap` bytes each.

    Whole images where they fit, else whole rows of one image, else pieces of one row; at the least one position. What
    a tile costs for each image, whatever its positions, is `bytes_per_image`, and bounded alike.
    """
    rows, columns = output_size
    positions = max(1, byte_cap // bytes_per_position)
    images_per_tile = max(1, min(positions // max(1, rows * columns), byte_cap // bytes_per_image))
    rows_per_tile = min(rows, max(1, positions // max(1, columns)))
    columns_per_tile = min(columns, positions)
    for images in pieces(batch, images_per_tile):
        for row_piece in pieces(rows, rows_per_tile):
            for column_piece in pieces(columns, columns_per_tile):
                yield Tile(images, row_piece, column_piece)
