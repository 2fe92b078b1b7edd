"""The reliability diagram: bars and points are the shares in bins."""

import numpy as np
import pytest

from gpucnn import plot
from gpucnn.errors import ArgumentError
from gpucnn.training import evaluate
from tests.training.test_evaluate import Fixed, loader_of

pytest.importorskip("matplotlib", reason="figures need the extra plot")


def test_the_bars_are_those_of_the_answers() -> None:
    probabilities = [0.95, 0.91, 0.93, 0.97, 0.62, 0.68]
    logits = np.log([[one, 1 - one] for one in probabilities])
    figure = plot.calibration(evaluate(Fixed(), loader_of(logits, [0, 0, 0, 1, 1, 1])))
    upper, lower = figure.axes
    bars = {round(bar.get_x(), 6): bar.get_height() for bar in upper.patches}
    assert bars == pytest.approx({0.6: 0.0, 0.9: 0.75})
    (points,) = [line for line in upper.lines if line.get_label() == "at its mean probability"]
    np.testing.assert_allclose(points.get_xydata(), [[0.65, 0.0], [0.94, 0.75]], atol=1e-6)
    assert [bar.get_height() for bar in lower.patches] == [0, 0, 0, 0, 0, 0, 2, 0, 0, 4]
    error = (2 * 0.65 + 4 * (0.94 - 0.75)) / 6
    assert upper.get_title(loc="left") == f"expected calibration error {error:.4f}"
    assert figure.alt == (
        f"Reliability diagram of 6 images: expected calibration error {error:.4f}; on the whole the model is surer than right."
    )
    figure.draw_without_rendering()
    assert not figure.legends[0].get_window_extent().overlaps(upper.get_window_extent())
    with pytest.raises(ArgumentError, match=r"^calibration: result must be what evaluate gives, got 'odd'$"):
        plot.calibration("odd")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (3, "the model is surer than right"),
        (20, "surer than right cannot be told"),
        (40, "the model is less sure than right"),
    ],
)
def test_what_so_many_images_do_not_carry_is_not_said(right: int, said: str) -> None:
    """Forty answers of a probability of 0.6; of 20 right ones the interval is from 0.35 to 0.65."""
    logits = np.log([[0.6, 0.4]] * 40)
    assert said in plot.calibration(evaluate(Fixed(), loader_of(logits, [0] * right + [1] * (40 - right)))).alt
