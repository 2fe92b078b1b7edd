"""Pieces of a convolution's output whose columns fit under a byte cap.

im2col multiplies an image by the size of the kernel. Made for a whole batch at once the columns would not fit the
cache, and for large images not the memory; made tile by tile they never take more than the cap.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Pair

HOST_COLUMN_BYTES = 2 << 20
"""On a CPU columns should stay in its cache. Measured on a 2-core AMD EPYC: 1 to 4 MiB is best, more is slower."""

DEVICE_COLUMN_BYTES = 256 << 20
"""On a GPU few large products win; the cap is there for its memory."""


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


def tiles(batch: int, output_size: Pair, bytes_per_position: int, byte_cap: int) -> Iterator[Tile]:
    """Cut `batch` outputs of `output_size` into tiles of at most `byte_cap` bytes each.

    Whole images where they fit, else whole rows of one image, else pieces of one row; at the least one position.
    """
    rows, columns = output_size
    positions = max(1, byte_cap // bytes_per_position)
    images_per_tile = max(1, positions // max(1, rows * columns))
    rows_per_tile = min(rows, max(1, positions // max(1, columns)))
    columns_per_tile = min(columns, positions)
    for images in _pieces(batch, images_per_tile):
        for row_piece in _pieces(rows, rows_per_tile):
            for column_piece in _pieces(columns, columns_per_tile):
                yield Tile(images, row_piece, column_piece)


def _pieces(length: int, piece: int) -> Iterator[slice]:
    for start in range(0, length, piece):
        yield slice(start, min(start + piece, length))
