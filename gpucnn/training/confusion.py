"""The confusion matrix, and precision, recall and F1 of each class, which follow from it."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, to_host
from gpucnn.checks import as_count, as_items, labels_fix
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.html_fragments import BLUE, ORANGE, Html, Shaded, html_image, html_table, text_instead, titled
from gpucnn.text import shape_text, value_text
from gpucnn.text_table import columns, shortened, text_table

NAME_WIDTH = 20
LISTED = 20
"""Confusions, and classes, that are listed where there are too many for all."""
MOST_IN_PICTURE = 1000
"""Classes whose confusions a notebook shows as a picture, of a pixel for each pair."""


class ClassScores(NamedTuple):
    """How well the classes are told apart; each is an array (classes,) of float64.

    0 / 0 is 0: the precision of a class that was never answered, the recall of a class without images.
    """

    precision: np.ndarray
    """Of the images answered with the class, the share that belong to it."""
    recall: np.ndarray
    """Of the images of the class, the share answered with it."""
    f1: np.ndarray
    """The harmonic mean of both; 0 where both are 0."""


class MacroScores(NamedTuple):
    """Means of `ClassScores` over the classes that occur, as label or answer; NaN if no class does."""

    precision: float
    recall: float
    f1: float


MOST_CLASSES = 30_000
"""Their matrix takes 7.2 GB."""


class ConfusionMatrix:
    """How often each class was answered for each label, counted batch by batch.

    - `class_names`: of the classes 0, 1, ... in their order.

    Batches are kept on their device until `counts` is asked for, which alone waits for it. Raises ArgumentError without a
    class.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        names = as_items(class_names)
        if names is None:
            raise ArgumentError(f"ConfusionMatrix: class_names must be a list of names, got {value_text(class_names)}")
        self.class_names = tuple(map(str, names))
        if not self.class_names:
            raise ArgumentError("ConfusionMatrix: class_names must have at least one class, got none")
        size = len(self.class_names)
        if size > MOST_CLASSES:
            raise ArgumentError(f"ConfusionMatrix: at most {MOST_CLASSES:,} classes have a matrix, got {size:,}")
        self._counts = np.zeros((size, size), np.int64)
        self._waiting: list[tuple[Array, Array]] = []

    def __repr__(self) -> str:
        counts = self.counts
        return f"ConfusionMatrix({len(counts):,} classes, {counts.diagonal().sum():,} of {counts.sum():,} images right)"

    def __str__(self) -> str:
        """What `print` shows: the matrix."""
        return "\n".join(self.matrix_lines())

    @text_instead
    def _repr_html_(self) -> Html | None:
        """The matrix, a colour behind each number; of more than 20 classes a picture of it, and the largest confusions."""
        counts = self.counts
        shares = np.sqrt(_ratio(counts.T, counts.sum(axis=1)).T)  # by the root, so that a few wrong answers are seen
        if len(counts) <= LISTED:
            return titled(repr(self), self._heat_table(counts, shares))
        parts = [html_table(*self._confusion_rows(counts)[:2], "llrr")]
        if len(counts) <= MOST_IN_PICTURE:
            alt = "the confusion matrix: labels from top to bottom, answers from left to right, the lighter the more often"
            parts.insert(0, html_image(shares, alt, 400 // len(counts) * len(counts) or len(counts)))
        return titled(repr(self), *parts)

    def _heat_table(self, counts: np.ndarray, shares: np.ndarray) -> Html:
        names = [shortened(name, NAME_WIDTH) for name in self.class_names]
        rows = [
            (name, *(
                Shaded(f"{count:,}", share, BLUE if label == answer else ORANGE) if count else ""
                for answer, (count, share) in enumerate(zip(counts[label], shares[label], strict=True))
            ))
            for label, name in enumerate(names)
        ]  # fmt: skip
        return html_table(("label \\ answer", *names), rows, "l" + "r" * len(names))

    def update(self, answers: Array, labels: Array) -> None:
        """Count a batch: answers (N,) and labels (N,), integers below the number of classes.

        Raises ShapeError if they do not go together. An integer out of range is told by `counts`, as ArgumentError.
        """
        if answers.ndim != 1 or answers.shape != labels.shape:
            fix = labels_fix(labels.shape, len(answers) if answers.ndim else None)
            if answers.ndim == 2:
                fix = f"answers are classes: take logits.argmax(axis=1){f'; of the labels, {fix}' if fix else ''}"
            raise ShapeError(
                f"ConfusionMatrix: expected answers (N,) and labels (N,), got {shape_text(answers.shape)} and "
                f"{shape_text(labels.shape)}{f'; {fix}' if fix else ''}"
            )
        self._waiting.append((answers, labels))

    @property
    def counts(self) -> np.ndarray:
        """int64 (classes, classes): in row i and column j the images with label i that were answered with j."""
        size = len(self.class_names)
        while self._waiting:
            answers, labels = (to_host(array).astype(np.int64) for array in self._waiting[0])
            for what, values in (("answer", answers), ("label", labels)):
                if values.size and not 0 <= values.min() <= values.max() < size:
                    wrong = int(values.min() if values.min() < 0 else values.max())
                    raise ArgumentError(
                        f"ConfusionMatrix: {what} {wrong}, expected 0 to {size - 1}, as class_names has"
                    )
            self._counts += np.bincount(labels * size + answers, minlength=size * size).reshape(size, size)
            del self._waiting[0]
        return self._counts.copy()

    @property
    def support(self) -> np.ndarray:
        """int64 (classes,): the images of each class."""
        counts: np.ndarray = self.counts.sum(axis=1)
        return counts

    @property
    def accuracy(self) -> float:
        """The share of right answers; NaN before the first."""
        counts = self.counts
        return float(counts.trace() / counts.sum()) if counts.any() else float("nan")

    def scores(self) -> ClassScores:
        """Precision, recall and F1 of each class."""
        counts = self.counts
        right, answered, support = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
        return ClassScores(_ratio(right, answered), _ratio(right, support), _ratio(2 * right, answered + support))

    def macro(self) -> MacroScores:
        """The means over the classes; each counts the same, whatever its support."""
        counts, scores = self.counts, self.scores()
        there = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
        return MacroScores(*(float(values[there].mean()) if there.any() else float("nan") for values in scores))

    def confused(self, count: int) -> list[tuple[int, int]]:
        """(label, answer) of those that were confused, the most often first: `count` at most. ArgumentError for one below 0."""
        most, wrong = as_count(count, "ConfusionMatrix.confused: count", 0), self.counts
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[: min(most, np.count_nonzero(wrong))]
        return [divmod(int(place), len(wrong)) for place in order]

    def class_lines(self, all_classes: bool = False) -> list[str]:
        """A table with one line per class, and the macro averages.

        Of more than 20 classes it has those of the lowest F1, the lowest first, unless `all_classes`.
        """
        header, rows, left_out = self.class_rows(all_classes)
        lines = text_table(header, rows, "lrrrr")
        note = [f"({left_out} more classes with an F1 no lower)"] if left_out else []
        return [*lines[:-1], *note, lines[1], lines[-1]]

    def class_rows(self, all_classes: bool = False) -> "tuple[Sequence[str], list[Sequence[str]], int]":
        """The header of the table that `class_lines` prints, its rows, macro averages last, and how many classes it leaves out."""
        scores, support = self.scores(), self.support
        order = np.arange(len(support))
        left_out = 0 if all_classes else max(len(order) - LISTED, 0)
        if left_out:
            order = np.argsort(scores.f1, kind="stable")[:LISTED]
        rows: list[Sequence[str]] = [
            (shortened(self.class_names[place], NAME_WIDTH), *_decimals(scores.precision[place], scores.recall[place],
             scores.f1[place]), f"{support[place]:,}")
            for place in order
        ]  # fmt: skip
        macro = self.macro()
        mean = ("macro average", *_decimals(macro.precision, macro.recall, macro.f1), f"{support.sum():,}")
        return ("class", "precision", "recall", "F1", "images"), [*rows, mean], left_out

    def matrix_lines(self, width: int = 80) -> list[str]:
        """The matrix, one row per label and one column per answer, zeros as dots; if wider than `width`, the largest confusions."""
        counts = self.counts
        names = [shortened(name, NAME_WIDTH) for name in self.class_names]
        cells = [[f"{count:,}" if count else "." for count in row] for row in counts]
        rows = [(name, *row) for name, row in zip(names, cells, strict=True)]
        lines = text_table(("label \\ answer", *names), rows, "l" + "r" * len(names))
        if columns(lines[1]) <= width:
            return lines
        return self._confusion_lines(counts)

    def csv(self) -> str:
        """The matrix as CSV: a header of the answers' names, and one row per label with its name first."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["label \\ answer", *self.class_names])
        writer.writerows([name, *row] for name, row in zip(self.class_names, self.counts.tolist(), strict=True))
        return text.getvalue()

    def _confusion_lines(self, counts: np.ndarray) -> list[str]:
        header, rows, rest = self._confusion_rows(counts)
        if not rows:
            return ["no confusions"]
        note = [f"({rest:,} more pairs, none more often)"] if rest else []
        return [*text_table(header, rows, "llrr"), *note]

    def _confusion_rows(self, counts: np.ndarray) -> tuple[Sequence[str], list[Sequence[str]], int]:
        """Header and rows of the largest confusions, the largest first, and how many pairs more there are."""
        names = [shortened(name, NAME_WIDTH) for name in self.class_names]
        rows: list[Sequence[str]] = [
            (names[label], names[answer], f"{counts[label, answer]:,}", f"{counts[label].sum():,}")
            for label, answer in self.confused(LISTED)
        ]
        pairs = np.count_nonzero(counts) - np.count_nonzero(counts.diagonal())
        return ("label", "answer", "times", "of"), rows, int(pairs) - len(rows)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio = np.zeros(part.shape)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _decimals(*numbers: float) -> tuple[str, ...]:
    return tuple(f"{number:.4f}" for number in numbers)
