"""Whether a model is right as often as it says: a reliability diagram."""

from typing import TYPE_CHECKING

import numpy as np

from gpucnn.plot.figure import FAINT, LINES, TEXT, StrPath, check_path, finished, in_style, new_figure
from gpucnn.text import counted
from gpucnn.training import calibration as measured_calibration
from gpucnn.training.evaluate import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_WORDS = {
    "too sure": "on the whole the model is surer than right",
    "less sure": "on the whole the model is less sure than right",
    "": "whether it is surer than right cannot be told from so many images",
}


@in_style
def calibration(result: Evaluation, path: StrPath | None = None) -> "Figure":
    """The share of right answers by the probability that the model gave them; on the diagonal where it is right as often as it says.

    - `result`: what `training.evaluate` gives.
    - `path`: a file to save it to, .png, .svg or .pdf.

    Below it, how many answers have each probability. ArgumentError for what is no result.
    """
    check_path(path)
    found = measured_calibration(result)
    there = found.count > 0
    left, width = found.edges[:-1], np.diff(found.edges)
    error = found.expected_calibration_error
    figure = new_figure(4.6, 5.9)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=FAINT, linestyle=(0, (4, 2)), linewidth=1, label="right as often as it says")
    upper.bar(
        left[there],
        found.accuracy[there],
        width[there],
        align="edge",
        color="#9CC7E4",
        edgecolor=LINES[0][0],
        label="share that is right",
    )
    upper.plot(
        found.confidence[there], found.accuracy[there], "o", color=TEXT, clip_on=False, label="at its mean probability"
    )
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy", title=f"expected calibration error {error:.4f}")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower left", ncols=1)
    lower.bar(left, found.count, width, align="edge", color="#9CC7E4", edgecolor=LINES[0][0])
    lower.set(xlabel="probability of the answer", ylabel="images")
    side = IN_WORDS[found.sureness(result)]
    alt = f"Reliability diagram of {counted(int(found.count.sum()), 'image')}: expected calibration error {error:.4f}; {side}."
    return finished(figure, alt, path)
