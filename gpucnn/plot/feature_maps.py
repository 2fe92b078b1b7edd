"""What the layers of a model make of an image, map by map."""

from typing import TYPE_CHECKING

from gpucnn import explain
from gpucnn.layers import Layer
from gpucnn.plot.figure import StrPath, check_path, in_style
from gpucnn.plot.inputs import Image, Model, image_of, subject_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LAYERS, MOST_MAPS = 6, 12
"""Layers, and maps of each, that are shown of a model."""
MOST_OF_LAYER = 64
"""Maps that are shown of a layer alone."""
COLUMNS = 8


@in_style
def feature_maps(model: Model, image: Image, layer: str | Layer | None = None, path: StrPath | None = None) -> "Figure":
    """An image and its feature maps: a row for each size of maps on the way, or all maps of one layer.

    - `model`: a model, or what `gpucnn.load` gives, with which files can be read.
    - `image`: as it goes into the model, (C, H, W) or (1, C, H, W); or the path of a file.
    - `layer`: one of those in `explain.feature_maps`, by its path or itself. By default the last of each size of maps, or, of a
      model with few layers, all of them.
    - `path`: a file to save it to, .png, .svg or .pdf.

    Of more maps than fit those with the highest values are shown, with their numbers. Each layer has a scale of its own: from
    0 on, or blue below 0 and orange above. Raises what `explain.feature_maps` does, and ArgumentError for a layer without maps.
    """
    check_path(path)
    subject = subject_of("feature_maps", model)
    found = image_of("feature_maps", image, subject)
    maps = explain.feature_maps(subject.model, found)
