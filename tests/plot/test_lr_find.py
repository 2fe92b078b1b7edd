"""The picture of the range test has its losses, and its rates."""

import pytest

from gpucnn import plot
from gpucnn.errors import ArgumentError
from gpucnn.training.find_lr import _examined
from tests.training.test_find_lr import course

pytest.importorskip("matplotlib", reason="figures need the extra plot")


def test_it_has_the_losses_and_the_rates() -> None:
    found = _examined(*course(0.05), 200)
    figure = plot.lr_find(found)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == [
        "loss of a batch", "smoothed", f"steepest at {found.steepest:.1e}", f"minimum at {found.minimum:.1e}",
        f"suggested: {found.lr:g}",
    ]  # fmt: skip
    assert axes.lines[0].get_xydata().tolist() == [[*pair] for pair in zip(found.rates, found.losses, strict=True)]
    assert tuple(axes.lines[1].get_ydata()) == found.smoothed
    assert axes.lines[2].get_xdata()[0] == found.steepest
    assert axes.lines[3].get_ydata()[0] == min(found.smoothed)
    assert axes.lines[4].get_xdata()[0] == found.lr
    assert axes.get_xscale() == "log"
    assert figure.alt == f"Training loss by learning rate: {found.rates_text}; suggested is {found.lr:g}."
    with pytest.raises(ArgumentError, match=r"^lr_find: expected what training.find_lr gives, got 0.1$"):
        plot.lr_find(0.1)  # type: ignore[arg-type]
