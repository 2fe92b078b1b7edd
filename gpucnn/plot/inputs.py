"""What figures are given: a model or that of a run, a layer of it, and an image in any of its forms."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias
from warnings import warn

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.checks import is_int, nearest
from gpucnn.data import Preprocess
from gpucnn.data.image_file import ImageSource
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import as_image, as_images, check_no_labels
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model
from gpucnn.plot.figure import own_text
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import value_text

Model: TypeAlias = Layer | TrainedRun
Image: TypeAlias = "Tensor | ImageSource"
Images: TypeAlias = "Tensor | np.ndarray | Sequence[ImageSource]"


class Subject(NamedTuple):
    """A model, and what is known of its images and its classes."""

    model: Layer
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    run: TrainedRun | None = None

    def name_of(self, label: int) -> str:
        """Of a class, as figures have it."""
        return own_text(self.class_names[label]) if label < len(self.class_names) else str(label)

    def label_of(self, owner: str, label: int | str, classes: int) -> int:
        """Of a class that is given as such, or by its name. ArgumentError, which names `owner`, if there is none such."""
        if isinstance(label, str) and label in self.class_names:
            return self.class_names.index(label)
        if not isinstance(label, str) and is_int(label) and 0 <= label < classes:
            return int(label)
        by_name, like = ("", None)
        if self.class_names:
            by_name = ", a class's name"
            like = nearest(label, self.class_names) if isinstance(label, str) else None
        raise ArgumentError(
            f"{owner}: label must be an int from 0 to {classes - 1}{by_name}, or None for the model's answer, got {value_text(label)}"
            + (f"; did you mean {like!r}?" if like else "")
        )


def layer_name(path: str, model: Layer) -> str:
    """How figures name the layer of a model at a path: a model that is a layer alone has none."""
    return path or type(model).__name__


def subject_of(owner: str, model: Model) -> Subject:
    """The model that is given, or that of a run. ArgumentError, which names `owner`, for anything else."""
    if isinstance(model, TrainedRun):
        return Subject(model.model, model.preprocess, model.class_names, model)
    return Subject(as_model(owner, model))


def image_of(owner: str, image: Image, subject: Subject) -> Tensor:
    """One image as it goes into the model, (1, C, H, W), on its device; what is no array of floats is read as the run does it.

    A figure calls it itself, so that what is warned of is told of the user's line. Raises ShapeError for another form,
    ArgumentError for a file where no run says how to read it, and DataError for one that is no image.
    """
    found, doubts = _read(owner, image, subject)
    for doubt in doubts:
        warn(doubt, stacklevel=4)
    return as_image(owner, subject.model, found)


def images_of(owner: str, images: Images, subject: Subject) -> Tensor:
    """Several images, (N, C, H, W), else as `image_of`."""
    found, doubts = _read(owner, images, subject)
    for doubt in doubts:
        warn(doubt, stacklevel=4)
    return as_images(owner, subject.model, found)


def _read(owner: str, given: Any, subject: Subject) -> tuple[Any, list[str]]:
    """What is given as numbers for the model, and what is to be warned of."""
    check_no_labels(owner, given)
    if subject.run is None:
        one = next(iter(given), None) if isinstance(given, list | tuple) else given
        if isinstance(one, str | os.PathLike | bytes) or hasattr(one, "getexif"):
            raise ArgumentError(
                f"{owner}: image {value_text(one)} is read as a run reads it; give what gpucnn.load gives as model, or floats (C, H, W)"
            )
        return given, []
    if _has_floats(given):
        return given, []
    return subject.run.inputs(owner, given, fix="trained.as_input(image, invert=True)")


def _has_floats(given: Any) -> bool:
    """Whether it is an array, or a list of such, that goes into a model as it is."""
    if isinstance(given, list | tuple):
        return bool(given) and all(map(_has_floats, given))
    return isinstance(given, float) or getattr(getattr(given, "dtype", None), "kind", "") == "f"
