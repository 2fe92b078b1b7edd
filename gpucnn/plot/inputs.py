"""What figures are given: a model or that of a run, a layer of it, an image in any of its forms; and how images are shown."""

import os
from typing import NamedTuple, TypeAlias

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, to_host
from gpucnn.checks import nearest
from gpucnn.data import Dataset, Preprocess, Subset, read_image
from gpucnn.data.image_file import AUTO
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.layers import Layer
from gpucnn.plot.figure import own_text
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import shape_text, value_text

Model: TypeAlias = Layer | TrainedRun
Image: TypeAlias = Tensor | np.ndarray | str | os.PathLike[str]

SLACK = 1e-3
"""So far beyond 0 and 1 values are rounding."""


class Subject(NamedTuple):
    """A model, and what is known of its images and its classes."""

    model: Layer
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    background: str = AUTO

    def name_of(self, label: int) -> str:
        """Of a class, as figures have it."""
        return own_text(self.class_names[label]) if label < len(self.class_names) else str(label)


def subject_of(owner: str, model: Model) -> Subject:
    """The model that is given, or that of a run. ArgumentError, which names `owner`, for anything else."""
    if isinstance(model, TrainedRun):
        return Subject(model.model, model.preprocess, model.class_names, model.shown().background)
    if not isinstance(model, Layer):
        raise ArgumentError(
            f"{owner}: model must be a Layer, or a run's as gpucnn.load gives it, got {value_text(model)}"
        )
    return Subject(model)


def layer_of(owner: str, model: Layer, layer: str | Layer) -> tuple[str, Layer]:
    """The path of a layer in `model`, and the layer; it is given as either. ArgumentError, with the nearest, if there is none."""
    layers = dict(model.named_layers())
    if isinstance(layer, str):
        if layer not in layers:
            like = nearest(layer, layers)
            known = f"did you mean {like}?" if like else f"there is {', '.join(filter(None, layers))}"
            raise ArgumentError(f"{owner}: no layer {value_text(layer)} in {type(model).__name__}; {known}")
        return layer, layers[layer]
    for path, one in layers.items():
        if one is layer:
            return path, one
    raise ArgumentError(
        f"{owner}: layer must be a path, e.g. {value_text(list(layers)[-1])}, or a layer of the model, got {value_text(layer)}"
    )


def image_of(owner: str, image: Image, subject: Subject) -> Array:
    """One image as it goes into the model, (C, H, W), where it is; a file is read as the run read its images.

    Raises ShapeError for another form, ArgumentError for a file where no run says how it is read, and DataError for one that
    is no image.
    """
    if isinstance(image, str | os.PathLike):
        if subject.preprocess is None:
            raise ArgumentError(f"{owner}: {image}: a file is read as a run does it; give what gpucnn.load gives as model")
        return subject.preprocess(read_image(image, subject.preprocess, subject.background))[0]
    array = image.array if isinstance(image, Tensor) else image
    shape = getattr(array, "shape", None)
    if not isinstance(shape, tuple):
        raise ArgumentError(f"{owner}: image must be an array or a tensor (C, H, W), got {value_text(image)}")
    if len(shape) == 4 and shape[0] == 1:
        return array[0]
    if len(shape) != 3:
        fix = "; of a batch take images[0]" if len(shape) == 4 else "; a grey one is image[None]" if len(shape) == 2 else ""
        raise ShapeError(f"{owner}: expected one image (C, H, W) or (1, C, H, W), got {shape_text(shape)}{fix}")
    return array


def preprocess_of(dataset: Dataset) -> Preprocess | None:
    """How a data set's raw images became those that it gives, where that is known."""
    while isinstance(dataset, Subset):
        dataset = dataset.parent
    found = getattr(dataset, "preprocess", None)
    return found if isinstance(found, Preprocess) else None


def picture(image: Array, preprocess: Preprocess | None = None) -> np.ndarray:
    """An image (C, H, W) as it is shown: (H, W) if it is grey, or of neither one nor three channels, else (H, W, 3), in [0, 1].

    What `preprocess` has normalised is put back. Where it is not known, values beyond [0, 1] are brought into it, so that the
    lowest is dark.
    """
    found = np.nan_to_num(to_host(image).astype(np.float64))
    if preprocess is not None and preprocess.mean is not None and len(found) == len(preprocess.mean):
        mean, std = (np.reshape(values, (-1, 1, 1)) for values in (preprocess.mean, preprocess.std))
        found = found * std + mean
    elif preprocess is None and found.size and not (-SLACK <= found.min() and found.max() <= 1 + SLACK):
        low, high = found.min(), found.max()
        found = (found - low) / max(high - low, np.finfo(np.float64).tiny)
    found = found.clip(0, 1)
    return found.transpose(1, 2, 0) if len(found) == 3 else found.mean(axis=0)
