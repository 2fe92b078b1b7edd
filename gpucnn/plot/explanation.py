"""One picture that explains an answer: the image, the top classes, where the evidence is, filters, and feature maps layer by layer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gpucnn import explain
from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import to_host
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.layers import Conv2d, Layer
from gpucnn.layers.forward_state import evaluating
from gpucnn.layers.one_output import one_output
from gpucnn.plot.feature_maps import (
    COLUMNS,
    MOST_OF_LAYER,
    draw_maps,
    maps_of_layer,
    maps_text,
    shown_layers,
    strongest,
)
from gpucnn.plot.figure import (
    FAINT,
    HEAT,
    RIGHT,
    StrPath,
    check_path,
    finished,
    in_style,
    new_figure,
    set_title,
    signed_colours,
)
from gpucnn.plot.filters import filter_tiles
from gpucnn.plot.heat import IMAGE_FIX, MODEL_FIX, most_text, show_upon
from gpucnn.plot.inputs import Image, Model, image_of, layer_name, subject_of
from gpucnn.plot.mosaic import in_rows, number_tiles, show_tiles
from gpucnn.plot.numbers import check_finite, largest
from gpucnn.plot.shown_image import picture, show_image
from gpucnn.text import counted, shape_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tile = TypeVar("Tile")

TOP = 5
"""Classes that are named."""
MAPS = 12
"""Filters of the first convolution, and maps of a layer, that stand in a row."""
FILTER_ROWS = 2
WIDTH = 9.0
"""Inches; so are these: of the image, of a map, and of what is written above."""
IMAGE, TILE, NAME = 2.2, 0.66, 0.4
EDGE = 0.02
"""The share of the width that numbers beside the last scale may need, of which the layout does not know."""


@in_style
def explanation(model: Model, image: Image, layer: str | Layer | None = None, path: StrPath | None = None) -> "Figure":
    """What a model makes of one image: the image as it sees it, its top classes, Grad-CAM of the first of them, maps by layer.

    - `model`: a model that classifies, or what `gpucnn.load` gives, with which files can be read, and classes have names.
    - `image`: as it goes into the model, floats (C, H, W) or (1, C, H, W); of a run also what its `predict` takes, e.g. a file.
    - `layer`: the layer whose maps are shown, large, and whose evidence is; by default the last of each size of maps, and for
      the evidence the last map larger than 1x1, or the gradient by the image in a model without maps.
    - `path`: a file to save it to, .png, .svg or .pdf.

    Raises ArgumentError for a layer without maps, ShapeError for a model that gives other than logits (N, classes).
    """
    check_path(path)
    subject = subject_of("explanation", model)
    found = image_of("explanation", image, subject)
    net, own = subject.model, found.array[0]
    with no_grad(), evaluating(net):
        logits = one_output("explanation", net(found))
    if logits.ndim != 2:
        raise ShapeError(
            f"explanation: expected a model that gives logits (N, classes), this one gives {shape_text(logits.shape)}"
        )
    probabilities = to_host(F.softmax(logits).array)[0].astype(np.float64)
    top = [int(one) for one in np.argsort(-probabilities, kind="stable")[:TOP]]
    check_finite("explanation", "the image", to_host(own), IMAGE_FIX)
    check_finite("explanation", f"the scores of {net.label}", to_host(logits.array), MODEL_FIX)
    maps = explain.feature_maps(net, own)
    large = {one: values for one, values in maps.items() if values.shape[1:] != (1, 1)}
    if layer is not None:
        chosen = maps_of_layer("explanation", net, found, maps, layer)
        rows = {chosen: in_rows(strongest(maps[chosen], MOST_OF_LAYER), COLUMNS)}
    else:
        rows = {one: [_filled(strongest(large[one], MAPS))] for one in shown_layers(large)} if large else {}
    first = next((one for _, one in net.named_layers() if isinstance(one, Conv2d)), None)
    tiles = [] if first is None else _filter_rows(first)
    sizes = [IMAGE + NAME, *([TILE * len(tiles) + NAME] if tiles else [])]
    tile = WIDTH / (COLUMNS + 1) if layer is not None else TILE
    sizes += [tile * len(one) + NAME for one in rows.values()]
    figure = new_figure(WIDTH, sum(sizes) + 0.3)
    figure.get_layout_engine().set(rect=(0, 0, 1 - EDGE, 1))
    parts = figure.add_gridspec(len(sizes), 1, height_ratios=sizes)
    head = parts[0].subgridspec(1, 3, width_ratios=(1, 1, 1.4))
    shown = picture(own, subject.preprocess)
    axes = figure.add_subplot(head[0])
    show_image(axes, shown)
    axes.set_title("as the model sees it")
    evidence, look, title = _evidence(net, own, top[0], layer)
    axes = figure.add_subplot(head[1])
    show_upon(axes, shown, evidence, look)
    axes.set_title(title)
    names = [subject.name_of(one) for one in top]
    _draw_classes(figure.add_subplot(head[2]), names, probabilities[top])
    if first is not None:
        _draw_filters(figure.add_subplot(parts[1]), first, tiles)
    for place, (one, several) in enumerate(rows.items(), len(sizes) - len(rows)):
        draw_maps(figure.add_subplot(parts[place]), layer_name(one, net), maps[one], several)
    answers = [f"{name} {probabilities[one]:.2f}" for name, one in zip(names, top, strict=True)]
    set_title(figure, f"{type(net).__name__}: {names[0]}, with {probabilities[top[0]]:.1%}")
    told = "; ".join(
        f"{layer_name(one, net)}, {maps_text(maps[one], sum(tile is not None for row in several for tile in row))}"
        for one, several in rows.items()
    )
    where = f"{title}: {most_text(evidence, is_exact=not title.startswith('Grad-CAM'))}"
    return finished(
        figure, f"Top classes: {', '.join(answers)}. {where}.{f' Feature maps: {told}.' if told else ''}", path
    )


def _evidence(
    model: Layer, image: Any, label: int, layer: str | Layer | None
) -> tuple[np.ndarray, dict[str, Any], str]:
    """The evidence for a class (H, W), how it is drawn, and what it is."""
    try:
        place = explain.last_map(model, image) if layer is None else layer
    except ArgumentError:  # a model without maps
        heat = explain.input_gradient(model, image, label).sum(axis=0)
        most = largest(heat)
        return (
            heat,
            {"cmap": signed_colours(), "vmin": -most, "vmax": most, "interpolation": "nearest"},
            "gradient by the image",
        )
    heat = explain.grad_cam(model, image, label, layer)
    name = layer_name(place.path if isinstance(place, Layer) else place, model)
    return heat, {"cmap": HEAT, "vmin": 0, "vmax": 1, "interpolation": "bilinear"}, f"Grad-CAM of {name}"


def _draw_classes(axes: "Axes", names: list[str], probabilities: np.ndarray) -> None:
    """Bars of the top classes, the first at the top."""
    places = np.arange(len(names))[::-1]
    axes.barh(places, probabilities, height=0.6, color=[RIGHT, *[FAINT] * (len(names) - 1)])
    for place, probability in zip(places, probabilities, strict=True):
        axes.text(probability + 0.02, place, f"{probability:.3f}", va="center")
    axes.set(xlim=(0, 1.2), xticks=(0, 0.5, 1), yticks=places, title="top classes")
    axes.set_yticks(places, names)
    axes.spines["bottom"].set_bounds(0, 1)


def _filter_rows(layer: Conv2d) -> list[list[np.ndarray | None]]:
    """Tiles of the first filters of a layer, in rows."""
    weights = to_host(layer.weight.array).astype(np.float64)[: FILTER_ROWS * MAPS]
    tiles = filter_tiles(weights, largest(weights))
    return in_rows(_filled(tiles), MAPS)


def _draw_filters(axes: "Axes", layer: Conv2d, tiles: list[list[np.ndarray | None]]) -> None:
    most = max(largest(tile) for row in tiles for tile in row if tile is not None)
    show_tiles(axes, tiles, cmap=signed_colours(), vmin=-most, vmax=most)
    count, *size = layer.weight.shape
    left_out = f", the first {FILTER_ROWS * MAPS}" if count > FILTER_ROWS * MAPS else ""
    shape = next(tile for tile in tiles[0] if tile is not None).shape[:2]
    number_tiles(axes, shape, in_rows(_filled(range(min(count, FILTER_ROWS * MAPS))), MAPS))
    axes.set_title(
        f"{layer_name(layer.path, layer)}: {counted(count, 'filter')} of {'x'.join(map(str, size))}{left_out}"
    )


def _filled(tiles: Sequence[Tile]) -> list[Tile | None]:
    """A row that is as long as all others, or several of them."""
    return [*tiles, *[None] * (-len(tiles) % MAPS)]
