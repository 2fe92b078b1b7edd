"""Loss and correct answers of a batch, added to what was counted before, in place."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch
from gpucnn.kernels.ways import Way, choose

KERNEL = Kernel(
    Path(__file__).with_suffix(".cu"),
    "scores",
    "const T* logits, const int* labels = null, const long long* wide_labels = null, const T* loss, T* loss_sum, "
    "long long* correct, int images, int classes, int lanes",
)
WARP = 32


class Counts(NamedTuple):
    """What was counted so far: the sum of the losses, a float (), and how many answers were right, int64 ()."""

    loss_sum: Array
    correct: Array


def count_scores(counts: Counts, loss: Array, logits: Array, labels: Array) -> None:
    """Add the mean `loss` () of a batch, times its images or positions, and its correct answers to `counts`.

    `logits` are (N, classes) or (N, classes, d1, ...), `labels` integers (N,) or (N, d1, ...) on their device. The answer is
    the first of the largest logits, or of those that are NaN, as with argmax.
    """
    task = counts, loss, logits
    SCORES[choose(SCORES, logits, loss, task=task, suits=SUITS)](counts, loss, logits, labels)


def _on_a_gpu(counts: Counts, loss: Array, logits: Array, labels: Array) -> None:
    images, classes = logits.shape
    narrow = labels.dtype == np.int32
    labels = contiguous(labels if narrow else labels.astype(np.int64, copy=False))
    pair = (labels, None) if narrow else (None, labels)
    lanes = WARP if classes > WARP else 1
    launch(KERNEL, max(images * lanes, 1), contiguous(logits), *pair, loss, *counts, images, classes, lanes)


def _suits_a_gpu(task: tuple[Counts, Array, Array]) -> bool:
    """Whether there is one answer an image, and one dtype."""
    counts, loss, logits = task
    return bool(logits.ndim == 2 and logits.shape[1] > 0 and loss.dtype == logits.dtype == counts.loss_sum.dtype)


def _plainly(counts: Counts, loss: Array, logits: Array, labels: Array) -> None:
    answers = logits.argmax(axis=1)
    loss_sum, correct = counts
    loss_sum += loss * float(answers.size)
    correct += (answers == labels).sum()


SCORES = {Way.CUDA: _on_a_gpu, Way.PLAIN: _plainly}
SUITS = {Way.CUDA: _suits_a_gpu}
