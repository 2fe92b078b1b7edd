"""`gpucnn sweep`: what it prints; with optuna, that the same sweep gives the same trials, also one that was stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gpucnn.cli import sweep as command
from gpucnn.cli.main import main
from gpucnn.runs.sweep import Study, Sweep, Trial
from gpucnn.text_table import columns
from tests.runs.test_sweep import FILE, VALUES, Given

ROOT = Path(__file__).parents[2]
SEARCH = FILE + 'optimizer = ["adam", "sgd:momentum=0.9"]\nvalidation = 0.2\nweight_decay = "0 .. 0.1"\n'


@pytest.fixture
def optuna() -> Any:
    return pytest.importorskip("optuna", reason="a sweep needs the extra sweep; nox -s sweep has it")


def test_what_a_sweep_prints(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.toml").write_text(FILE)
    monkeypatch.setattr(command, "Study", lambda sweep: Given(*VALUES))
    assert main(["sweep", "mine.toml", "--trials", "3"]) == 0
    printed = capsys.readouterr()
    accuracies = {n: json.loads(Path(f"runs/mine/trial-{n}/summary.json").read_text())["test_accuracy"] for n in (1, 3)}
    assert accuracies[3] > accuracies[1]
    lines = [re.sub(r" \(\d+\.\d s\)$", "", line) for line in printed.out.splitlines()]
    assert lines == [
        "trial 1/3: lr 0.001, clip_norm none",
        f"  test accuracy {accuracies[1]:.4f}",
        "trial 2/3: lr 1e+20, clip_norm none",
        "  failed: step 2 (epoch 1, batch 2): the loss became nan",
        "trial 3/3: lr 0.01, clip_norm 1",
        f"  test accuracy {accuracies[3]:.4f}",
        "",
        "trial  test accuracy  lr     clip_norm",
        "-" * 38,
        f"    3         {accuracies[3]:.4f}  0.01   1",
        f"    1         {accuracies[1]:.4f}  0.001  none",
        "",
        f"best: trial 3, test accuracy {accuracies[3]:.4f}",
        "  lr 0.01, clip_norm 1",
        "evaluate it: gpucnn evaluate runs/mine/trial-3",
        "1 of 3 trials failed: 2; why is in their failed.json",
    ]
    assert printed.err == f"gpucnn sweep: {command.ON_TEST}\n"

    assert main(["sweep", "mine.toml", "--trials", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"trial 1/2: test accuracy {accuracies[1]:.4f}, as it was",
        "trial 2/2: failed: step 2 (epoch 1, batch 2): the loss became nan, as it was",
    ]
    monkeypatch.setattr(command, "Study", lambda sweep: Given(VALUES[1]))
    assert main(["sweep", "mine.toml", "--trials", "1", "--out", "bad"]) == 1
    assert "gpucnn sweep: all 1 trials have failed, the first: step 2 (epoch 1" in capsys.readouterr().err


def test_the_table_fits_80_columns() -> None:
    values = {f"a_rather_long_setting_{n}": f"a rather long value, too {n}" for n in range(12)}
    ended = [Trial(n, Path(f"t/trial-{n}"), values, {"val_accuracy": n / 100}, "") for n in range(1, 40)]
    for count in (1, 3, 6, 12):
        names = list(values)[:count]
        found = command.lines(ended, names)
        assert max(map(columns, found)) <= 80
        assert sum(line.endswith(tuple("0123456789")) and line.startswith("   ") for line in found) == command.SHOWN
    assert any(line.startswith("best: trial 39, val accuracy 0.3900") for line in found)


def test_without_optuna_it_says_how_to_come_by_it(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.toml").write_text(FILE)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["sweep", "mine.toml"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("gpucnn sweep: a sweep needs optuna (")
    assert said.endswith('); pip install "gpucnn[sweep]"\n')
    assert not Path("runs").exists()


def test_suggestions_follow_from_seed_and_results(optuna: Any, in_tmp_path: Path) -> None:
    def suggested(text: str, count: int = 25) -> list[dict[str, Any]]:
        Path("s.toml").write_text(text)
        study, found = Study(Sweep.from_toml("s.toml")), []
        for number in range(count):
            found.append(study.ask())
            study.tell(None if number % 5 == 4 else found[-1]["lr"])
        return found

    first = suggested(SEARCH + 'accumulate = "1 .. 4"\n')
    assert suggested(SEARCH + 'accumulate = "1 .. 4"\n', 9) == first[:9]
    assert suggested(SEARCH + 'accumulate = "1 .. 4"\nseed = 1\n') != first
    assert all(1e-4 <= one["lr"] <= 1e-2 and 0 <= one["weight_decay"] <= 0.1 for one in first)
    assert all(one["lr"] == float(f"{one['lr']:.3g}") for one in first)
    assert {one["accumulate"] for one in first} == {1, 2, 3, 4}
    assert {one["clip_norm"] for one in first} == {None, 1.0}
    late = [one["lr"] for one in first[-8:]]
    assert sum(late) / 8 > 2e-3, "it has seen that larger ones are better; evenly drawn they would have a mean of 2e-3"


def test_a_sweep_that_is_killed_goes_on_as_if_it_never_was(optuna: Any, in_tmp_path: Path) -> None:
    Path("mine.toml").write_text(SEARCH.replace("epochs = 1", "epochs = 12").replace("every = 3", "every = 6"))
    line = [sys.executable, "-m", "gpucnn", "sweep", "mine.toml", "--trials", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for number, wanted in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        process = subprocess.Popen([*line, "--out", "killed"], env=environment, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not list(Path("killed").glob(f"trial-{2 if wanted < 0 else 1}/checkpoints/*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == wanted
        if wanted > 0:
            assert said == "gpucnn sweep: stopped by SIGTERM in trial 1; the same command goes on\n"
    for place in ("killed", "whole"):
        assert main(["sweep", "mine.toml", "--trials", "3", "--out", place]) == 0
    for trial in ("trial-1", "trial-2", "trial-3"):
        for file in ("model.safetensors", "metrics.jsonl", "config.json"):
            assert Path("killed", trial, file).read_bytes() == Path("whole", trial, file).read_bytes()
