"""The confusion matrix as a picture: labels down, answers across."""

from typing import TYPE_CHECKING

import numpy as np

from gpucnn.errors import ArgumentError
from gpucnn.plot.figure import PAPER, SHARE, TEXT, StrPath, check_path, finished, in_style, new_figure, own_text
from gpucnn.text import counted, value_text
from gpucnn.training.confusion import ConfusionMatrix
from gpucnn.training.evaluate import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBERED, NAMED = 30, 100
"""The most classes whose cells have numbers, and whose names stand at the axes; of more the worst are listed."""
LISTED = 20
NAME = 16
"""Columns of a class name."""
POINTS = 72
"""Of an inch."""
SMALLEST = 4.0
"""Points of a number that can still be read."""
GAMMA = 0.5
"""Shares to this power are shown, so that few mistakes can be seen beside many right answers."""


@in_style
def confusion(result: Evaluation | ConfusionMatrix, path: StrPath | None = None) -> "Figure":
    """How often each class was answered for each label: the count in its cell, its share of the label's images as colour.

    - `result`: what `training.evaluate` gives, or its `confusion`.
    - `path`: a file to save it to, .png, .svg or .pdf.

    More than 30 classes have no counts, and those confused most often are listed beside it; more than 100 have no names at
    the axes. ArgumentError for what is no result.
    """
    matrix = result.confusion if isinstance(result, Evaluation) else result
    if not isinstance(matrix, ConfusionMatrix):
        raise ArgumentError(
            f"confusion: result must be what evaluate gives, or a ConfusionMatrix, got {value_text(result)}"
        )
    check_path(path)
    counts = matrix.counts
    size = len(counts)
    side = min(max(0.42 * size, 2.6), 7) if size <= NUMBERED else 9.5
    names = [own_text(name, NAME) for name in matrix.class_names]
    is_listed = size > NUMBERED
    figure = new_figure(side + 2 + 4 * is_listed, side + 1.4)
    axes = figure.subplots(1, 2, width_ratios=(side, 3.5)) if is_listed else [figure.subplots()]
    _draw(axes[0], counts, names, side)
    total, right = int(counts.sum()), int(counts.trace())
    axes[0].set_title(f"accuracy {right / total:.4f} ({right:,} of {total:,})" if total else "no images")
    pairs = matrix.confused(LISTED)
    if is_listed:
        _list(axes[1], counts, names, pairs)
    return finished(figure, _alt(matrix, counts, pairs[:3]), path)


def _draw(axes: "Axes", counts: np.ndarray, names: list[str], side: float) -> None:
    from matplotlib.colors import PowerNorm

    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    size = len(counts)
    image = axes.imshow(shares, SHARE, norm=PowerNorm(GAMMA, 0, 1), interpolation="nearest")
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, ticks=(0, 0.01, 0.1, 0.25, 0.5, 1))
    bar.ax.set_yticklabels(["0", "1 %", "10 %", "25 %", "50 %", "100 %"])
    bar.outline.set_visible(False)
    bar.set_label("share of the label's images")
    axes.set(xlabel="answer", ylabel="label")
    axes.spines[:].set_visible(False)
    if size <= NAMED:
        height = min(8.0, 0.85 * POINTS * side / size)
        turned = max(map(len, names)) > 3
        axes.set_xticks(range(size), names, rotation=90 if turned else 0, fontsize=height)
        axes.set_yticks(range(size), names, fontsize=height)
        axes.tick_params(length=0)
    if size > NUMBERED:
        return
    texts = [[f"{count:,}" if count else "" for count in row] for row in counts]
    # A digit is about 0.64 of its height wide.
    height = min(8.0, POINTS * side / size / (0.64 * max(max(map(len, row)) for row in texts) + 0.6))
    if height < SMALLEST:
        return
    for (row, column), share in np.ndenumerate(shares):
        colour = PAPER if share**GAMMA > 0.6 else TEXT
        if texts[row][column]:
            axes.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=height)


def _list(axes: "Axes", counts: np.ndarray, names: list[str], pairs: list[tuple[int, int]]) -> None:
    axes.axis("off")
    lines = [
        f"{names[label]} → {names[answer]}:  {counts[label, answer]:,} of {counts[label].sum():,}"
        for label, answer in pairs
    ]
    axes.set_title("confused most often" if lines else "no confusions")
    axes.text(0, 1, "\n".join(lines), va="top", transform=axes.transAxes, linespacing=1.6)


def _alt(matrix: ConfusionMatrix, counts: np.ndarray, pairs: list[tuple[int, int]]) -> str:
    names = matrix.class_names
    worst = [
        f"{names[label]} answered with {names[answer]}, {counts[label, answer]:,} of {counts[label].sum():,}"
        for label, answer in pairs
    ]
    told = f"Most often confused: {'; '.join(worst)}" if worst else "No confusions"
    return (
        f"Confusion matrix of {counted(len(counts), 'class')}, {counted(int(counts.sum()), 'image')}, {int(counts.trace()):,} "
        f"right. {told}."
    )
