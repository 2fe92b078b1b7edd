"""Checkpoints at their steps, and what SIGTERM and Ctrl-C lead to."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gpucnn.errors import ArgumentError, RunError, Terminated
from gpucnn.training import Callback, CheckpointWriter, RunFolder, Trainer
from tests.training.small_run import BATCHES, assert_same, small_trainer

ROOT = Path(__file__).parents[2]


class Watch(Callback):
    """Notes the newest checkpoint's step at the beginning of every batch but the first."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.saved: list[int] = []

    def on_batch_end(self, trainer: Trainer) -> None:
        files = self.folder.checkpoints.files()
        self.saved.append(int(files[-1].name[5:14]) if files else 0)


def trained(path: Path, every: int, **options: int) -> tuple[list[int], list[str]]:
    """The newest checkpoint's step during each batch of two epochs, and the names of those that are left."""
    folder = RunFolder(path)
    watch = Watch(folder)
    small_trainer(watch, CheckpointWriter(folder, {}, every, **options)).fit(2)
    return watch.saved, [path.name[5:14].lstrip("0") for path in folder.checkpoints.files()]


def test_checkpoints_are_written_at_their_steps(tmp_path: Path) -> None:
    assert trained(tmp_path / "0", 0) == ([0] * BATCHES + [4] * BATCHES, ["4", "8"])
    assert trained(tmp_path / "1", 1) == ([0, 1, 2, 3, 4, 5, 6, 7], ["7", "8"])
    assert trained(tmp_path / "3", 3) == ([0, 0, 0, 3, 3, 3, 6, 6], ["6", "8"])
    assert trained(tmp_path / "9", 9, keep=5) == ([0] * 8, ["8"])


def test_steps_are_saved_also_after_training_was_told_to_stop(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            trainer.stop("enough")

    folder = RunFolder(tmp_path)
    watch = Watch(folder)
    small_trainer(watch, Stop(), CheckpointWriter(folder, {}, every=2)).fit(9)
    assert watch.saved == [0, 0, 2, 2]
    assert folder.checkpoints.load().values["stop_reason"] == "enough"


def test_the_last_checkpoint_is_of_the_end(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    trainer = small_trainer(CheckpointWriter(folder, {"model": "small"}, every=3))
    trainer.fit(2)
    checkpoint = folder.checkpoints.load()
    assert_same((checkpoint.arrays, checkpoint.values), trainer.state())
    assert (checkpoint.values["epoch"], checkpoint.values["batch"]) == (2, 0)
    assert checkpoint.config == {"model": "small"}


def test_checkpoints_come_after_the_steps_of_accumulated_batches(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    watch = Watch(folder)
    small_trainer(watch, CheckpointWriter(folder, {}, every=1), accumulate=3).fit(1)
    assert watch.saved == [0, 0, 0, 1]


@pytest.mark.parametrize("every", [-1, 0.5, True, None])
def test_arguments_are_checked(tmp_path: Path, every: object) -> None:
    with pytest.raises(ArgumentError, match="every, the steps from checkpoint to checkpoint, must be an int >= 0"):
        CheckpointWriter(RunFolder(tmp_path), {}, every)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="keep must be an int >= 1"):
        CheckpointWriter(RunFolder(tmp_path), {}, keep=0)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write a run there"):
        CheckpointWriter(RunFolder(tmp_path / "file"), {})


class Send(Callback):
    """Sends signals to this process, in the middle of a step's hooks."""

    def __init__(self, step: int, *numbers: signal.Signals) -> None:
        self.step, self.numbers = step, numbers

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            for number in self.numbers:
                signal.raise_signal(number)


@pytest.mark.parametrize(
    ("number", "name", "kind"),
    [(signal.SIGINT, "Ctrl-C", KeyboardInterrupt), (signal.SIGTERM, "SIGTERM", Terminated)],
)
def test_a_signal_saves_the_step_and_ends_training(
    tmp_path: Path, number: signal.Signals, name: str, kind: type[BaseException]
) -> None:
    folder, handlers = RunFolder(tmp_path), [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    trainer = small_trainer(CheckpointWriter(folder, {}), Send(2, number))
    with pytest.raises(KeyboardInterrupt) as raised:
        trainer.fit(2)
    assert type(raised.value) is kind
    file = tmp_path / "checkpoints" / "step-000000002.safetensors"
    assert str(raised.value) == (
        f"stopped by {name} after step 2; {file} is saved, go on with: gpucnn train --resume {tmp_path}"
    )
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    checkpoint = folder.checkpoints.load()
    assert_same((checkpoint.arrays, checkpoint.values), trainer.state())


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        trainer = small_trainer(CheckpointWriter(RunFolder(tmp_path), {}), Send(2, number, signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="^stopped by Ctrl-C at once; no checkpoint was saved$"):
            trainer.fit(1)
    assert RunFolder(tmp_path).checkpoints.files() == []


def test_a_second_ctrl_c_names_what_is_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    first = small_trainer(CheckpointWriter(folder, {}, every=2))
    first.fit(1)
    path = folder.checkpoints.files()[-1]
    resumed = small_trainer(CheckpointWriter(RunFolder(tmp_path), {}), Send(BATCHES + 1, signal.SIGINT, signal.SIGINT))
    resumed.restore(*first.state())
    with pytest.raises(
        KeyboardInterrupt, match=f"at once; {path} is saved, go on with: gpucnn train --resume {tmp_path}"
    ):
        resumed.fit(1)


def test_sigterm_twice_is_no_hurry(tmp_path: Path) -> None:
    trainer = small_trainer(CheckpointWriter(RunFolder(tmp_path), {}), Send(2, signal.SIGTERM, signal.SIGTERM))
    with pytest.raises(Terminated, match="after step 2"):
        trainer.fit(1)


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        small_trainer(CheckpointWriter(RunFolder(tmp_path), {}), Send(2, signal.SIGINT)).fit(1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, earlier)


def test_handlers_are_put_back_after_an_error(tmp_path: Path) -> None:
    class Failing(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            raise RuntimeError("in the middle")

        def on_train_end(self, trainer: Trainer) -> None:
            raise RuntimeError("at the end, too")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="at the end, too"):
        small_trainer(Failing(), CheckpointWriter(RunFolder(tmp_path), {})).fit(1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_training_runs_without_signals(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    trainer = small_trainer(CheckpointWriter(folder, {}))
    thread = threading.Thread(target=trainer.fit, args=(1,))
    thread.start()
    thread.join()
    assert folder.checkpoints.load().values["step"] == BATCHES


PROGRAM = """
import sys, time
from gpucnn.cli import main, train
from gpucnn.training import Callback, CheckpointWriter, RunFolder
from tests.training.small_run import small_trainer

class Slow(Callback):
    def on_batch_end(self, trainer):
        print(trainer.step, flush=True)
        time.sleep(0.02)

def run(options):
    small_trainer(CheckpointWriter(RunFolder("run"), {}), Slow()).fit(1000)

train.run = run
sys.exit(main.main(["train"]))
"""


@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_process_saves_and_exits_as_a_shell_expects(
    tmp_path: Path, number: signal.Signals, status: int, name: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{PROGRAM}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while process.stdout.readline() != "6\n":
        assert process.poll() is None
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == status
    match = re.fullmatch(
        rf"gpucnn train: stopped by {name} after step (\d+); run/checkpoints/step-0*\1.safetensors is saved, "
        r"go on with: gpucnn train --resume run\n",
        errors,
    )
    assert match, errors
    last = int((["6", *output.split()])[-1])
    assert int(match[1]) == last
    assert RunFolder(tmp_path / "run").checkpoints.load().values["step"] == last
