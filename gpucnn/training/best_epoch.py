"""Which of two epochs is the better one: the one measure of the weights that are kept as the best, and of early stopping."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gpucnn.checks import is_finite

IN_WORDS = {"val": "validation", "test": "test", "train": "training"}
"""The images that an epoch can be judged by, as entries of the history begin, the first that there are."""

ON_TEST = "the best epoch was chosen on the test images, which flatters it; --validation 0.2 keeps others for that"
"""What to say of an epoch that was judged by "test"."""


def judged_by(row: Mapping[str, float]) -> str:
    """By which images the epoch of a `row` of the history is judged: "val", "test" or "train"."""
    return next((part for part in IN_WORDS if f"{part}_accuracy" in row or f"{part}_loss" in row), "train")


def is_better(row: Mapping[str, float], other: Mapping[str, float], least_change: float = 0.0) -> bool:
    """Whether an epoch is better than an `other` one: of higher accuracy, or of equal accuracy and lower loss.

    By more than `least_change`. Where the two are judged by different images, nobody can tell: the later one, `row`, then
    counts as better.
    """
    part = judged_by(row)
    if part != judged_by(other):
        return True
    accuracy, than = (one.get(f"{part}_accuracy", 0.0) for one in (row, other))
    if accuracy != than:
        return accuracy > than + least_change
    loss, than = (one.get(f"{part}_loss", math.inf) for one in (row, other))
    return loss < than - least_change


def best_epoch(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The number, from 1, of the best row of a history, which may come from a file; None if its epochs were not measured."""
    best, best_scores = 0, dict[str, float]()
    for number, row in enumerate(rows, 1):
        scores = {name: row[name] for name in row if name.endswith(("accuracy", "loss")) and is_finite(row[name])}
        if judged_by(scores) == "train":
            return None
        if not best or is_better(scores, best_scores):
            best, best_scores = number, scores
    return best or None
