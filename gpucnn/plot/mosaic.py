"""Tiles laid beside and below one another in one array, which is drawn at once: many small axes take seconds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpucnn.plot.figure import PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def mosaic(tiles: Sequence[Sequence[np.ndarray | None]], gap: int = 1) -> np.ndarray:
    """Rows of tiles, each (H, W) or (H, W, 3), with `gap` pixels between them, NaN there and where a tile is None."""
    first = next(tile for row in tiles for tile in row if tile is not None)
    height, width, *colours = first.shape
    columns = max(map(len, tiles))
    found = np.full(
        (len(tiles) * (height + gap) - gap, columns * (width + gap) - gap, *colours), np.nan, dtype=np.float64
    )
    for place, row in enumerate(tiles):
        for number, tile in enumerate(row):
            if tile is not None:
                top, left = place * (height + gap), number * (width + gap)
                found[top : top + height, left : left + width] = tile
    return found


def in_rows(tiles: Sequence[Any], columns: int) -> list[list[Any]]:
    """Tiles in rows of `columns`, the last filled up with None."""
    filled = [*tiles, *[None] * (-len(tiles) % columns)]
    return [filled[start : start + columns] for start in range(0, len(filled), columns)]


def show_mosaic(axes: "Axes", found: np.ndarray, **look: Any) -> Any:
    """Draw a mosaic without ticks, the paper between its tiles; `look` is matplotlib's, e.g. cmap."""
    if found.ndim == 3:
        empty = np.isnan(found[..., :1])
        found = np.concatenate([np.where(empty, 1.0, found), ~empty], axis=2)  # see-through between the tiles
    axes.set_facecolor(PAPER)
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    return axes.imshow(found, interpolation="nearest", **look)


def name_tiles(axes: "Axes", tile: tuple[int, int], gap: int, rows: Sequence[str], columns: Sequence[str] = ()) -> None:
    """Write names at the rows and above the columns of a mosaic of tiles (height, width)."""
    height, width = tile
    axes.set_yticks([place * (height + gap) + (height - 1) / 2 for place in range(len(rows))], rows)
    axes.set_xticks([place * (width + gap) + (width - 1) / 2 for place in range(len(columns))], columns)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
