"""What figures are given: a model or that of a run, a layer of it, an image in any of its forms; and how images are shown."""

import os
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, to_host
from gpucnn.data import Preprocess, read_image
from gpucnn.data.as_shown import values_shown
from gpucnn.data.image_file import AUTO
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import as_image
from gpucnn.layers import Layer
from gpucnn.plot.figure import own_text
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import value_text

Model: TypeAlias = Layer | TrainedRun
Image: TypeAlias = Tensor | np.ndarray | str | os.PathLike[str]


class Subject(NamedTuple):
    """A model, and what is known of its images and its classes."""

    model: Layer
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    background: str = AUTO

    def name_of(self, label: int) -> str:
        """Of a class, as figures have it."""
        return own_text(self.class_names[label]) if label < len(self.class_names) else str(label)


def layer_name(path: str, model: Layer) -> str:
    """How figures name the layer of a model at a path: a model that is a layer alone has none."""
    return path or type(model).__name__


def subject_of(owner: str, model: Model) -> Subject:
    """The model that is given, or that of a run. ArgumentError, which names `owner`, for anything else."""
    if isinstance(model, TrainedRun):
        return Subject(model.model, model.preprocess, model.class_names, model.shown().background)
    if not isinstance(model, Layer):
        raise ArgumentError(
            f"{owner}: model must be a Layer, or a run's as gpucnn.load gives it, got {value_text(model)}"
        )
    return Subject(model)


def image_of(owner: str, image: Image, subject: Subject) -> Tensor:
    """One image as it goes into the model, (1, C, H, W), on its device; a file is read as the run read its images.

    Raises ShapeError for another form, ArgumentError for a file where no run says how to read it, and DataError for one that
    is no image.
    """
    if isinstance(image, str | os.PathLike):
        if subject.preprocess is None:
            raise ArgumentError(
                f"{owner}: image {value_text(image)} is a file, which is read as a run reads it; give what gpucnn.load gives as model"
            )
        image = subject.preprocess(read_image(image, subject.preprocess, subject.background))
    return as_image(owner, subject.model, image)


def picture(image: Array, preprocess: object = None) -> np.ndarray:
    """An image (C, H, W) as matplotlib draws it, see `pictures`."""
    (found,), _ = pictures([image], preprocess)
    return found


def pictures(images: Sequence[Array] | np.ndarray, preprocess: object = None) -> tuple[list[np.ndarray], str]:
    """Images (C, H, W) as matplotlib draws them, in [0, 1]; and what must be said of their values, see `values_shown`.

    (H, W) if they are grey, or of neither one nor three channels, else (H, W, 3).
    """
    found, note = values_shown([to_host(image) for image in images], preprocess)
    return [one.transpose(1, 2, 0) if len(one) == 3 else one.mean(axis=0) for one in found], note
