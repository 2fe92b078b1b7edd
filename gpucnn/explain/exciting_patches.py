"""The patches of images that excite a filter most: what it has learned to look for.

Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4 and figure 2.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpucnn.autograd import Tensor, no_grad
from gpucnn.backend import beside, to_host
from gpucnn.checks import as_count, as_items, is_int
from gpucnn.data import DataLoader
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.explain.given import as_images, as_layer, as_model
from gpucnn.explain.layer_calls import maps_of, noting_layers
from gpucnn.explain.receptive_field import Box, receptive_field
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating
from gpucnn.text import shape_text, value_text

BATCH = 64
"""Images of an array that are computed together."""


class Patch(NamedTuple):
    """Where a filter is excited."""

    value: float
    """Of the filter's map."""
    image: int
    """The image's place among those that were given."""
    row: int
    """Of the map; so is `column`."""
    column: int
    box: Box
    """What that place of the map sees of the image: `box.of(images[patch.image])`."""


def exciting_patches(
    model: Layer, images: Any, layer: str | Layer, count: int = 9, filters: Sequence[int] | None = None
) -> dict[int, list[Patch]]:
    """For each filter of a layer the `count` images that excite it most, each at the place where it does: filter -> patches.

    The most exciting patch comes first; there are fewer where fewer images excite the filter, which is to say, make its map
    larger than 0 somewhere.

    - `images`: an array or tensor (N, C, H, W), floats in the form that the model takes, or what gives batches of such, with
      labels or without; all of one size. Of a `DataLoader` they are those of its next epoch; its epoch stays what it is.
    - `layer`: a path or a layer of the model, which gives maps. `filters`: which ones; by default all.

    Raises ArgumentError for a layer that gives no maps, filters that it has not, and a count below 1, ShapeError for what are no
    images, GraphError as `receptive_field` does. The model is left as it was.
    """
    owner = "exciting_patches"
    model = as_model(owner, model)
    chosen = as_layer(owner, model, layer)
    count = as_count(count, f"{owner}: count")
    wanted: list[int] | None = None
    best: list[np.ndarray] = []
    """(filters, up to `count`) each: values, images, places in the map."""
    seen, one, width = 0, None, 0
    for batch in _batches(images):
        x = as_images(owner, model, batch)
        if one is not None and x.shape[2:] != one.shape[2:]:
            raise ShapeError(
                f"{owner}: images of one size are needed, got {shape_text(one.shape[2:])} and {shape_text(x.shape[2:])}"
            )
        with no_grad(), evaluating(model), noting_layers([chosen]) as calls:
            model(x)
        maps = maps_of(owner, chosen, calls)
        if wanted is None:
            wanted, one, width = _filters(owner, filters, maps.shape[1]), Tensor(x.array[:1]), maps.shape[3]
        values, places = _highest(maps)
        found = [values[wanted], np.broadcast_to(np.arange(seen, seen + len(x)), values[wanted].shape), places[wanted]]
        best = [np.concatenate(pair, axis=1) for pair in zip(best, found, strict=True)] if best else found
        # What is not a number comes last.
        order = np.argsort(-best[0], axis=1, kind="stable")[:, :count]
        best = [np.take_along_axis(array, order, axis=1) for array in best]
        seen += len(x)
    if wanted is None or one is None:
        raise ArgumentError(f"{owner}: images has no batch; give one image at least")
    boxes = receptive_field(model, one, chosen)
    return {
        number: [
            Patch(
                float(value), int(image), *divmod(int(place), width), Box(*map(int, boxes[divmod(int(place), width)]))
            )
            for value, image, place in zip(*rows, strict=True)
            if value > 0
        ]
        for number, *rows in zip(wanted, *best, strict=True)
    }


def _batches(images: Any) -> Iterator[Any]:
    """Arrays (N, C, H, W) of images."""
    if isinstance(images, Tensor) or hasattr(images, "dtype"):
        array = images.array if isinstance(images, Tensor) else images
        if array.ndim != 4:
            yield array  # which is refused in words
            return
        for first in range(0, len(array), BATCH):
            yield array[first : first + BATCH]
        return
    if not isinstance(images, Iterable) or isinstance(images, str | bytes | dict):
        raise ArgumentError(
            f"exciting_patches: images must be an array (N, C, H, W), or give batches of such, got {value_text(images)}"
        )
    # Looking at a loader must not take an epoch away from training.
    for batch in images.batches(images.epoch) if isinstance(images, DataLoader) else images:
        yield batch[0] if isinstance(batch, tuple | list) else batch


def _filters(owner: str, filters: Sequence[int] | None, count: int) -> list[int]:
    """Those that are wanted, of `count`."""
    if filters is None:
        return list(range(count))
    numbers = as_items(filters)
    if not numbers or not all(is_int(one) and 0 <= one < count for one in numbers):
        raise ArgumentError(f"{owner}: filters must be ints from 0 to {count - 1}, got {value_text(filters)}")
    return [int(one) for one in numbers]


def _highest(maps: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The highest value of each map, and where in the flattened map it is: (C, N) each."""
    with beside(maps.array):
        flat = maps.array.reshape(*maps.shape[:2], -1)
        places, values = flat.argmax(axis=2), flat.max(axis=2)
    return to_host(values).astype(np.float64).T, to_host(places).T
