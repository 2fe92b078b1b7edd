"""What the layers of a model make of an image, map by map."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gpucnn import explain
from gpucnn.autograd import Tensor
from gpucnn.backend import to_host
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import as_layer
from gpucnn.layers import Layer
from gpucnn.plot.figure import HEAT, StrPath, check_path, finished, in_style, new_figure, set_title, signed_colours
from gpucnn.plot.inputs import Image, Model, image_of, layer_name, subject_of
from gpucnn.plot.mosaic import in_rows, number_tiles, show_tiles
from gpucnn.plot.numbers import largest, not_finite_text, written
from gpucnn.plot.shown_image import picture, show_image
from gpucnn.text import counted, names_text, size_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LAYERS, MOST_MAPS = 6, 12
"""Layers, and maps of each, that are shown of a model."""
MOST_OF_LAYER = 64
"""Maps that are shown of a layer alone."""
COLUMNS = 8
TILE, NAME = 0.8, 0.45
"""Inches of a map, and of what is written above a row of them."""


@in_style
def feature_maps(model: Model, image: Image, layer: str | Layer | None = None, path: StrPath | None = None) -> "Figure":
    """An image and its feature maps: a row for each size of maps on the way, or all maps of one layer.

    - `model`: a model, or what `gpucnn.load` gives, with which files can be read.
    - `image`: as it goes into the model, floats (C, H, W) or (1, C, H, W); of a run also what its `predict` takes, e.g. a file.
    - `layer`: a layer or a block that gives maps, by its path or itself. By default the last of each size of maps, or, of a
      model with few layers, all of them.
    - `path`: a file to save it to, .png, .svg or .pdf.

    Of more maps than fit those with the highest values are shown, with their numbers. Each layer has a scale of its own: from
    0 on, or blue below 0 and orange above. Raises what `explain.feature_maps` does, and ArgumentError for a layer without maps.
    """
    check_path(path)
    subject = subject_of("feature_maps", model)
    found = image_of("feature_maps", image, subject)
    maps = explain.feature_maps(subject.model, found)
    if layer is None and not maps:
        raise ArgumentError(_no_maps("feature_maps", subject.model))
    if layer is None:
        chosen, most, columns = shown_layers(maps), MOST_MAPS, MOST_MAPS
    else:
        own = maps_of_layer("feature_maps", subject.model, found, maps, layer)
        chosen, most, columns = [own], MOST_OF_LAYER, COLUMNS
    sheets = {one: in_rows(strongest(maps[one], most), columns) for one in chosen}
    widest = max(len(rows[0]) for rows in sheets.values())
    tall = sum(TILE * len(rows) + NAME for rows in sheets.values())
    figure = new_figure(TILE * (widest + 1) + 1.9, max(tall, 1.5) + 0.3)
    # Each row of maps is one of the grid, so that the image, which is as high as one, takes no more than that.
    heights = [TILE + NAME * (not place) for rows in sheets.values() for place in range(len(rows))]
    grid = figure.add_gridspec(len(heights), 2, width_ratios=(1, widest), height_ratios=heights)
    first = figure.add_subplot(grid[0, 0])
    show_image(first, picture(found.array[0], subject.preprocess))
    first.set_title(f"image{not_finite_text(to_host(found.array))}")
    first.set_anchor("NW")
    start = 0
    for one, rows in sheets.items():
        filled = [[*row, *[None] * (widest - len(row))] for row in rows]
        place = grid[start : start + len(rows), 1]
        draw_maps(figure.add_subplot(place), layer_name(one, subject.model), maps[one], filled)
        start += len(rows)
    what = f"of {type(subject.model).__name__}"
    if layer is not None:
        what = f"of the layer {layer_name(chosen[0], subject.model)}"
    told = "; ".join(f"{layer_name(one, subject.model)}, {maps_text(maps[one], _count(sheets[one]))}" for one in chosen)
    set_title(figure, f"Feature maps {what}")
    return finished(figure, f"An image and its feature maps: {told}.", path)


class Map(NamedTuple):
    """A feature map (h, w), and which of its layer it is."""

    number: int
    values: np.ndarray


def shown_layers(maps: Mapping[str, np.ndarray]) -> list[str]:
    """The layers to show: of many the last of those, one after the other, whose maps have one size, larger than 1x1."""
    paths = list(maps)
    if len(paths) <= MOST_LAYERS:
        return paths
    sizes = [maps[path].shape[1:] for path in paths]
    last = [
        path
        for path, size, after in zip(paths, sizes, [*sizes[1:], None], strict=True)
        if size != after and size != (1, 1)
    ] or paths[-1:]
    steps = np.linspace(0, len(last) - 1, min(len(last), MOST_LAYERS)).round().astype(int)
    return [last[place] for place in steps]


def maps_of_layer(owner: str, model: Layer, image: Tensor, maps: dict[str, np.ndarray], layer: str | Layer) -> str:
    """The path of a layer that is given as such or as itself; the maps of a block, which is not in `maps` yet, are added.

    ArgumentError, which names `owner`, if it gives no maps.
    """
    path = layer if isinstance(layer, str) and layer in maps else as_layer(owner, model, layer).path
    if not maps:
        raise ArgumentError(_no_maps(owner, model))
    if path in maps:
        return path
    try:
        maps |= explain.feature_maps(model, image, layer)
    except ArgumentError:
        within = [one for one in maps if one.startswith(f"{path}.")]
        fix = f"the last within it is {within[-1]}" if within else f"there is {names_text(list(maps))}"
        raise ArgumentError(f"{owner}: layer {path} gives no maps by itself; {fix}") from None
    return path


def _no_maps(owner: str, model: Layer) -> str:
    return f"{owner}: {type(model).__name__} has no layer that gives maps"


def strongest(maps: np.ndarray, most: int) -> list[Map]:
    """The maps with the highest values, in their order."""
    order = np.sort(np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:most])  # NaN comes last
    return [Map(int(number), maps[number]) for number in order]


def draw_maps(axes: "Axes", name: str, maps: np.ndarray, rows: Sequence[Sequence[Map | None]]) -> None:
    """Draw those of a layer's maps that stand in `rows`, with a scale for all of the layer."""
    high = largest(maps)
    is_signed = bool((maps < 0).any())
    tiles = [[None if one is None else one.values for one in row] for row in rows]
    look = {"cmap": signed_colours(), "vmin": -high} if is_signed else {"cmap": HEAT, "vmin": 0}
    drawn = show_tiles(axes, tiles, vmax=high, **look)
    number_tiles(axes, maps.shape[1:], [[None if one is None else one.number for one in row] for row in rows])
    bar = axes.figure.colorbar(
        drawn, ax=axes, fraction=0.02, pad=0.01, ticks=(-high, 0, high) if is_signed else (0, high)
    )
    bar.outline.set_visible(False)
    bar.ax.set_yticklabels([written(value) for value in bar.get_ticks()])
    axes.set_title(f"{name}: {maps_text(maps, _count(rows))}{not_finite_text(maps)}")


def maps_text(maps: np.ndarray, shown: int) -> str:
    """How many maps (C, h, w) there are, of which size, and which of them are shown, if not all."""
    size = size_text(maps.shape[1:])
    if shown == len(maps):
        return f"{counted(shown, 'map')} of {size}"
    return f"{shown} of {len(maps):,} maps of {size}, those with the highest values"


def _count(rows: Sequence[Sequence[Map | None]]) -> int:
    return sum(one is not None for row in rows for one in row)
