"""`gpucnn train --resume` as a user types it."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpucnn.cli.main import main
from gpucnn.kernels import ways
from gpucnn.training import RunFolder
from tests.cli.processes import PATIENCE, waits_at
from tests.runs.tiny_run import BATCHES, contents, tiny_names, train

ROOT = Path(__file__).parents[2]
COMMAND = """
import signal, sys
from gpucnn.cli.main import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process that runs in the background lacks
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def _tiny(in_tmp_path: Path) -> Iterator[None]:
    with tiny_names():
        yield


def test_it_goes_on_and_tells_where(capsys: pytest.CaptureFixture[str]) -> None:
    # About recorded steps there might be a line.
    train(Path("run"), BATCHES + 2, checkpoint_every=1, logs=("csv",), graph=False)
    assert main(["train", "--resume", "run"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[:8] == [
        "device: cpu (asked for)",
        "data: digits, 10 classes; 42 images to learn from, 16 to test; 8x8 grey",
        "model: tiny, 316 parameters",
        "learning: 3 epochs in batches of 8, adam with lr 0.003, one_cycle; label",
        "  smoothing 0.1; augmentation shift:2",
        "run folder: run",
        "going on in epoch 2, after 2 of its 6 batches, from",
        f"  run/checkpoints/step-00000000{BATCHES + 2}.safetensors",
    ]
    assert [line.split()[0] for line in lines[9:12]] == ["epoch", "2/3", "3/3"]
    assert (len(lines), printed.err) == (13, "")
    whole = train(Path("whole"), checkpoint_every=1, logs=("csv",), graph=False)
    assert contents(RunFolder("run")) == contents(whole)
    assert lines[12].startswith(
        f"test accuracy {json.loads(Path('run/summary.json').read_text())['test_accuracy']:.4f} ("
    )
    assert json.loads(Path("run/summary.json").read_text())["epochs"] == 3


def test_quiet_prints_the_last_line_alone(capsys: pytest.CaptureFixture[str]) -> None:
    train(Path("run"), 2, checkpoint_every=1)
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("test accuracy ")


def test_what_is_amiss_is_told_in_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    earlier, newest = train(Path("run"), 3, checkpoint_every=1).checkpoints.files()
    newest.write_bytes(newest.read_bytes()[:-1])
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gpucnn train: {newest}: not a checkpoint that can be read (")
    assert line.endswith(f"; going on from {earlier.name} instead")


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_finished_run_says_so_and_how_to_go_on(schedule: str, capsys: pytest.CaptureFixture[str]) -> None:
    train(Path("run"), schedule=schedule)
    before = contents(RunFolder("run"))
    for _ in range(2):
        assert main(["train", "--resume", "run"]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        what, _, how = line.partition("; to train longer")
        assert what.startswith("run has finished after 3 epochs, test accuracy 0.")
        assert (
            how
            == {
                "constant": ": gpucnn train --resume run --epochs N",
                "cosine": ", begin a new run: its schedule, cosine, is laid out for 3 epochs",
            }[schedule]
        )
        assert contents(RunFolder("run")) == before
        assert json.loads(Path("run/summary.json").read_text())["epochs"] == 3, "it was killed on the last inch"
    longer = ["train", "--resume", "run", "--epochs", "4", "--quiet"]
    assert main(longer) == (0 if schedule == "constant" else 1)
    error = capsys.readouterr().err
    assert error.startswith("gpucnn train: epochs cannot be 4: the schedule cosine" if schedule == "cosine" else "")
    assert error.count("\n") == (1 if schedule == "cosine" else 0)


def test_a_finished_run_tells_of_the_test_set(capsys: pytest.CaptureFixture[str]) -> None:
    """And not of the share of the training set that every epoch was measured on."""
    options = "--model tiny --image-size 8 --batch-size 8 --epochs 1 --validation 0.1 --device cpu --out run --quiet"
    assert main(["train", *options.split()]) == 0
    result = capsys.readouterr().out.strip()
    summary = Path("run/summary.json").read_text()
    assert main(["train", "--resume", "run"]) == 0
    assert f", {result}; to train longer" in capsys.readouterr().out
    assert Path("run/summary.json").read_text() == summary


def test_a_run_that_stopped_early_has_finished(capsys: pytest.CaptureFixture[str]) -> None:
    train(Path("run"), early_stopping=1, lr=1e-30, schedule="constant")
    assert main(["train", "--resume", "run"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("run has finished after 2 epochs, best: epoch 1; test accuracy ")
    assert " with it: no better than epoch 1 (test accuracy " in line
    assert line.endswith(") for 1 epoch; to train longer, begin a new run without --early-stopping")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--lr 0.1", "--lr"),
        ("--seed 0", "--seed"),
        ("--epochs 9 --model mlp --no-normalize --out x", "--out, --model, --normalize"),
        ("--config run.toml", "--config"),
    ],
)
def test_other_settings_are_refused(options: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    train(Path("run"), 2, checkpoint_every=1)
    before = contents(RunFolder("run"))
    assert main(["train", "--resume", "run", *options.split()]) == 1
    assert capsys.readouterr().err == (
        f"gpucnn train: {named} would make another run of run; with --resume can be given --epochs, --data-dir, --device, "
        "--workers, --cache, --checkpoint-every, --keep, --graph\n"
    )
    assert contents(RunFolder("run")) == before


def test_what_is_no_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    for name in ("missing", "empty"):
        assert main(["train", "--resume", name]) == 1
        assert capsys.readouterr().err == (
            f"gpucnn train: {name}: no run there (no config.json); give the folder that gpucnn train made\n"
        )
        assert not Path("missing").exists()
    folder = train(Path("run"), 2, checkpoint_every=1)
    for file in folder.checkpoints.files():
        file.unlink()
    assert main(["train", "--resume", "run"]) == 1
    assert capsys.readouterr().err == (
        "gpucnn train: run/checkpoints: no checkpoints there; train first, or give another run\n"
    )


def test_the_command_that_a_signal_tells_of_works() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    gpucnn = [sys.executable, "-c", COMMAND]
    options = ["train", "--model", "mlp", "--epochs", "2", "--device", "cpu", "--checkpoint-every", "7"]
    process = subprocess.Popen(
        [*waits_at(50), *options, "--out", "my runs/a 'b'"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while process.stdout.readline() != "waiting\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    command = shlex.split(errors.rpartition("go on with: ")[2])
    assert command[:3] == ["gpucnn", "train", "--resume"]
    done = subprocess.run([*gpucnn, *command[1:]], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    subprocess.run([*gpucnn, *options, "--out", "whole", "--quiet"], env=environment, check=True)
    expected, found = contents(RunFolder("whole")), contents(RunFolder("my runs/a 'b'"))
    for name in ("metrics.jsonl", "model.safetensors", "best.safetensors", f"checkpoints/step-{2 * 45:09}.safetensors"):
        assert found[name] == expected[name], name


def test_whether_steps_are_recorded_is_kept_with_the_run_and_may_change(capsys: pytest.CaptureFixture[str]) -> None:
    """To the same bits."""
    folder, whole = train(Path("run"), BATCHES + 2, checkpoint_every=1, graph=False), train(Path("whole"))
    assert folder.read_config()["graph"] is False
    assert whole.read_config()["graph"] is None
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert folder.read_config()["graph"] is False
    assert folder.model_file.read_bytes() == whole.model_file.read_bytes()
    with ways.use("numpy"):
        assert main(["train", "--model", "lenet5", "--epochs", "1", "--graph", "--out", "other"]) == 1
    assert (
        "gpucnn train: graph=True, but on a CPU compiled loops alone are recorded, and this" in capsys.readouterr().err
    )
