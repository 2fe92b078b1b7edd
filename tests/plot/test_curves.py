"""Learning curves: their points are those of metrics.jsonl."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpucnn import plot
from gpucnn.errors import ArgumentError, RunError
from gpucnn.training import RunFolder
from gpucnn.training.metrics import History
from tests.plot.written_runs import ROWS, row, write_run

pytest.importorskip("matplotlib", reason="figures need the extra plot")


def points(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(map(tuple, line.get_xydata().tolist())) for line in axes.lines}


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_points_are_those_of_the_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "first", ROWS)
    figure = plot.curves(folder)
    written = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for axes, what in zip(figure.axes, ("loss", "accuracy"), strict=True):
        found = points(axes)
        assert found["first, training"] == [(one["epoch"], one[f"train_{what}"]) for one in written]
        assert found["first, test"] == [(one["epoch"], one[f"test_{what}"]) for one in written]
        ring = [(2, written[1]["test_accuracy"])] if what == "accuracy" else None
        assert found.get("first, best epoch") == ring, (
            "of equal accuracies the lower loss; by accuracy, so not at the losses"
        )
        assert axes.get_title(loc="left").lower() == what
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[1].get_yscale() == "linear"
    assert legend(figure) == [
        "training, its loss with label smoothing 0.1",
        "test",
        "best epoch by test accuracy: 2, 0.9375",
    ]
    assert figure.alt == (
        "Learning curves. first, 3 epochs: training loss from 2.25 to 0.125, test loss from 1.5 to 0.375; best epoch by "
        "test accuracy: 2, 0.9375."
    )
    dashes = {line.get_label(): line.get_linestyle() for line in figure.axes[0].lines}
    assert (dashes["first, training"], dashes["first, test"]) == ("--", "-")


def test_runs_of_one_name_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a" / "run", ROWS), write_run(tmp_path / "b" / "run", ROWS[:1], optimizer="sgd", lr=0.03),
        write_run(tmp_path / "other", [row(1, (2.0, 0.1), (1.0, 0.2), "val")], label_smoothing=0.0),
        write_run(tmp_path / "twin", ROWS), write_run(tmp_path / "c" / "twin", ROWS),
        write_run(tmp_path / "d" / "run", ROWS[:1], optimizer="sgd", lr=0.03),
    ]  # fmt: skip
    figure = plot.curves([runs[0], RunFolder(runs[1]), str(runs[2]), *runs[3:]])
    names = [text.partition(", best")[0] for text in legend(figure)]
    assert names == [
        "run (optimizer adam, lr 0.003)", plot_name(runs[1]), "other", *(plot_name(one) for one in runs[3:]),
        "training, its loss with label smoothing 0.1", "test or validation", "best epoch",
    ]  # fmt: skip
    looks = {
        (line.get_color(), line.get_marker()) for line in figure.axes[0].lines if line.get_label().endswith("training")
    }
    assert len(looks) == 6


def plot_name(run: Path) -> str:
    """A path as the legend has it, where it may be cut in the middle."""
    text = str(run)
    return text if len(text) <= 48 else f"{text[:23]}...{text[-22:]}"


def test_a_history_one_epoch_and_nothing_measured() -> None:
    figure = plot.curves(History([row(1, (2.0, 0.1), (1.9, 0.2), "val")]))
    assert points(figure.axes[0]) == {"history, training": [(1, 2.0)], "history, validation": [(1, 1.9)]}
    assert points(figure.axes[1])["history, best epoch"] == [(1, 0.2)]
    assert all(axes.get_xlim() == (0.5, 1.5) for axes in figure.axes)
    by_loss = plot.curves([{"train_loss": 2.0, "val_loss": 1.5}, {"train_loss": 1.0, "val_loss": 1234.0}])
    assert points(by_loss.axes[0])["history, best epoch"] == [(1, 1.5)]
    assert "validation loss from 1.5 to 1230; best epoch by validation loss: 1, 1.5000" in by_loss.alt
    assert all(line.get_marker() != "None" for line in figure.axes[0].lines), "one point makes no line"
    assert [place for place in figure.axes[0].get_xticks() if 0.5 <= place <= 1.5] == [1]
    trained = [{"epoch": epoch, "train_loss": 1.0, "train_accuracy": 0.5} for epoch in (1, 2)]
    figure = plot.curves(trained)
    assert points(figure.axes[1]) == {"history, training": [(1, 0.5), (2, 0.5)]}
    assert figure.axes[0].get_yscale() == "linear"
    named = plot.curves({"one $": trained, "the other": History(trained)})
    assert legend(named) == ["one $", "the other", "training"]
    assert [line.get_linestyle() for line in named.legends[0].get_lines()] == ["--"] * 3, "as they are drawn"
    assert {line.get_label() for line in named.axes[0].lines} == {"one $, training", "the other, training"}


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"nowhere: no run there \(no config.json\); give the folder that gpucnn train made"
    ):
        plot.curves(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match=r"^curves: .*begun has no finished epoch yet$"):
        plot.curves(write_run(tmp_path / "begun", []))
    with pytest.raises(ArgumentError, match=r"^curves: no run, or a history without a finished epoch$"):
        plot.curves([])
    with pytest.raises(ArgumentError, match=r"^curves: no run, or a history without a finished epoch$"):
        plot.curves({})
    with pytest.raises(
        ArgumentError,
        match=r"^curves: expected the folder of a run, a RunFolder, .* a list of them or a mapping that names them, got 3$",
    ):
        plot.curves(3)  # type: ignore[arg-type]
    for wrong in ([3], [[{"a": 1.0}]], [{"epoch": 1}], [[]]):
        with pytest.raises(
            ArgumentError, match=r"^curves: expected a run, or a history, which is a list of rows with train_loss"
        ):
            plot.curves(wrong)  # type: ignore[arg-type]
    (tmp_path / "begun" / "metrics.jsonl").write_text("[1]\n")
    with pytest.raises(RunError, match=r"metrics.jsonl: not lines of metrics as gpucnn train writes them"):
        plot.curves(tmp_path / "begun")
