"""The filters that a convolution has learned."""

from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import to_host
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import as_layer
from gpucnn.layers import Conv2d, Layer
from gpucnn.plot.figure import StrPath, check_path, finished, in_style, new_figure, set_title, signed_colours
from gpucnn.plot.inputs import Model, layer_name, subject_of
from gpucnn.plot.mosaic import in_rows, mosaic, name_tiles, number_tiles, show_tiles
from gpucnn.plot.numbers import largest, not_finite_text, written
from gpucnn.text import counted, names_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_FILTERS, MOST_CHANNELS = 64, 16
"""That are shown."""
COLUMNS = 16
"""Filters of one map, or of colours, in a row."""
SLICES = 4
"""Channels of a filter that are shown in one tile, where there are many."""
WIDTH, LARGEST = 8.0, 1.0
"""Inches of all filters in a row, and of one at most."""


@in_style
def filters(model: Model, layer: str | Layer | None = None, path: StrPath | None = None) -> "Figure":
    """The filters of a convolution: of three channels, as on RGB images, in colour; others as a map a channel, one filter a column.

    - `model`: a model, or what `gpucnn.load` gives.
    - `layer`: the path of a convolution, or itself; by default the first.
    - `path`: a file to save it to, .png, .svg or .pdf.

    All have one scale, symmetric about 0: blue is below, orange above; in colour grey is 0. Up to 64 filters are
    shown, or 16 with 16 channels each. ArgumentError for a layer that is no convolution.
    """
    subject = subject_of("filters", model)
    found, convolution = convolution_of(subject.model, layer)
    check_path(path)
    weights = to_host(convolution.weight.array).astype(np.float64)
    count, channels, height, width = weights.shape
    most = largest(weights)
    shown = weights[: MOST_FILTERS if channels in (1, 3) else COLUMNS, :MOST_CHANNELS]
    if channels == 3:
        tiles = in_rows([filter_colours(one, most) for one in shown], COLUMNS)
    else:
        tiles = in_rows(list(shown[:, 0]), COLUMNS) if channels == 1 else list(shown.swapaxes(0, 1))
    side = min(WIDTH / len(tiles[0]), LARGEST)
    figure = new_figure(max(side * len(tiles[0]) + 1.2, 4), side * height / width * len(tiles) + 0.8)
    axes = figure.subplots()
    drawn = show_tiles(axes, tiles, cmap=signed_colours(), vmin=-most, vmax=most)
    if channels in (1, 3):
        number_tiles(axes, (height, width), in_rows(range(len(shown)), COLUMNS))
    else:
        name_tiles(
            axes, (height, width), [str(one) for one in range(len(tiles))], [str(one) for one in range(len(shown))]
        )
        axes.set(xlabel="filter", ylabel="input channel")
        axes.xaxis.set_label_position("top")
    if channels != 3:
        figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02).outline.set_visible(False)
    size = f"{counted(count, 'filter')} of {channels}x{height}x{width}"
    name, wrong = layer_name(found, subject.model), not_finite_text(weights)
    left_out = f", the first {len(shown)}" if len(shown) < count else ""
    left_out += f", of each the first {shown.shape[1]} channels" if shown.shape[1] < channels else ""
    set_title(figure, f"{name}: {size}{left_out}{wrong}")
    alt = f"The {size} of the layer {name}{left_out}; weights from {written(weights.min())} to {written(weights.max())}{wrong}."
    return finished(figure, alt, path)


def filter_colours(weights: np.ndarray, most: float) -> np.ndarray:
    """A filter (3, H, W) as an image (H, W, 3): grey is 0, and `most` a full colour."""
    return np.clip(0.5 + weights / (2 * most), 0, 1).transpose(1, 2, 0)


def filter_tiles(weights: np.ndarray, most: float) -> list[np.ndarray]:
    """A tile for each filter (channels, H, W): in colour, as a map, or as the maps of those channels with the largest weights."""
    if weights.shape[1] == 3:
        return [filter_colours(one, most) for one in weights]
    if weights.shape[1] == 1:
        return list(weights[:, 0])
    return [mosaic(in_rows(_largest(one), 2)) for one in weights]


def _largest(weights: np.ndarray) -> list[np.ndarray]:
    """Of a filter (channels, H, W) the maps with the largest weights, in their order."""
    order = np.argsort(-np.abs(weights).sum(axis=(1, 2)), kind="stable")[:SLICES]
    return [weights[place] for place in np.sort(order)]


def convolution_of(model: Layer, layer: str | Layer | None) -> tuple[str, Conv2d]:
    """The path of a convolution, by default the first, and itself. ArgumentError for another layer, or where there is none."""
    if layer is None:
        found = next(((path, one) for path, one in model.named_layers() if isinstance(one, Conv2d)), None)
        if found is None:
            kinds = sorted({type(one).__name__ for _, one in model.named_layers() if "Conv" in type(one).__name__})
            others = f" but {names_text(kinds)}, whose filters are not drawn" if kinds else ""
            raise ArgumentError(f"filters: {type(model).__name__} has no Conv2d{others}")
        return found
    one = as_layer("filters", model, layer)
    if not isinstance(one, Conv2d):
        known = next((path for path, other in model.named_layers() if isinstance(other, Conv2d)), "none")
        raise ArgumentError(
            f"filters: layer {layer_name(one.path, one)} is no Conv2d but {type(one).__name__}; the first is {known}"
        )
    return one.path, one
