"""A batch, or the output of a convolution, in tiles: what is made of one fits a cache, or a memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gpucnn.backend.threads import parallel
from gpucnn.checks import Shape

TILE_BYTES = 2 << 20
"""Of an array that NumPy goes over in several calls, at a time: less stays in the cache, but makes calls so short that threads
wait for Python's lock most of the time. Measured by `gpucnn bench --operations`."""

TILED_PARTS = 4
"""Parts of a batch that is gone over tile by tile, at most, for the same reason."""


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

    @property
    def place(self) -> tuple[slice, ...]:
        """Where it is among all outputs (N, C, H, W)."""
        return self.images, slice(None), self.rows, self.columns


def tiles(batch: int, output_size: Shape, bytes_per_position: int, byte_cap: int) -> Iterator[Tile]:
    """Cut `batch` outputs of `output_size` into tiles of at most `byte_cap` bytes each.

    Whole images where they fit, else whole rows of one image, else some positions of one row; at least one position.
    """
    rows, columns = output_size
    positions = max(1, byte_cap // bytes_per_position)
    rows_per_tile = min(rows, max(1, positions // max(1, columns)))
    for images in slices(batch, max(1, positions // max(1, rows * columns))):
        for some_rows in slices(rows, rows_per_tile):
            for some_columns in slices(columns, min(columns, positions)):
                yield Tile(images, some_rows, some_columns)


def slices(length: int, size: int) -> Iterator[slice]:
    """Cut `length` into slices of `size` each, of which the last may be shorter."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def for_tiles(parts: Sequence[slice], bytes_per_item: int, task: Callable[[slice], object]) -> None:
    """`task` for every tile of the parts of a batch, on all threads."""

    def work(number: int) -> None:
        for tile in tiles_of(parts[number], bytes_per_item):
            task(tile)

    parallel(work, len(parts))


def tiles_of(part: slice, bytes_per_item: int) -> Iterator[slice]:
    """Cut a part of a batch into tiles of at most `TILE_BYTES`, or of one item."""
    for some in slices(part.stop - part.start, max(1, TILE_BYTES // max(1, bytes_per_item))):
        yield slice(part.start + some.start, part.start + some.stop)
