"""Tiles laid beside and below one another in one array, which is drawn at once: many small axes take seconds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpucnn.plot.figure import PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes


GAP = 1
"""Pixels between tiles."""


def mosaic(tiles: Sequence[Sequence[np.ndarray | None]]) -> np.ndarray:
    """Rows of tiles, each (H, W) or (H, W, 3), with NaN between them, and where a tile is None."""
    first = next(tile for row in tiles for tile in row if tile is not None)
    height, width, *colours = first.shape
    rows, columns = len(tiles) * (height + GAP) - GAP, len(tiles[0]) * (width + GAP) - GAP
    found = np.full((rows, columns, *colours), np.nan)
    for place, row in enumerate(tiles):
        for number, tile in enumerate(row):
            if tile is not None:
                top, left = place * (height + GAP), number * (width + GAP)
                found[top : top + height, left : left + width] = tile
    return found


def in_rows(tiles: Sequence[np.ndarray], columns: int) -> list[list[np.ndarray | None]]:
    """Tiles in rows of `columns`, or as many as there are; the last row is filled up with None."""
    columns = min(columns, len(tiles))
    filled = [*tiles, *[None] * (-len(tiles) % columns)]
    return [filled[start : start + columns] for start in range(0, len(filled), columns)]


def show_mosaic(axes: "Axes", found: np.ndarray, **look: Any) -> Any:
    """Draw a mosaic without ticks, the paper between its tiles; `look` is matplotlib's, e.g. cmap."""
    if found.ndim == 3:
        there = ~np.isnan(found[..., :1])
        found = np.concatenate([np.where(there, found, 1.0), there], axis=2)  # see-through between the tiles
    axes.set_facecolor(PAPER)
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    return axes.imshow(found, interpolation="nearest", **look)


def name_tiles(axes: "Axes", tile: tuple[int, int], rows: Sequence[str], columns: Sequence[str] = ()) -> None:
    """Write names at the rows and above the columns of a mosaic of tiles (height, width)."""
    height, width = tile
    axes.set_yticks([place * (height + GAP) + (height - 1) / 2 for place in range(len(rows))], rows)
    axes.set_xticks([place * (width + GAP) + (width - 1) / 2 for place in range(len(columns))], columns)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
