"""`gpucnn lr-find`, and `--lr find`, which trains with what it finds."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from gpucnn.cli.main import main
from gpucnn.training import RunConfig, RunFolder, prepare, resume
from gpucnn.training.find_lr import RangeTest

SMALL = ["--model", "mlp", "--device", "cpu", "--batch-size", "96"]
"""15 steps an epoch."""


def test_it_suggests_a_rate_and_keeps_nothing(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.toml").write_text('optimizer = "sgd"\nlr = 0.5\n')
    assert main(["lr-find", *SMALL, "--config", "run.toml", "--steps", "40"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert printed.err == ""
    assert lines[:2] == [
        "device: cpu (asked for)",
        "mlp on digits, sgd, batches of 96: 40 steps at most, with rates from 1e-06 to 10",
    ]
    found = re.fullmatch(r"steepest at (\S+), minimum at (\S+) \(a tenth of it: (\S+)\); try --lr (\S+)", lines[2])
    assert found
    steepest, minimum, tenth, suggested = map(float, found.groups())
    assert 1e-3 < steepest <= minimum < 2
    assert suggested == pytest.approx(max(steepest, tenth), rel=0.1)
    assert len(lines) == 3
    assert sorted(path.name for path in in_tmp_path.iterdir()) == ["run.toml"]


def test_the_picture_is_written(in_tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    assert main(["lr-find", *SMALL, "--steps", "20", "--out", "lr.png"]) == 0
    with Image.open("lr.png") as image:
        assert image.size == (1008, 576)


def test_a_run_with_a_rate_that_was_found_is_the_one_with_that_rate(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*SMALL, "--epochs", "1", "--optimizer", "sgd", "--checkpoint-every", "4"]
    assert main(["train", *options, "--lr", "find", "--out", "found"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "gpucnn train: looking for a learning rate, in 200 steps at most\n"
    rate = RunFolder("found").read_config()["lr"]
    assert isinstance(rate, float)
    head = " ".join(map(str.strip, printed.out.splitlines()[:9]))
    assert f" sgd with lr {rate:g}, one_cycle; " in head
    assert re.search(r" lr was found: steepest at \S+, minimum at \S+ \(a tenth of it: \S+\) run folder: found", head)

    assert main(["train", *options, "--lr", str(rate), "--out", "given", "--quiet"]) == 0
    for file in ("model.safetensors", "metrics.jsonl", "config.json"):
        assert Path("found", file).read_bytes() == Path("given", file).read_bytes(), file
    for checkpoint in Path("found/checkpoints").iterdir():
        assert checkpoint.read_bytes() == Path("given/checkpoints", checkpoint.name).read_bytes()
    assert resume("found").ready.config.lr == rate


def test_find_is_a_setting_like_any_other(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("run.toml").write_text('lr = "find"\nmodel = "mlp"\n')
    config = RunConfig.from_toml("run.toml")
    assert (
        config == RunConfig(lr="find", model="mlp") == RunConfig.from_json(json.loads(json.dumps(config.to_json())), "")
    )
    found = RangeTest((1e-3, 0.01), (2.0, 1.0), (2.0, 1.0), 2.2e-3, 0.01)
    monkeypatch.setattr("gpucnn.runs.prepare.find_lr", lambda trainer: found)
    ready = prepare(config)
    assert (ready.config.lr, ready.optimizer.lr, ready.range_test) == (2e-3, 2e-3, found)
    assert max(map(ready.schedule, range(ready.length.steps))) == pytest.approx(2e-3, rel=1e-3)
