"""Which of the measured images a report shows: all of a small data set would be too many, and most are alike."""

from typing import NamedTuple

import numpy as np

from gpucnn.training.samples import Samples

WORST, UNSURE = 24, 12
FEWEST = 6
"""Of the worst: where fewer are wrong, right ones follow."""
RIGHT_PER_CLASS = 12
MOST = 1_500
"""Of all images together, however they came to be chosen."""


class ChosenImages(NamedTuple):
    """Places in an evaluation's samples."""

    worst: np.ndarray
    """The mistakes of the highest loss, `WORST` at most, and after fewer than `FEWEST` those of the right ones; the highest
    first, and a NaN is the highest of all."""
    unsure: np.ndarray
    """Those whose answer has the lowest probability, the lowest first."""
    shown: np.ndarray
    """All of them, and of each cell of the confusion matrix some: what matters most first."""


def choose_images(samples: Samples) -> ChosenImages:
    """The images to show of an evaluation, by its `samples`.

    After the worst and the least certain come the mistakes, from each cell of the confusion matrix one in turn, those of the
    highest loss first, and then right answers, of each class one in turn, as the data set has them.
    """
    by_loss = samples.by_loss()
    by_doubt = np.argsort(np.where(np.isnan(samples.probability), np.inf, samples.probability), kind="stable")
    is_wrong = samples.answer != samples.label
    mistakes = by_loss[is_wrong[by_loss]]
    right = np.flatnonzero(~is_wrong)
    classes = 1 + max(samples.label.max(initial=0), samples.answer.max(initial=0))
    turn = _turn(samples.label[mistakes] * classes + samples.answer[mistakes])
    right_turn = _turn(samples.label[right])
    few = right_turn < RIGHT_PER_CLASS
    hard = by_loss[~is_wrong[by_loss]][: max(FEWEST - len(mistakes), 0)]
    worst, unsure = np.concatenate([mistakes[:WORST], hard]), by_doubt[:UNSURE]
    ordered = np.concatenate(
        [
            worst,
            unsure,
            mistakes[np.argsort(turn, kind="stable")],
            right[few][np.argsort(right_turn[few], kind="stable")],
        ]
    )
    _, first = np.unique(ordered, return_index=True)
    return ChosenImages(worst, unsure, ordered[np.sort(first)][:MOST])


def _turn(groups: np.ndarray) -> np.ndarray:
    """For each element how many of the same group come before it."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else np.zeros(0, np.int64)
    turn = np.empty(len(groups), np.int64)
    turn[order] = np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))
    return turn
