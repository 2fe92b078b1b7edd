"""Learning curves: loss and accuracy of one run, or of several, epoch by epoch."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from gpucnn.checks import is_finite
from gpucnn.errors import ArgumentError
from gpucnn.plot.figure import (
    FAINT,
    StrPath,
    check_path,
    finished,
    in_style,
    line_look,
    new_figure,
    own_text,
    set_title,
)
from gpucnn.plot.numbers import written
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.list import RunEntry, differing, list_runs
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import counted, value_text
from gpucnn.training.best_epoch import IN_WORDS, best_epoch, judged_by

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History: TypeAlias = Sequence[Mapping[str, Any]]
Run: TypeAlias = RunFolder | TrainedRun | str | os.PathLike[str] | History

NAME = 48
"""Columns of a run's name in the legend."""
WIDE_RANGE = 8
"""Losses of which the highest is so many times the lowest have a logarithmic axis."""
LINE = 0.2
"""Inches of a line of the legend."""
MARKED = 20
"""Markers of a line, at most."""
DASHED = (0, (4, 2))


class _Course(NamedTuple):
    """What is drawn of one run."""

    name: str
    rows: History
    entry: RunEntry | None
    """Of its folder, if it has one."""
    folder: str

    @property
    def part(self) -> str:
        """What its epochs are judged by: "val", "test" or "train"."""
        return judged_by(self.rows[-1])

    @property
    def judged(self) -> str:
        """Of which measure the best epoch has the best: "accuracy", or "loss" where there is no other."""
        return "accuracy" if any(is_finite(row.get(f"{self.part}_accuracy")) for row in self.rows) else "loss"

    @property
    def epochs(self) -> list[float]:
        return self.values("epoch") if all("epoch" in row for row in self.rows) else list(range(1, len(self.rows) + 1))

    def values(self, name: str) -> list[float]:
        """An entry of all rows, NaN where there is none."""
        return [float(row[name]) if is_finite(row.get(name)) else math.nan for row in self.rows]

    def setting(self, name: str) -> Any:
        return None if self.entry is None else self.entry.settings.get(name)

    @property
    def best_text(self) -> str:
        """The best epoch and how good it was; empty where epochs were not measured."""
        if (best := best_epoch(self.rows)) is None:
            return ""
        judged = f"{IN_WORDS[self.part]} {self.judged}"
        return f"best epoch by {judged}: {self.epochs[best - 1]:g}, {self.values(f'{self.part}_{self.judged}')[best - 1]:.4f}"


@in_style
def curves(runs: Run | Sequence[Run] | Mapping[str, Run], path: StrPath | None = None) -> "Figure":
    """Loss and accuracy after every epoch: of training dashed, of what was measured as a line.

    - `runs`: what `gpucnn train` has made, as a path, a `RunFolder` or a `TrainedRun`; or a trainer's `history`; or a list of
      these, to compare them, or a mapping, which names them. A run that broke off has the epochs that it has finished.
    - `path`: a file to save it to, .png, .svg or .pdf.

    A ring is at the best epoch, which is that of the highest accuracy; its loss need not be the lowest. The points are those of metrics.jsonl. Where training losses are with label smoothing, and so lie higher, that is said.
    Raises ArgumentError for what has no finished epoch, and RunError for what is no run.
    """
    check_path(path)
    if isinstance(runs, Mapping) and runs:
        courses = [_course(run)._replace(name=own_text(str(name), NAME)) for name, run in runs.items()]
    else:
        courses = _named([_course(run) for run in _several(runs)])
    names = _legend(courses)
    columns = 1 if len(courses) > 1 else len(names)
    figure = new_figure(9, 3.6 + LINE * len(names) / columns)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for place, course in enumerate(courses):
            _draw(axes, course, what, place)
        axes.set(title=what.capitalize(), xlabel="epoch")
        _set_scale(axes, what)
    figure.legend(handles=names, loc="outside lower center", ncols=columns, handlelength=3.5)
    if len(courses) == 1:
        set_title(figure, courses[0].name)
    return finished(figure, _alt(courses), path)


def _several(runs: Run | Sequence[Run] | Mapping[str, Run]) -> Sequence[Run]:
    if isinstance(runs, RunFolder | TrainedRun | str | os.PathLike):
        return [runs]
    if not isinstance(runs, Sequence | Mapping):
        raise ArgumentError(
            f"curves: expected the folder of a run, a RunFolder, a TrainedRun, a history, a list of them or a mapping that names "
            f"them, got {value_text(runs)}"
        )
    if not len(runs):
        raise ArgumentError("curves: no run, or a history without a finished epoch")
    return [runs] if all(isinstance(row, Mapping) for row in runs) else runs  # type: ignore[list-item, return-value]


def _course(run: Run) -> _Course:
    if isinstance(run, RunFolder | TrainedRun | str | os.PathLike):
        place = run.weights.file.parent if isinstance(run, TrainedRun) else run
        folder = place if isinstance(place, RunFolder) else RunFolder(place)
        folder.read_config()  # which says what is wrong with a folder that is no run
        rows = folder.read_metrics()
        if not rows:
            raise ArgumentError(f"curves: {folder.path} has no finished epoch yet")
        return _Course(folder.path.resolve().name, rows, list_runs(folder.path)[0], str(folder.path))
    history = [row for row in run if isinstance(row, Mapping)] if isinstance(run, Sequence) else []
    names = {str(name) for row in history for name in row}
    if not history or len(history) != len(run) or not any(name.endswith("_loss") for name in names):
        raise ArgumentError(
            f"curves: expected a run, or a history, which is a list of rows with train_loss, got {value_text(run)}"
        )
    return _Course("history", history, None, "")


def _named(courses: Sequence[_Course]) -> list[_Course]:
    """The courses by names that differ: where several have the same, with their settings that differ, or else their folders."""
    found: list[_Course] = []
    for place, course in enumerate(courses, 1):
        alike = [one for one in courses if one.name == course.name]
        name = course.name
        if len(alike) > 1:
            names = differing([one.entry for one in alike if one.entry is not None])
            texts = Counter(_settings_text(one, names) for one in alike)
            own = _settings_text(course, names)
            name = f"{name} ({own})" if own and texts[own] == 1 else course.folder or f"{name} {place}"
        found.append(course._replace(name=own_text(name, NAME)))
    return found


def _settings_text(course: _Course, names: Sequence[str]) -> str:
    values = {name: course.setting(name) for name in names}
    return ", ".join(
        f"{name} {value if isinstance(value, str) else value_text(value)}" for name, value in values.items()
    )


def _draw(axes: "Axes", course: _Course, what: str, place: int) -> None:
    """A course's losses or accuracies, e.g. `what` is "loss"."""
    colour, marker = line_look(place)
    epochs, every = course.epochs, -(-len(course.rows) // MARKED)
    axes.plot(
        epochs, course.values(f"train_{what}"), color=colour, marker=marker, markevery=every, label=f"{course.name}, training",
        linestyle=DASHED, linewidth=1.1, markersize=3,
    )  # fmt: skip
    if course.part == "train":
        return
    values = course.values(f"{course.part}_{what}")
    axes.plot(
        epochs, values, color=colour, marker=marker, markevery=every, label=f"{course.name}, {IN_WORDS[course.part]}"
    )
    if what == course.judged and (best := best_epoch(course.rows)) is not None:
        axes.plot(
            epochs[best - 1 : best], values[best - 1 : best], "o", color=colour, markersize=11, markerfacecolor="none",
            markeredgewidth=1.5, label=f"{course.name}, best epoch",
        )  # fmt: skip


def _set_scale(axes: "Axes", what: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    epochs = [epoch for line in axes.lines for epoch in line.get_xdata()]
    if min(epochs) == max(epochs):
        axes.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)
    axes.grid(True)
    drawn = [value for line in axes.lines for value in line.get_ydata() if math.isfinite(value)]
    if what == "loss" and drawn and min(drawn) > 0 and max(drawn) > WIDE_RANGE * min(drawn):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(courses: Sequence[_Course]) -> list[Any]:
    """What the lines are: of one run its lines; of several the runs by colour and marker, and the kinds of lines once."""
    from matplotlib.lines import Line2D

    first, *more = courses
    colour, marker = (FAINT, "None") if more else line_look(0)
    parts = list(dict.fromkeys(IN_WORDS[one.part] for one in courses if one.part != "train"))
    look = {"color": colour, "marker": marker, "markersize": 3, "linestyle": DASHED, "linewidth": 1.1}
    kinds = [Line2D([], [], label=_training_text(courses), **look)]
    if parts:
        kinds.append(Line2D([], [], color=colour, marker=marker, label=" or ".join(parts)))
        ring = {"marker": "o", "linestyle": "None", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.5}
        kinds.append(Line2D([], [], color=colour, label="best epoch" if more else first.best_text, **ring))
    if not more:
        return kinds
    own = []
    for place, course in enumerate(courses):
        colour, marker = line_look(place)
        best = f", {course.best_text}" if course.best_text else ""
        dashes = {"linestyle": DASHED, "linewidth": 1.1} if course.part == "train" else {}
        own.append(Line2D([], [], color=colour, marker=marker, label=f"{course.name}{best}", **dashes))
    return [*own, *kinds]


def _training_text(courses: Sequence[_Course]) -> str:
    smoothing = sorted(
        {float(found) for one in courses if is_finite(found := one.setting("label_smoothing")) and found}
    )
    return (
        f"training, its loss with label smoothing {' or '.join(f'{one:g}' for one in smoothing)}"
        if smoothing
        else "training"
    )


def _alt(courses: Sequence[_Course]) -> str:
    texts = []
    for course in courses:
        parts = dict.fromkeys(("train", course.part))
        losses = [
            f"{IN_WORDS[part]} loss from {written(course.values(f'{part}_loss')[0], 3)} to "
            f"{written(course.values(f'{part}_loss')[-1], 3)}"
            for part in parts
        ]
        texts.append(
            "; ".join(
                [
                    f"{course.name}, {counted(len(course.rows), 'epoch')}: {', '.join(losses)}",
                    *filter(None, [course.best_text]),
                ]
            )
        )
    return f"Learning curves. {'. '.join(texts)}."
