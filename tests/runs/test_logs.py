"""What callbacks write down of the history: CSV, TensorBoard, and the table on the screen."""

import csv
import importlib
import re
import struct
import sys
import types
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from gpucnn.errors import LibraryError, RunError
from gpucnn.training import Callback, CSVLog, ProgressBar, ProgressLines, TensorBoardLog, Trainer, progress
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
    ("place", "reason"), [("nowhere/log.csv", "No such file or directory"), (".", "Is a directory")]
)
def test_a_csv_that_cannot_be_written_is_told_before_training(place: str, reason: str, tmp_path: Path) -> None:
    trainer = small_trainer(CSVLog(tmp_path / place))
    with pytest.raises(RunError) as raised:
        trainer.fit(1)
    assert str(raised.value) == f"{tmp_path / place}: cannot be written ({reason}); choose another place"
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


def test_the_table_is_aligned_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = small_trainer(ProgressLines(), graph=False)
    trainer.fit(10)
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["epoch", "train loss", "train accuracy", "test loss", "test accuracy", "lr", "images/s", "waiting", "time"]  # fmt: skip
    assert len(lines) == 11
    assert len({len(line) for line in lines}) == 1
    assert re.fullmatch(r" 1/10( +\d\.\d{4}){4} +1\.00e-01 +[\d,]+ +\d+% +\d+\.\d s", lines[1])
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
    small_trainer(ProgressBar()).fit(1)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("epoch  train loss")
    assert printed.rstrip().splitlines()[-1].split()[0] == "1/1"
