"""Tiles laid beside and below one another in one array, which is drawn at once: many small axes take seconds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gpucnn.plot.figure import FAINT, NOTHING, PAPER, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Tile = TypeVar("Tile")

GAPS_A_TILE = 12
"""So many gaps are as wide as a tile, unless they would be narrower than a pixel."""
CORNER = 5.5
"""Points of a number in a tile's corner."""


def mosaic(tiles: Sequence[Sequence[np.ndarray | None]]) -> np.ndarray:
    """Rows of tiles, each (H, W) or (H, W, 3), with NaN between them, and where a tile is None."""
    first = next(tile for row in tiles for tile in row if tile is not None)
    height, width, *colours = first.shape
    gap = _gap(first.shape)
    rows, columns = len(tiles) * (height + gap) - gap, len(tiles[0]) * (width + gap) - gap
    found = np.full((rows, columns, *colours), np.nan)
    for place, row in enumerate(tiles):
        for number, tile in enumerate(row):
            if tile is not None:
                top, left = place * (height + gap), number * (width + gap)
                found[top : top + height, left : left + width] = tile
    return found


def in_rows(tiles: Sequence[Tile], columns: int) -> list[list[Tile | None]]:
    """Tiles in rows of `columns`, or as many as there are; the last row is filled up with None."""
    columns = min(columns, len(tiles))
    filled = [*tiles, *[None] * (-len(tiles) % columns)]
    return [filled[start : start + columns] for start in range(0, len(filled), columns)]


def show_tiles(axes: "Axes", tiles: Sequence[Sequence[np.ndarray | None]], nothing: str = NOTHING, **look: Any) -> Any:
    """Draw the `mosaic` of tiles, without ticks, a thin line around each.

    `nothing` is the colour where a tile has NaN; `look` is matplotlib's, e.g. cmap.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    found = mosaic(tiles)
    if found.ndim == 3:
        there = ~np.isnan(found[..., :1])
        found = np.concatenate([np.where(there, found, 1.0), there], axis=2)  # see-through between the tiles
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    height, width = next(tile for row in tiles for tile in row if tile is not None).shape[:2]
    gap = _gap((height, width))
    frames = [
        Rectangle((number * (width + gap) - 0.5, place * (height + gap) - 0.5), width, height)
        for place, row in enumerate(tiles)
        for number, tile in enumerate(row)
        if tile is not None
    ]
    axes.add_collection(
        PatchCollection(frames, facecolor=nothing, edgecolor=FAINT, linewidth=0.4, clip_on=False, zorder=-1),
        autolim=False,
    )
    return axes.imshow(found, interpolation="nearest", **look)


def name_tiles(axes: "Axes", tile: Sequence[int], rows: Sequence[str] = (), columns: Sequence[str] = ()) -> None:
    """Write names at the rows and above the columns of a mosaic of tiles (height, width)."""
    (height, width), gap = tile, _gap(tile)
    axes.set_yticks([place * (height + gap) + (height - 1) / 2 for place in range(len(rows))], rows)
    axes.set_xticks([place * (width + gap) + (width - 1) / 2 for place in range(len(columns))], columns)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)


def number_tiles(axes: "Axes", tile: Sequence[int], rows: Sequence[Sequence[int | None]]) -> None:
    """Write its number at each tile (height, width) of a mosaic: above those of a single row, else into their upper left corners."""
    if len(rows) == 1:
        name_tiles(axes, tile, columns=[str(number) for number in rows[0] if number is not None])
        return
    (height, width), gap = tile, _gap(tile)
    paper = {"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 0.6}
    for place, row in enumerate(rows):
        for column, number in enumerate(row):
            if number is not None:
                left, top = column * (width + gap) - 0.5, place * (height + gap) - 0.5
                text = axes.text(left, top, str(number), va="top", fontsize=CORNER, color=TEXT, bbox=paper)
                text.set_in_layout(False)


def _gap(tile: Sequence[int]) -> int:
    return max(1, round(max(tile[:2]) / GAPS_A_TILE))
