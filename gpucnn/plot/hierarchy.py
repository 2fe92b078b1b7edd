"""The hierarchy of features that a model has learned: from edges over textures to parts, as the chapter has it.

Source: chapter 5, "Feature Hierarchies"; Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
figure 2.
"""

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gpucnn import explain
from gpucnn.autograd import Tensor
from gpucnn.backend import as_array, to_host
from gpucnn.data import DataLoader, Dataset, Subset
from gpucnn.data.as_shown import preprocess_of
from gpucnn.data.image_file import is_array
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import is_dataset
from gpucnn.layers import Conv2d, Layer
from gpucnn.plot.figure import PAPER, StrPath, check_path, finished, in_style, new_figure, set_title, signed_colours
from gpucnn.plot.filters import filter_tiles
from gpucnn.plot.inputs import Images, Model, images_of, layer_name, subject_of
from gpucnn.plot.mosaic import name_tiles, show_tiles
from gpucnn.plot.numbers import largest
from gpucnn.plot.shown_image import pictures
from gpucnn.text import counted, size_text, value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILTERS, PATCHES = 4, 9
"""That are shown of a stage, and beside each filter."""
MOST_IMAGES = 2048
"""Images of a loader or a data set that are looked at."""
BATCH = 64
TILE, NAME = 0.62, 0.5
"""Inches of a patch, and of what is written above a stage."""


class _Stage(NamedTuple):
    """What is drawn of a stage."""

    path: str
    patches: dict[int, list[explain.Patch]]
    """Of the filters that are shown."""
    channels: int
    """How many filters there are."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the largest part of an image that is seen."""
        boxes = [patch.box for found in self.patches.values() for patch in found]
        return max(box.bottom - box.top for box in boxes), max(box.right - box.left for box in boxes)


@in_style
def hierarchy(model: Model, images: "Images | Dataset | DataLoader", path: StrPath | None = None) -> "Figure":
    """For each stage of a model some filters, each beside the parts of images that excite it most.

    - `model`: a model, or what `gpucnn.load` gives, which knows how its images were normalised.
    - `images`: (N, C, H, W), as they go into the model; a data set, of which 2,048 at most are looked at, from all over it; or
      a loader, of which the first 2,048 or so are. Of a run also what its `predict` takes, e.g. a list of files.
    - `path`: a file to save it to, .png, .svg or .pdf.

    The parts grow with the stages: of edges become textures, and of these parts of things. Shown are the filters that are
    excited most, by nine images each; what they weigh stands before them, of many input channels the four with the largest
    weights. Stages and patches are those of `explain`; raises what `explain.exciting_patches` does, and ArgumentError for a
    model without stages.
    """
    check_path(path)
    subject = subject_of("hierarchy", model)
    preprocess: object = subject.preprocess
    given: Any = images
    loader = _loader_of(images)
    if loader is not None:
        preprocess = preprocess or preprocess_of(loader.dataset)
        given = _first_of(loader)
    elif subject.run is None and not isinstance(images, list | tuple | str | os.PathLike) and not is_array(images):
        raise ArgumentError(
            f"hierarchy: images must be an array (N, C, H, W), a data set or a DataLoader, got {value_text(images)}"
        )
    found = images_of("hierarchy", given, subject)
    stages = [_stage(subject.model, found, one) for one in explain.stages(subject.model, found[:1])]
    shown = [one for one in stages if one.patches]
    if not shown:
        raise ArgumentError(f"hierarchy: {type(subject.model).__name__} has no filters that these images excite")
    shown_images, note = pictures(to_host(found.array), preprocess)
    heights = [TILE * len(one.patches) + NAME for one in shown]
    figure = new_figure(TILE * (PATCHES + 1) + 1.2, sum(heights) + 0.3)
    grid = figure.add_gridspec(len(shown), 2, width_ratios=(1, PATCHES), height_ratios=heights)
    for place, stage in enumerate(shown):
        weights = _weights(subject.model, stage)
        if weights is not None:
            _draw_filters(figure.add_subplot(grid[place, 0]), weights)
        axes = figure.add_subplot(grid[place, 1])
        show_tiles(axes, _tiles(stage, shown_images), cmap="gray", vmin=0, vmax=1)
        name_tiles(axes, stage.size, [str(number) for number in stage.patches])
        axes.set_title(
            f"{place + 1}. {layer_name(stage.path, subject.model)}, which sees {size_text(stage.size)} of {size_text(found.shape[2:])} pixels"
        )
    set_title(
        figure, f"What excites filters of {type(subject.model).__name__} most, in {counted(len(found), 'image')}", note
    )
    told = "; ".join(
        f"{layer_name(stage.path, subject.model)} sees {size_text(stage.size)} pixels, filters {', '.join(map(str, stage.patches))}"
        for stage in shown
    )
    return finished(
        figure, f"The parts of {counted(len(found), 'image')} that excite filters most, stage by stage: {told}.", path
    )


def _loader_of(images: Any) -> DataLoader | None:
    """A loader as it is; of a data set one of images from all over it, as those of a class may stand together; else None."""
    if isinstance(images, DataLoader):
        return images
    if not is_dataset(images):
        return None
    loader = DataLoader(images, BATCH)
    places = np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).round().astype(np.int64)
    return DataLoader(Subset(loader.dataset, places), BATCH)


def _first_of(loader: DataLoader) -> np.ndarray:
    """The first images of a loader's next epoch."""
    found: list[np.ndarray] = []
    with closing(loader.batches(loader.epoch)) as batches:  # type: ignore[type-var]
        for images, _ in batches:
            found.append(to_host(as_array(images)))
            if sum(map(len, found)) >= MOST_IMAGES:
                break
    return np.concatenate(found)


def _stage(model: Layer, images: Tensor, path: str) -> _Stage:
    """The filters of a stage that are excited most, in their order."""
    patches = explain.exciting_patches(model, images, path, PATCHES)
    excited = sorted(
        (number for number, found in patches.items() if found), key=lambda number: -patches[number][0].value
    )
    return _Stage(path, {number: patches[number] for number in sorted(excited[:FILTERS])}, len(patches))


def _tiles(stage: _Stage, pictures: list[np.ndarray]) -> list[list[np.ndarray | None]]:
    rows: list[list[np.ndarray | None]] = []
    for patches in stage.patches.values():
        row: list[np.ndarray | None] = [_tile(patch, pictures[patch.image], stage.size) for patch in patches]
        rows.append(row + [None] * (PATCHES - len(row)))
    return rows


def _tile(patch: explain.Patch, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of the image, in a tile of `size`: what lies beyond the image's edge is NaN."""
    box = patch.box
    part = image[box.top : box.bottom, box.left : box.right]
    tile = np.full((*size, *image.shape[2:]), np.nan)
    top = size[0] - len(part) if box.top == 0 else 0
    left = size[1] - part.shape[1] if box.left == 0 else 0
    tile[top : top + len(part), left : left + part.shape[1]] = part
    return tile


def _weights(model: Layer, stage: _Stage) -> np.ndarray | None:
    """The weights (filters, channels, H, W) of the filters that are shown; None where it cannot be told which they are.

    They are those of the last convolution with as many filters up to the end of the stage, in the order of definition.
    """
    layers = list(model.named_layers())
    end = max(place for place, (path, _) in enumerate(layers) if f"{path}.".startswith(f"{stage.path}."))
    for _, layer in reversed(layers[: end + 1]):
        if isinstance(layer, Conv2d) and layer.weight.shape[0] == stage.channels:
            return to_host(layer.weight.array)[list(stage.patches)].astype(np.float64)
    return None


def _draw_filters(axes: "Axes", weights: np.ndarray) -> None:
    """A column of filters: in colour, as a map, or as the maps of those input channels that have the largest weights."""
    most = largest(weights)
    tiles = [[one] for one in filter_tiles(weights, most)]
    show_tiles(axes, tiles, PAPER, cmap=signed_colours(), vmin=-most, vmax=most)
    axes.set_title("filter")
