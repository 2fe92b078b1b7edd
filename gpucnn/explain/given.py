"""What is explained: a model, an image, a class and a layer, as users give them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_operand
from gpucnn.autograd.operation import BYTES_FIX
from gpucnn.backend import Array, as_array, to_host
from gpucnn.checks import is_int, nearest
from gpucnn.data import DataLoader
from gpucnn.data.image_file import is_array
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.geometry import check_images
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model as as_model
from gpucnn.layers.one_output import one_output
from gpucnn.text import names_text, shape_text, value_text

MOST_NAMED = 6
"""Layers that a message names."""


def as_images(owner: str, model: Layer, images: Operand) -> Tensor:
    """Images (N, C, H, W) in the model's dtype, on its device. DTypeError for integers, ShapeError for other axes."""
    array = _numbers(owner, images)
    if array.dtype.kind != "f":
        raise DTypeError(
            f"{owner}: images must be floats, in the form that the model takes, got {array.dtype}; {BYTES_FIX}"
        )
    if array.ndim != 4 or 0 in array.shape:
        raise ShapeError(f"{owner}: expected images (N, C, H, W), got {shape_text(array.shape)}")
    parameter = next(model.parameters(), None)
    found = Tensor(array) if parameter is None else as_operand(array.astype(parameter.dtype, copy=False), parameter)
    built = model.built_for()
    if built is not None:
        check_images(f"{owner}: {model.label}", found.shape, built[0])
    return found


def as_image(owner: str, model: Layer, image: Operand) -> Tensor:
    """One image, (C, H, W) or (1, C, H, W), as (1, C, H, W), else as for `as_images`."""
    array = _numbers(owner, image)
    if array.ndim not in (3, 4) or (array.ndim == 4 and len(array) != 1) or 0 in array.shape:
        fix = ""
        if array.ndim == 2:
            fix = "; add a channel axis: image[None]"
        elif array.ndim == 4 and len(array) > 1:
            fix = "; one at a time: images[0]"
        raise ShapeError(f"{owner}: expected one image (C, H, W) or (1, C, H, W), got {shape_text(array.shape)}{fix}")
    return as_images(owner, model, array[None] if array.ndim == 3 else array)


def _numbers(owner: str, given: Any) -> Array:
    """An array of what is given; DTypeError, which names `owner`, for what is none."""
    check_no_labels(owner, given)
    try:
        return as_array(given.array if isinstance(given, Tensor) else given)
    except DTypeError as error:
        raise DTypeError(f"{owner}: images: {error}") from None


def check_no_labels(owner: str, given: Any) -> None:
    """ArgumentError, which names `owner`, for what has labels beside the images: a pair, a data set, a loader."""
    if isinstance(given, tuple) and len(given) == 2 and hasattr(given[0], "ndim") and np.ndim(given[1]) < 2:
        raise ArgumentError(f"{owner}: expected images alone, got a pair (image, label); give its first: pair[0]")
    if isinstance(given, DataLoader):
        raise ArgumentError(f"{owner}: expected images, got a DataLoader; give those of a batch: next(iter(loader))[0]")
    if is_dataset(given):
        raise ArgumentError(
            f"{owner}: expected images alone, got {type(given).__name__}, which has labels, too; give an image of it, "
            f"dataset[0][0], or several, next(iter(data.DataLoader(dataset, 64)))[0]"
        )


def is_dataset(given: Any) -> bool:
    """Whether it gives samples by their places, and is neither an array nor a list."""
    is_indexed = hasattr(given, "__getitem__") and hasattr(given, "__len__")
    return is_indexed and not isinstance(given, Sequence | Mapping | memoryview | bytearray) and not is_array(given)


def check_label(owner: str, label: Any, logits: Any) -> int:
    """`label` as an int; ArgumentError unless the model's `logits` (N, classes, ...) have that class, ShapeError for others."""
    logits = one_output(owner, logits)
    if logits.ndim not in (2, 4):
        raise ShapeError(
            f"{owner}: expected a model that gives logits (N, classes) or (N, classes, H, W), this one gives "
            f"{shape_text(logits.shape)}"
        )
    classes = logits.shape[1]
    if not is_int(label) or not 0 <= label < classes:
        raise ArgumentError(f"{owner}: label must be an int from 0 to {classes - 1}, got {value_text(label)}")
    return int(label)


def as_layer(owner: str, model: Layer, layer: Any) -> Layer:
    """The layer of `model` at a path, or that layer itself; ArgumentError, which suggests the nearest, if it has none such."""
    layers = dict(model.named_layers())
    if isinstance(layer, Layer):
        if any(one is layer for one in layers.values()):
            return layer
        raise ArgumentError(
            f"{owner}: {layer.label} is no layer of this {type(model).__name__}; give its path or itself"
        )
    paths = [path for path in layers if path]
    if not isinstance(layer, str) or layer not in paths:
        like = nearest(layer, paths) if isinstance(layer, str) else None
        hint = f"did you mean {like}?" if like else f"it has {names_text(paths, MOST_NAMED)}"
        raise ArgumentError(f"{owner}: {type(model).__name__} has no layer {value_text(layer)}; {hint}")
    found: Layer = layers[layer]
    return found


def on_host(tensor: Tensor) -> np.ndarray:
    """Its values, float64, on the host."""
    return to_host(tensor.array).astype(np.float64)
