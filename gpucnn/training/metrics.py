"""Loss and accuracy over many batches."""

from typing import NamedTuple

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, device_of, to_device


class Scores(NamedTuple):
    """What `Metrics` found: the mean loss, and how many of all images were classified right."""

    loss: float
    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """correct / total."""
        return self.correct / self.total if self.total else float("nan")


class Metrics:
    """Adds up loss and correct answers batch by batch, on the model's device; only `scores` waits for it."""

    def __init__(self) -> None:
        self.total = 0
        self._loss_sum: Array = 0.0
        self._correct: Array = 0

    def update(self, loss: Tensor, logits: Tensor, labels: np.ndarray) -> None:
        """Count one batch: its mean loss (), its logits (N, classes) and labels (N,)."""
        answers = logits.data.argmax(axis=1)
        self.total += len(labels)
        self._loss_sum = self._loss_sum + loss.data * float(len(labels))
        self._correct = self._correct + (answers == to_device(labels, device_of(answers))).sum()

    def scores(self) -> Scores:
        """The figures over everything counted so far."""
        loss = float(self._loss_sum) / self.total if self.total else float("nan")
        return Scores(loss, int(self._correct), self.total)
