"""How planes are cut into tiles, each of which a block of a GPU brings into shared memory with all that its windows reach."""

from collections.abc import Iterator
from typing import NamedTuple

from gpucnn.checks import Pair

MOST_STAGED = 4096
"""Elements of shared memory that a block takes: 16 kB of float32, so that multiprocessors have their fill of blocks."""

BLOCK = 256
"""Threads, as in the `.cu` files."""

FEWEST_TILES = 256
"""Fewer leave multiprocessors of a large GPU without work; then a tile has fewer planes, if it can."""

SECTOR = 8
"""Elements that the memory hands out at a time: of each row that is read, so many more come in part."""

MOST_PARTS = 16
"""Into how many parts an axis is cut at the most, unless they are `SIDES`."""

SIDES = (8, 16, 32, 64, 128, 256, 512)
"""Of tiles in long axes."""


class Axis(NamedTuple):
    """An axis of what a tile makes: outputs, or pixels in the gradient of images."""

    size: int
    unit: int
    """Tiles have whole units."""
    numerator: int
    denominator: int
    """A tile of n reads (n - 1) * numerator / denominator + 1 elements, and beyond them `span`."""
    span: int

    def reads(self, count: int) -> int:
        """How many elements a tile of `count` reads along this axis; `count` is a whole number of units."""
        return (count - 1) * self.numerator // self.denominator + 1 + self.span

    def sides(self) -> Iterator[int]:
        """The sides to try, all of them whole units."""
        for part in range(1, MOST_PARTS + 1):
            yield parts(parts(self.size, part), self.unit) * self.unit
        for side in SIDES:
            if side < self.size:
                yield parts(side, self.unit) * self.unit


class Tile(NamedTuple):
    """What a block makes at a time."""

    planes: int
    rows: int
    columns: int


def choose_tile(
    planes: int, rows: Axis, columns: Axis, threads: Pair, staged: int, beside: int, times: int = 1
) -> tuple[Tile, int] | None:
    """The tile that reads the least of those that give enough blocks work, and how many of them cover `planes`; None if none fits.

    A thread makes `threads` rows and columns. Of each plane `staged` are read in its place, and `beside` more elements. All is
    done so many `times`, by blocks of their own.
    """
    best, least = None, (False, 0)
    for height in sorted(set(rows.sides())):
        for width in sorted(set(columns.sides())):
            tiles = parts(rows.size, height) * parts(columns.size, width)
            of_memory = rows.reads(height) * (columns.reads(width) + SECTOR)
            cost = planes * tiles * times < FEWEST_TILES, tiles * of_memory
            fits = rows.reads(height) * columns.reads(width) * staged + beside <= MOST_STAGED
            if fits and (best is None or cost <= least):
                best, least = (height, width), cost
    if best is None:
        return None
    height, width = best
    of_plane = parts(rows.size, height) * parts(columns.size, width)
    room = MOST_STAGED // (rows.reads(height) * columns.reads(width) * staged + beside)
    idle = BLOCK // (parts(height, threads[0]) * parts(width, threads[1]))
    together = max(1, min(planes, room, idle, planes * of_plane * times // FEWEST_TILES))
    return Tile(together, height, width), parts(planes, together) * of_plane


def parts(whole: int, size: int) -> int:
    """How many parts of `size` cover a whole."""
    return -(-whole // size)
