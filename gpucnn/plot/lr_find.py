"""The picture of a learning-rate range test."""

from typing import TYPE_CHECKING

from gpucnn.errors import ArgumentError
from gpucnn.plot.figure import LINES, StrPath, check_path, finished, in_style, new_figure
from gpucnn.text import value_text
from gpucnn.training.find_lr import RangeTest

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@in_style
def lr_find(found: RangeTest, path: StrPath | None = None) -> "Figure":
    """Losses by learning rate, and where they fall fastest and are lowest.

    - `found`: what `training.find_lr` gives.
    - `path`: a file to save it to, .png, .svg or .pdf.

    ArgumentError for what is no range test.
    """
    if not isinstance(found, RangeTest):
        raise ArgumentError(f"lr_find: expected what training.find_lr gives, got {value_text(found)}")
    check_path(path)
    figure = new_figure(7, 4)
    axes = figure.subplots()
    axes.semilogx(found.rates, found.losses, color="#BBBBBB", linewidth=1, label="loss of a batch")
    axes.semilogx(found.rates, found.smoothed, color=LINES[0][0], label="smoothed")
    for place, rate, name in ((2, found.steepest, "steepest"), (4, found.minimum, "minimum")):
        colour, marker = LINES[place]
        loss = found.smoothed[found.rates.index(rate)]
        axes.plot([rate], [loss], marker, color=colour, markersize=9, linestyle="None", label=f"{name} at {rate:.1e}")
    axes.axvline(found.lr, color="#767676", linestyle=(0, (1, 2)), label=f"suggested: {found.lr:g}")
    low, high = min(found.smoothed), max(found.smoothed)
    axes.set_ylim(low - 0.1 * (high - low), high + 0.2 * (high - low))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="learning rate", ylabel="training loss")
    axes.grid(True)
    axes.legend()
    return finished(figure, f"Training loss by learning rate: {found.rates_text}; suggested is {found.lr:g}.", path)
