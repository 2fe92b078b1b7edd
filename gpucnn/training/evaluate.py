"""A model's loss, accuracy and confusions on a data set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor, no_grad
from gpucnn.backend import Array, Device, beside, to_device, to_host, xp_of
from gpucnn.data import DataLoader
from gpucnn.data.loader import check_loader
from gpucnn.errors import ArgumentError
from gpucnn.html_fragments import Html, html_table, text_instead, titled
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating
from gpucnn.training.confusion import ConfusionMatrix
from gpucnn.training.metrics import Metrics, in_top_k
from gpucnn.training.out_of_memory import in_parts

TOP = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """What a model made of one image of a data set."""

    index: int
    """The image's place in the data set."""
    label: int
    answer: int
    probability: float
    """Of the answer."""
    loss: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one pass over a data set found."""

    loss: float
    """The mean over all images."""
    correct: int
    """How many images were classified right."""
    total: int
    top_5_correct: int
    """How many labels were among the five classes with the highest scores, see `in_top_k`."""
    confusion: ConfusionMatrix
    worst: tuple[Sample, ...]
    """The images with the highest loss, the highest first, as many as were asked for."""

    @property
    def accuracy(self) -> float:
        """correct / total."""
        return self.correct / self.total

    @property
    def top_5_accuracy(self) -> float:
        """top_5_correct / total."""
        return self.top_5_correct / self.total

    def __repr__(self) -> str:
        right = f"accuracy {self.accuracy:.4f} ({self.correct:,} of {self.total:,})"
        return f"Evaluation(loss {self.loss:.4f}, {right}, top-5 accuracy {self.top_5_accuracy:.4f})"

    @text_instead
    def _repr_html_(self) -> Html | None:
        """The figures, and those of each class, of more than 20 classes the worst."""
        header, rows, _ = self.confusion.class_rows()
        return titled(repr(self), html_table(header, rows, "lrrrr"))


def evaluate(
    model: Layer, loader: DataLoader, class_names: Sequence[str] | None = None, worst: int = 0
) -> Evaluation:  # fmt: skip
    """What `model` answers over the first epoch of `loader`, in evaluation mode; every layer's mode is put back.

    - `class_names`: for the confusion matrix; by default the classes' numbers.
    - `worst`: how many of the images with the highest loss are told; a NaN counts as the highest of all.

    A batch that does not fit into a GPU's memory is computed in parts; OutOfMemoryError if a single image does not.
    Raises ArgumentError if `class_names` are not as many as the model's classes.
    """
    check_loader(loader, "evaluate")
    metrics = Metrics()
    confusion: ConfusionMatrix | None = None
    top_5: Array = 0
    samples: list[tuple[Array, ...]] = []
    device = device_of_model(model)
    with evaluating(model), no_grad():
        for images, labels in loader.batches(0):
            logits = Tensor(in_parts(model, images, device))
            metrics.update(F.cross_entropy(logits, labels), logits, labels)
            there = to_device(labels, logits.device)
            confusion = confusion or ConfusionMatrix(_names(class_names, logits.shape[1]))
            with beside(logits.array):
                answers = logits.array.argmax(axis=1)
                confusion.update(answers, there)
                top_5 = top_5 + in_top_k(logits.array, there, TOP).sum()
                if worst:
                    samples.append(_samples(logits, there, answers))
    assert confusion is not None, "a loader has at least one batch"
    scores = metrics.scores()
    return Evaluation(
        scores.loss, scores.correct, scores.total, int(top_5), confusion, _worst(samples, loader, worst) if worst else ()
    )  # fmt: skip


def device_of_model(model: Layer) -> Device:
    """Where the parameters of `model` are; the CPU, of one that has none."""
    return next((parameter.device for parameter in model.parameters()), Device())


def _names(class_names: Sequence[str] | None, classes: int) -> Sequence[str]:
    if class_names is None:
        return [str(label) for label in range(classes)]
    if len(class_names) != classes:
        raise ArgumentError(f"evaluate: {len(class_names)} class_names, but the model has {classes} outputs")
    return class_names


def _samples(logits: Tensor, labels: Array, answers: Array) -> tuple[Array, ...]:
    """(loss, label, answer, probability of the answer) of each image, as arrays (N,) on the device."""
    rows = xp_of(labels).arange(len(labels))
    log_probabilities = F.log_softmax(logits).array
    return 0 - log_probabilities[rows, labels], labels, answers, log_probabilities[rows, answers]


def _worst(samples: Sequence[tuple[Array, ...]], loader: DataLoader, count: int) -> tuple[Sample, ...]:
    losses, labels, answers, log_probabilities = (
        np.concatenate([to_host(array) for array in arrays]) for arrays in zip(*samples, strict=True)
    )
    indices = np.concatenate([loader.indices(0, batch) for batch in range(len(loader))])
    order = np.argsort(-np.where(np.isnan(losses), np.inf, losses), kind="stable")[:count]
    return tuple(
        Sample(int(indices[place]), int(labels[place]), int(answers[place]), float(np.exp(log_probabilities[place])),
               float(losses[place]))
        for place in order
    )  # fmt: skip
