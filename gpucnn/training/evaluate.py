"""A model's loss, accuracy and confusions on a data set."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from gpucnn import functions as F
from gpucnn.autograd import Tensor, no_grad
from gpucnn.backend import Array, Device, beside, to_device, to_host
from gpucnn.backend.group import Group, SingleProcess, as_group
from gpucnn.data import DataLoader, Dataset
from gpucnn.data.dataset import class_names_of
from gpucnn.data.loader import check_loader
from gpucnn.errors import ArgumentError
from gpucnn.html_fragments import Html, html_table, text_instead, titled
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model
from gpucnn.layers.forward_state import evaluating
from gpucnn.layers.one_output import one_output
from gpucnn.training.confusion import ConfusionMatrix
from gpucnn.training.metrics import Metrics, in_top_k
from gpucnn.training.out_of_memory import in_parts
from gpucnn.training.samples import Sample as Sample
from gpucnn.training.samples import Samples

TOP = 5
Z_95 = 1.959963984540054
"""So many standard deviations to either side of its mean a normal distribution has 95 % of its mass."""


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
    samples: Samples
    """What the model made of each image."""
    dataset: Dataset | None = field(compare=False)
    """What was measured: `samples.index` has places in it. None where the loader has none, and in what was pickled."""

    @property
    def accuracy(self) -> float:
        """correct / total."""
        return self.correct / self.total

    @property
    def top_5_accuracy(self) -> float:
        """top_5_correct / total."""
        return self.top_5_correct / self.total

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Where the accuracy on all such images is, with a confidence of 95 %: (lowest, highest), both within [0, 1].

        Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
        """
        share, doubt = self.accuracy, Z_95**2 / self.total
        centre = (share + doubt / 2) / (1 + doubt)
        radius = Z_95 / (1 + doubt) * math.sqrt(share * (1 - share) / self.total + doubt / (4 * self.total))
        # At the ends one limit is exact, which rounding need not know.
        low = 0.0 if self.correct == 0 else centre - radius
        return low, 1.0 if self.correct == self.total else centre + radius

    def __getstate__(self) -> list[object]:
        """As of a dataclass with slots, but without the data set, which may be large, or hold what cannot be pickled."""
        return [None if one.name == "dataset" else getattr(self, one.name) for one in fields(self)]

    def __repr__(self) -> str:
        right = f"accuracy {self.accuracy:.4f} ({self.correct:,} of {self.total:,})"
        return f"Evaluation(loss {self.loss:.4f}, {right}, top-5 accuracy {self.top_5_accuracy:.4f})"

    @text_instead
    def _repr_html_(self) -> Html | None:
        """The figures, and those of each class, of more than 20 classes the worst."""
        header, rows, _ = self.confusion.class_rows()
        return titled(repr(self), html_table(header, rows, "lrrrr"))


def evaluate(
    model: Layer,
    loader: DataLoader,
    class_names: Sequence[str] | None = None,
    worst: int = 0,
    group: Group | None = None,
) -> Evaluation:
    """What `model` answers over the first epoch of `loader`, in evaluation mode; every layer's mode is put back.

    - `class_names`: for the confusion matrix; by default those of the data set, if they are as many as the model's classes, or else
      the classes' numbers.
    - `worst`: how many of the images with the highest loss are told; a NaN counts as the highest of all.
    - `group`: None, or processes that call this alike, share the batches, and all get the same, to the bit.

    A batch that does not fit into a GPU's memory is computed in parts; OutOfMemoryError if a single image does not.
    Raises ArgumentError if `class_names` are not as many as the model's classes, for what is no model and no group, and where several processes share
    what is no DataLoader; ShapeError for one
    that gives several outputs.
    """
    model = as_model("evaluate", model)
    group = SingleProcess() if group is None else as_group(group, "evaluate")
    check_loader(loader, "evaluate", is_shared=group.size > 1)
    metrics = Metrics()
    confusion: ConfusionMatrix | None = None
    top_5: Array = 0
    samples = Samples(loader.indices(0) if hasattr(loader, "indices") else None)
    device = device_of_model(model)
    with evaluating(model), no_grad():
        for logits, labels in _answers(model, loader, device, group):
            metrics.update(F.cross_entropy(logits, labels), logits, labels)
            there = _own(to_device(labels, logits.device), labels)
            confusion = confusion or ConfusionMatrix(_names(class_names, logits.shape[1], loader))
            with beside(logits.array):
                answers = logits.array.argmax(axis=1)
                confusion.update(answers, there)
                top_5 = top_5 + in_top_k(logits.array, there, TOP).sum()
                samples.add(logits.array, there, answers)
    assert confusion is not None, "a loader has at least one batch"
    scores = metrics.scores()
    return Evaluation(
        scores.loss, scores.correct, scores.total, int(top_5), confusion, samples.worst(worst) if worst else (), samples,
        getattr(loader, "dataset", None),
    )  # fmt: skip


def _answers(model: Layer, loader: DataLoader, device: Device, group: Group) -> Iterator[tuple[Tensor, Array]]:
    """Logits and labels of each batch in turn; of several processes each computes every so many-th, and tells the others."""
    if group.size == 1:
        own = loader.batches(0)
    else:
        own = loader.batches(0, group.rank, group.size) if group.rank < len(loader) else iter(())
    computed = (
        (in_parts(lambda part: one_output("evaluate", model(part)), images, device), labels) for images, labels in own
    )
    if group.size == 1:
        yield from ((Tensor(logits), labels) for logits, labels in computed)
        return
    for first in range(0, len(loader), group.size):
        pair = next(computed, None)
        told = group.gather(None if pair is None else tuple(map(to_host, pair)))
        for pair in told[: len(loader) - first]:
            assert pair is not None
            yield Tensor(to_device(pair[0], device)), pair[1]


def _own(there: Array, labels: Array) -> Array:
    """Labels that a loader cannot write over, which may make each batch in the same memory."""
    if there is not labels:
        return there
    with beside(there):  # where a copy stays
        return there.copy()


def device_of_model(model: Layer) -> Device:
    """Where the parameters of `model` are; the CPU, of one that has none."""
    return next((parameter.device for parameter in model.parameters()), Device())


def _names(class_names: Sequence[str] | None, classes: int, loader: DataLoader) -> Sequence[str]:
    if class_names is None:
        known = class_names_of(getattr(loader, "dataset", None))
        return known if known is not None and len(known) == classes else [str(label) for label in range(classes)]
    if len(class_names) != classes:
        raise ArgumentError(f"evaluate: {len(class_names)} class_names, but the model has {classes} outputs")
    return class_names
