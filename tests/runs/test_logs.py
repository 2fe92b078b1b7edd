"""What callbacks write down of the history: CSV, TensorBoard, and the table on the screen."""

import csv
import importlib
import re
import struct
import sys
import types
import unittest.mock
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from gpucnn.errors import LibraryError, RunError
from gpucnn.training import Callback, CSVLog, ProgressBar, ProgressLines, TensorBoardLog, Trainer, progress
from tests.backends import Backend
from tests.training.small_run import small_trainer


def resumed_from(trainer: Trainer, *callbacks: Callback) -> Trainer:
    """A trainer alike that goes on where this one stood."""
    resumed = small_trainer(*callbacks)
    resumed.restore(*trainer.state())
    return resumed


def test_csv_has_the_history_in_full(tmp_path: Path) -> None:
    trainer = small_trainer(CSVLog(tmp_path / "log.csv"))
    trainer.fit(3)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == trainer.history
    assert list(rows[0])[:2] == ["epoch", "train_loss"]


def test_a_resumed_csv_has_the_bytes_of_one_that_never_stopped(tmp_path: Path) -> None:
    small_trainer(CSVLog(tmp_path / "whole.csv")).fit(4)
    first = small_trainer(CSVLog(tmp_path / "log.csv"))
    first.fit(2)
    saved = first.state()
    first.fit(1)  # an epoch after the last checkpoint, which comes again
    resumed = small_trainer(CSVLog(tmp_path / "log.csv"))
    resumed.restore(*saved)
    resumed.fit(2)
    assert (tmp_path / "log.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_an_earlier_csv_stays_until_an_epoch_is_done(tmp_path: Path) -> None:
    class Failing(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            raise RuntimeError("in the middle")

    path = tmp_path / "log.csv"
    small_trainer(CSVLog(path)).fit(1)
    before = path.read_bytes()
    with pytest.raises(RuntimeError):
        small_trainer(CSVLog(path), Failing()).fit(1)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "reason"),
    [("nowhere/log.csv", "(no folder {}/nowhere); make it first"), (".", "(a folder); give the name of a file")],
)
def test_a_csv_that_cannot_be_written_is_told_before_training(place: str, reason: str, tmp_path: Path) -> None:
    trainer = small_trainer(CSVLog(tmp_path / place))
    with pytest.raises(RunError) as raised:
        trainer.fit(1)
    assert str(raised.value) == f"{tmp_path / place}: cannot be written {reason.format(tmp_path)}"
    assert trainer.step == 0


def events(folder: Path) -> list[Event]:
    """All events in a folder, in the order of their files: records of length, its checksum, content, its checksum."""
    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack_from("<Q", content)
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[12 + length + 4 :]
    return found


def points(folder: Path) -> dict[str, dict[int, float]]:
    """The value of each tag at each step, as TensorBoard shows them: a restart hides what was there from its step on."""
    shown: dict[str, dict[int, float]] = {}
    for event in events(folder):
        if event.session_log.status == event.session_log.START:
            shown = {
                tag: {step: value for step, value in values.items() if step < event.step}
                for tag, values in shown.items()
            }
        for value in event.summary.value:
            shown.setdefault(value.tag.replace("_", " "), {})[event.step] = value.simple_value
    return shown


def test_tensorboard_gets_every_epoch(tmp_path: Path) -> None:
    trainer = small_trainer(TensorBoardLog(tmp_path / "board"))
    trainer.fit(3)
    found = points(tmp_path / "board")
    for tag, name in (("loss/train", "train_loss"), ("accuracy/test", "test_accuracy"), ("learning rate", "lr")):
        assert list(found[tag]) == [1, 2, 3]
        assert list(found[tag].values()) == pytest.approx([row[name] for row in trainer.history])
    assert min(found["images per second"].values()) > 0
    assert set(found) == {"loss/train", "loss/test", "accuracy/train", "accuracy/test", "learning rate", "images per second", "waiting"}  # fmt: skip


def test_logs_name_what_was_measured_on_validation_images(tmp_path: Path) -> None:
    trainer = small_trainer(TensorBoardLog(tmp_path / "board"), CSVLog(tmp_path / "log.csv"))
    trainer.val_loader, trainer.test_loader = trainer.test_loader, None
    trainer.fit(1)
    found = points(tmp_path / "board")
    for tag, name in (("loss/val", "val_loss"), ("accuracy/val", "val_accuracy")):
        assert list(found[tag].values()) == pytest.approx([trainer.history[0][name]])
    assert not [tag for tag in found if "test" in tag]
    assert (tmp_path / "log.csv").read_text().startswith("epoch,train_loss,train_accuracy,val_loss,val_accuracy,")


def test_a_resumed_board_shows_each_epoch_once(tmp_path: Path) -> None:
    first = small_trainer(TensorBoardLog(tmp_path))
    first.fit(2)
    resumed = resumed_from(first, TensorBoardLog(tmp_path))
    first.fit(2)
    resumed.fit(1)
    assert list(points(tmp_path)["loss/train"]) == [1, 2, 3]


def test_without_tensorboardx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError):
        importlib.import_module("tensorboardX")
    with pytest.raises(LibraryError) as raised:
        TensorBoardLog(tmp_path)
    assert str(raised.value).startswith("TensorBoardLog needs tensorboardX (")
    assert str(raised.value).endswith('; install it with: pip install "gpucnn[tensorboard]"')


@pytest.mark.parametrize("width", [None, 80, 87, 90])
def test_the_table_is_aligned_plain_text(
    width: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if width is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(width))
    trainer = small_trainer(ProgressLines(), graph=False)
    trainer.fit(10)
    text = capsys.readouterr().out
    lines = text.splitlines()
    names = ["epoch", "train loss", "accuracy", "test loss", "accuracy", "lr", "time", "images/s", "waiting"]
    assert re.split(r"\s{2,}", lines[0]) == (names if width == 90 else names[:-2])
    assert len(lines) == 11
    assert {len(line) for line in lines} == {88 if width == 90 else 68}
    wide = r" +[\d,]+ +\d+%" if width == 90 else ""
    assert re.fullmatch(rf" 1/10( +\d\.\d{{4}}){{4}} +1\.00e-01 +\d+\.\d s{wide}", lines[1])
    assert f"{trainer.history[-1]['test_loss']:.4f}" in lines[-1]
    assert text.isprintable() or set(text) - {"\n"} <= set(map(chr, range(32, 127)))


def test_a_table_without_a_test_set_and_an_early_end(capsys: pytest.CaptureFixture[str]) -> None:
    class Enough(Callback):
        def on_epoch_end(self, trainer: Trainer) -> None:
            trainer.stop("enough is known")

    trainer = small_trainer(ProgressLines(), Enough(), graph=False)
    trainer.test_loader = None
    trainer.fit(3)
    lines = capsys.readouterr().out.splitlines()
    assert "test" not in lines[0]
    assert len(lines[0]) == len(lines[1])
    assert lines[2:] == ["stopped early: enough is known"]


def test_speed_is_that_of_the_images_since_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Callback):
        def on_savepoint(self, trainer: Trainer) -> None:
            self.state = trainer.state()
            if trainer.batch == 2:
                raise KeyboardInterrupt

    stop, log = Stop(), ProgressLines()
    with pytest.raises(KeyboardInterrupt):
        small_trainer(stop).fit(1)
    resumed = small_trainer(log)
    resumed.restore(*stop.state)
    ticks = iter([100.0, 103.0])
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(perf_counter=lambda: next(ticks)))
    resumed.fit(1)
    assert log.images_per_second == 6 / 3  # of 14 images, the last 6
    assert 0 <= log.waiting <= 1


def test_a_bar_ends_with_the_same_table(capsys: pytest.CaptureFixture[str]) -> None:
    small_trainer(ProgressBar(), graph=False).fit(1)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("epoch  train loss")
    assert printed.rstrip().splitlines()[-1].split()[0] == "1/1"


@pytest.mark.parametrize("part", ["test", "val", "train"])
def test_a_loss_with_label_smoothing_is_named(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = small_trainer(ProgressLines(), graph=False, label_smoothing=0.25)
    trainer.val_loader = trainer.test_loader if part == "val" else None
    trainer.test_loader = trainer.test_loader if part == "test" else None
    trainer.fit(1)
    lines = capsys.readouterr().out.splitlines()
    line = f"train loss is with label smoothing 0.25, {part} loss without"
    assert lines[:-2] == ([] if part == "train" else [line])
    assert (f"{part} loss" in lines[-2], len(re.findall("loss", lines[-2]))) == (True, 1 if part == "train" else 2)


@pytest.mark.parametrize(("share", "seconds", "times"), [(0.9, 10.0, 1), (0.4, 100.0, 0), (0.9, 5.0, 0)])
def test_much_waiting_is_told_once(
    share: float, seconds: float, times: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a table that has no column for it."""

    class Slow(ProgressLines):
        def on_epoch_end(self, trainer: Trainer) -> None:
            self.waiting, trainer.seconds = share, seconds
            super().on_epoch_end(trainer)

    line = f"{share:.0%} of the epoch went in waiting for batches: with workers, they are made ahead\n"
    for width, told in ((80, times), (100, 0)):
        monkeypatch.setenv("COLUMNS", str(width))
        small_trainer(Slow(), graph=False).fit(2)
        assert capsys.readouterr().out.count(line) == told


class Clock:
    """A time that goes on by a second a batch."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Tick(Callback):
    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def on_batch_end(self, trainer: Trainer) -> None:
        self.clock.now += 1000.0 if trainer.step == 1 else self.seconds  # the first compiles


def test_the_bar_tells_the_loss_so_far_and_the_time_left_of_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 epochs of 4 batches, 20 s each."""
    clock, shown = Clock(), []
    monkeypatch.setattr(progress, "time", clock)

    class Bar(ProgressBar):
        def on_batch_end(self, trainer: Trainer) -> None:
            super().on_batch_end(trainer)
            assert self._bar is not None
            shown.append((f"{self._bar}", f"loss {trainer.metrics.scores().loss:.2f}"))

    small_trainer(Tick(clock, 20.0), Bar(), graph=False).fit(3)
    assert len(shown) == 12
    assert re.fullmatch(r"epoch 1/3 +25% \|.{16}\| loss \d\.\d\d", shown[0][0])
    for text, loss in shown:
        assert f"| {loss}" in text
    assert shown[1][0].endswith(" | 3 min 20 s left of 20 min")
    assert shown[7][0].startswith("epoch 2/3  100% |")
    assert shown[7][0].endswith(" | 1 min 20 s left of 20 min")
    assert shown[11][0].endswith(" | 0 s left of 20 min")
    assert max(len(text) for text, _ in shown) < 80


@pytest.mark.parametrize(("seconds", "fine", "coarse"), [
    (0.2, "0 s", "0 s"), (59.6, "1 min", "1 min"), (70, "1 min 10 s", "1 min 10 s"), (245, "4 min 5 s", "4 min"),
    (3600, "1 h", "1 h"), (7500, "2 h 5 min", "2 h 5 min"), (3599, "59 min 59 s", "1 h"),
])  # fmt: skip
def test_times_as_people_say_them(seconds: float, fine: str, coarse: str) -> None:
    assert (progress.duration(seconds), progress.duration(seconds, coarse=True)) == (fine, coarse)


def test_a_gpu_is_waited_for_now_and_then_alone(gpu: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss in the bar is read once in a second, and not at each step; on a CPU, where nobody waits, at each."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    for device, looks in (("cuda", 4), ("cpu", 8)):
        trainer = small_trainer(Tick(clock, 0.4), ProgressBar(), device=device, graph=False)
        with unittest.mock.patch.object(trainer.metrics, "scores", wraps=trainer.metrics.scores) as scores:
            trainer.fit(2)
        assert scores.call_count == looks + 2, "and once at the end of each epoch"
