"""The tables of a report: confusions, classes, layers."""

import math
from typing import Any, NamedTuple

from gpucnn.training.confusion import ConfusionMatrix

MOST_CLASSES = 128
"""Of a matrix that can still be read; of more the most frequent confusions are listed."""
FEW_CLASSES, FEW_PAIRS, MANY_PAIRS = 20, 10, 50
LONG = 3
"""Letters of a class name above which the names above columns stand upright."""


class Cell(NamedTuple):
    """How often a label was answered with a class."""

    number: int
    is_right: bool = False
    level: int = 0
    """From 0 to 100: how strong its colour is."""
    title: str = ""


class MatrixRow(NamedTuple):
    """The images of a class, by what was answered."""

    name: str
    cells: tuple[Cell, ...]


class Pair(NamedTuple):
    """A confusion."""

    label: str
    answer: str
    cell: str
    number: int
    share: float
    level: int


class Confusions(NamedTuple):
    """A confusion matrix, or, of many classes, its largest confusions alone."""

    names: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    pairs: tuple[Pair, ...]
    is_long: bool
    is_wrong: bool
    """Whether there is a confusion at all."""


class ClassRow(NamedTuple):
    """How well a class is told from the others, and each share as a whole number of percent."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int
    precision_level: int
    recall_level: int
    f1_level: int


def confusions(matrix: ConfusionMatrix) -> Confusions:
    """The matrix as a report shows it."""
    counts, names = matrix.counts, matrix.class_names
    support, has_matrix = counts.sum(axis=1), len(names) <= MOST_CLASSES
    rows = tuple(
        MatrixRow(name, tuple(_cell(names, place, answer, int(count), int(support[place])) for answer, count in enumerate(row)))
        for place, (name, row) in enumerate(zip(names, counts, strict=True))
    )  # fmt: skip
    most = 0 if len(names) <= FEW_CLASSES else FEW_PAIRS if has_matrix else MANY_PAIRS
    pairs = []
    for label, answer in matrix.confused(most):
        count = int(counts[label, answer])
        share = float(count / support[label])
        pairs.append(Pair(names[label], names[answer], f"{label},{answer}", count, share, round(100 * share)))
    is_long = max(map(len, names)) > LONG
    return Confusions(names, rows if has_matrix else (), tuple(pairs), is_long, bool(counts.trace() < counts.sum()))


def class_rows(matrix: ConfusionMatrix) -> list[ClassRow]:
    """Every class."""
    scores, support = matrix.scores(), matrix.support
    shares = zip(scores.precision.tolist(), scores.recall.tolist(), scores.f1.tolist(), strict=True)
    return [
        ClassRow(name, *three, int(images), *(round(100 * share) for share in three))
        for name, three, images in zip(matrix.class_names, shares, support, strict=True)
    ]


def _cell(names: tuple[str, ...], label: int, answer: int, count: int, of: int) -> Cell:
    if not count:
        return Cell(0)
    share, is_right = count / of, label == answer
    what = f"{names[label]} answered {names[answer]}"
    title = f"{'right: ' if is_right else ''}{what}: {count:,} of {of:,}, {100 * share:.1f} %"
    return Cell(count, is_right, round(100 * (share if is_right else math.sqrt(share))), title)


def layer_rows(costs: Any) -> list[dict[str, Any]]:
    """What is told of each of a model's operations, see `layers.costs`."""
    return [
        {
            "path": cost.path,
            "kind": cost.kind,
            "shape": " x ".join(map(str, cost.output_shape[1:])),
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
        }
        for cost in costs
    ]
