"""What figures are given: a model or that of a run, a layer of it, an image in any of its forms; and how images are shown."""

import os
from typing import NamedTuple, TypeAlias

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, to_host
from gpucnn.data import Dataset, Preprocess, Subset, read_image
from gpucnn.data.image_file import AUTO
from gpucnn.data.normalization import as_normalization
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import as_image
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model
from gpucnn.plot.figure import own_text
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import value_text

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
    return Subject(as_model(owner, model))


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
    normalization = None if preprocess is None else as_normalization(preprocess.mean, preprocess.std)
    if normalization is not None and len(normalization[0]) == len(found):
        mean, std = np.reshape(normalization, (2, -1, 1, 1))
        found = found * std + mean
    elif preprocess is None and found.size and not (found.min() >= -SLACK and found.max() <= 1 + SLACK):
        low, high = found.min(), found.max()
        found = (found - low) / max(high - low, np.finfo(np.float64).tiny)
    found = found.clip(0, 1)
    return found.transpose(1, 2, 0) if len(found) == 3 else found.mean(axis=0)
