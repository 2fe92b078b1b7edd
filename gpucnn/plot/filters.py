"""The filters that a convolution has learned."""

from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import to_host
from gpucnn.errors import ArgumentError
from gpucnn.layers import Conv2d, Layer
from gpucnn.plot.figure import StrPath, check_path, finished, in_style, new_figure, signed_colours
from gpucnn.plot.inputs import Model, layer_of, subject_of
from gpucnn.plot.mosaic import in_rows, mosaic, name_tiles, show_mosaic
from gpucnn.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_FILTERS, MOST_CHANNELS = 64, 16
"""That are shown."""
COLUMNS = 16
"""Filters of one map, or of colours, in a row."""
TILE = 0.5
"""Inches of a filter."""


@in_style
def filters(model: Model, layer: str | Layer | None = None, path: StrPath | None = None) -> "Figure":
    """The filters of a convolution: of three channels, as on RGB images, in colour; others as one map a channel, a filter a row.

    - `model`: a model, or what `gpucnn.load` gives.
    - `layer`: the path of a convolution, or itself; by default the first.
    - `path`: a file to save it to, .png, .svg or .pdf.

    All have one scale, symmetric about 0: blue is below, orange above; in colour grey is 0. Up to 64 filters and 16 channels of
    them are shown. ArgumentError for a layer that is no convolution.
    """
    found, convolution = _convolution(subject_of("filters", model).model, layer)
    check_path(path)
    weights = to_host(convolution.weight.array).astype(np.float64)
    count, channels, height, width = weights.shape
    most = float(np.abs(weights).max()) or 1.0
    shown = weights[:MOST_FILTERS, :MOST_CHANNELS]
    by_channel = channels not in (1, 3)
    if channels == 3:
        tiles = in_rows([filter_colours(one, most) for one in shown], COLUMNS)
    elif channels == 1:
        tiles = in_rows(list(shown[:, 0]), COLUMNS)
    else:
        tiles = [list(one) for one in shown]
    columns = min(len(shown), COLUMNS) if not by_channel else len(tiles[0])
    tiles = [row[:columns] for row in tiles]
    ratio = height / width
    figure = new_figure(max(TILE * columns + 1.4, 4), TILE * ratio * len(tiles) + 1)
    axes = figure.subplots()
    drawn = show_mosaic(axes, mosaic(tiles), cmap=signed_colours(), vmin=-most, vmax=most)
    if by_channel:
        name_tiles(axes, (height, width), 1, [str(one) for one in range(len(shown))], [str(one) for one in range(columns)])
        axes.set(xlabel="input channel", ylabel="filter")
        axes.xaxis.set_label_position("top")
    else:
        name_tiles(axes, (height, width), 1, [f"{start}" for start in range(0, len(shown), COLUMNS)])
    if channels != 3:
        bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02)
        bar.outline.set_visible(False)
    size = f"{counted(count, 'filter')} of {channels}x{height}x{width}"
    left_out = "" if weights.shape == shown.shape else f", {len(shown)} and {shown.shape[1]} channels shown"
    axes.set_title(f"{found}: {size}{left_out}", pad=22 if by_channel else 6)
    alt = f"The {size} of the layer {found}{left_out}; weights from {weights.min():.2g} to {weights.max():.2g}."
    return finished(figure, alt, path)


def filter_colours(weights: np.ndarray, most: float) -> np.ndarray:
    """A filter (3, H, W) as an image (H, W, 3): grey is 0, and `most` a full colour."""
    return np.clip(0.5 + weights / (2 * most), 0, 1).transpose(1, 2, 0)


def _convolution(model: Layer, layer: str | Layer | None) -> tuple[str, Conv2d]:
    if layer is None:
        found = next(((path, one) for path, one in model.named_layers() if isinstance(one, Conv2d)), None)
        if found is None:
            raise ArgumentError(f"filters: {type(model).__name__} has no convolution")
        return found
    path, one = layer_of("filters", model, layer)
    if not isinstance(one, Conv2d):
        known = next((path for path, other in model.named_layers() if isinstance(other, Conv2d)), "none")
        raise ArgumentError(f"filters: layer {path} is no Conv2d but {type(one).__name__}; the first is {known}")
    return path, one
