"""What a model made of each image of a data set: label, answer, its probability, and the loss."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor, no_grad
from gpucnn.backend import Array, beside, to_host, xp_of
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text

LOGITS_BYTES = 32 << 20
"""So many bytes of logits wait, at most, until somebody asks for what they say of each image."""


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


class _Columns(NamedTuple):
    """Of some images, as arrays (N,) on one device."""

    loss: Array
    label: Array
    answer: Array
    log_probability: Array
    """Of the answer."""


class Samples:
    """Each image that was measured, as arrays (N,) on the host, in the data set's order. `samples[place]` is one of them.

    - `index`: the images' places in the data set: int64, never falling. `label`, `answer`: int64.
    - `probability`: that of the answer. `loss`: the cross-entropy. Both in the model's dtype.

    They are computed when they are first asked for: until then the logits of each batch stay where the model gave them.
    """

    def __init__(self, indices: np.ndarray | None) -> None:
        """`indices` are the places in the data set of the images to come; None if they come in its order."""
        self._indices, self._waiting, self._bytes = indices, list[tuple[Array, Array, Array]](), 0
        self._computed: list[_Columns] = []

    def add(self, logits: Array, labels: Array, answers: Array) -> None:
        """Note the next batch: logits (N, classes), labels and answers (N,), on one device. Waits for nothing."""
        self._waiting.append((logits, labels, answers))
        self._bytes += logits.nbytes
        if self._bytes > LOGITS_BYTES:
            self._compute()

    def _compute(self) -> None:
        """Put four numbers an image in the place of the logits that wait."""
        with no_grad():
            self._computed += [_columns(*batch) for batch in self._waiting]
        self._waiting, self._bytes = [], 0

    @cached_property
    def _columns(self) -> tuple[np.ndarray, _Columns]:
        """The index, and the rest on the host."""
        self._compute()
        joined = _Columns(
            *(np.concatenate([to_host(part) for part in parts]) for parts in zip(*self._computed, strict=True))
        )
        self._computed = []
        index = np.arange(len(joined.label)) if self._indices is None else self._indices
        order = np.argsort(index, kind="stable")
        return index[order], _Columns(*(column[order] for column in joined))

    @property
    def index(self) -> np.ndarray:
        """The images' places in the data set."""
        return self._columns[0]

    @property
    def label(self) -> np.ndarray:
        """Their classes."""
        label: np.ndarray = self._columns[1].label.astype(np.int64)
        return label

    @property
    def answer(self) -> np.ndarray:
        """The class with the highest score."""
        answer: np.ndarray = self._columns[1].answer.astype(np.int64)
        return answer

    @property
    def probability(self) -> np.ndarray:
        """That of the answer."""
        probability: np.ndarray = np.exp(self._columns[1].log_probability)
        return probability

    @property
    def loss(self) -> np.ndarray:
        """The cross-entropy of label and logits."""
        loss: np.ndarray = self._columns[1].loss
        return loss

    def by_loss(self) -> np.ndarray:
        """int64 (N,): where the images stand among these, the one with the highest loss first; a NaN is the highest of all."""
        return np.argsort(-np.where(np.isnan(self.loss), np.inf, self.loss), kind="stable")

    def worst(self, count: int) -> tuple[Sample, ...]:
        """The images with the highest loss, the highest first; a NaN counts as the highest of all."""
        return tuple(self[int(place)] for place in self.by_loss()[:count])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, place: int) -> Sample:
        if not isinstance(place, int | np.integer):
            raise ArgumentError(
                f"Samples: expected the place of one image, e.g. samples[0], got {value_text(place)}; of several the columns have "
                f"the numbers, e.g. samples.label[:3]"
            )
        index, columns = self._columns
        probability = float(np.exp(columns.log_probability[place]))
        return Sample(int(index[place]), int(columns.label[place]), int(columns.answer[place]), probability,
                      float(columns.loss[place]))  # fmt: skip

    def __repr__(self) -> str:
        return f"Samples({len(self):,} images)"

    def __getstate__(self) -> dict[str, object]:
        self._columns  # noqa: B018  # what is copied or pickled is on the host, and without logits
        return vars(self)


def _columns(logits: Array, labels: Array, answers: Array) -> _Columns:
    with beside(logits):
        rows = xp_of(logits).arange(len(labels))
        log_probabilities = F.log_softmax(Tensor(logits)).array
        return _Columns(0 - log_probabilities[rows, labels], labels, answers, log_probabilities[rows, answers])
