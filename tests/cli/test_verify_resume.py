"""`gpucnn verify-resume`: what is compared, and that a bit that differs is found."""

import re
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn.cli.main import main
from gpucnn.runs import verification
from gpucnn.training import RunFolder, save_checkpoint

pytestmark = pytest.mark.usefixtures("wide_terminal")

SMALL = ["--model", "mlp", "--device", "cpu", "--batch-size", "96"]
"""15 batches an epoch."""


@pytest.fixture(autouse=True)
def temporary(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds temporary ones."""
    place = in_tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_a_run_of_one_s_own(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.toml").write_text(
        'optimizer = "sgd:momentum=0.5"\nschedule = "plateau:patience=0"\naverage = 0.9\nlogs = ["csv"]\n'
        'augment = ["affine:10", "cutout:4"]\ncheckpoint_every = 1\n'
    )
    assert main(["verify-resume", *SMALL, "--config", "run.toml", "--steps", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "device: cpu (asked for)",
        "mlp on digits, sgd:momentum=0.5, plateau:patience=0: 20 steps in one go; 10, and 10 more in a new process",
    ]
    rows = [re.split(r" {2,}", line) for line in lines[5:-2]]
    assert [row[:2] if len(row) == 4 else row[:1] for row in rows] == [
        ["weights", "4"], ["optimizer state", "4"], ["averaged weights", "5"], ["metrics of the epoch", "3"],
        ["learning rate, schedule"], ["metrics of finished epochs"], ["position, counters"], ["metrics.jsonl"],
        ["metrics.csv"], ["model.safetensors"], ["best.safetensors"],
    ]  # fmt: skip
    assert all(re.fullmatch("[0-9a-f]{64}", row[-1]) for row in rows)
    assert rows[0][2] == "318,040"
    size = sum(int(row[-2].replace(",", "")) for row in rows)
    assert lines[-1] == f"PASS: 16 arrays and {size:,} bytes in all are the same; epochs finished on the way: 1"
    assert list(temporary.iterdir()) == [], "nothing is kept"
    assert not Path("runs").exists()


def test_without_settings_it_is_the_run_that_train_makes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-resume", "--device", "cpu", "--steps", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "lenet5 on digits, adam, one_cycle: 4 steps in one go; 2, and 2 more in a new process"
    assert lines[-1].endswith("epochs finished on the way: 0")


def spoiled(change: Any) -> Any:
    """Inside, the first half is not what it was when the second begins: `change` gets its arrays and values."""
    go_on = verification.go_on_in_new_process

    def spoil_and_go_on(run: Path, step: int) -> None:
        checkpoint = RunFolder(run).checkpoints.load()
        change(checkpoint.arrays, checkpoint.values)
        save_checkpoint(checkpoint.path, checkpoint.arrays, checkpoint.values, checkpoint.config)
        go_on(run, step)

    return mock.patch.object(verification, "go_on_in_new_process", spoil_and_go_on)


def one_bit(arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    weight = arrays["model/output.weight"]
    weight[3, 7] = np.nextafter(weight[3, 7], np.float32(9))


def momentum(arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    arrays["optimizer/hidden.weight/momentum"][:] = 0


def metrics(arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    arrays["metrics/correct"] += 1


def plateau(arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    values["schedule"]["best"] = 1e-3


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (one_bit, r"model/\w+.\w+ differs in [\d,]+ of [\d,]+ elements: the first is -?[\d.e-]+ in one go, and -?[\d.e-]+ resumed"),
        (momentum, r"model/hidden.bias differs in 9. of 100 elements: .*"),
        (metrics, r"metrics/correct differs in 1 of 1 elements: the first is (\d+) in one go, and (\d+) resumed"),
        (plateau, "learning rate, schedule differs"),
    ],
)  # fmt: skip
def test_what_differs_is_found(
    change: Any, difference: str, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with spoiled(change):
        options = ["--steps", "4", "--optimizer", "sgd", "--schedule", "plateau"]
        assert main(["verify-resume", *SMALL, *options]) == 1
    assert re.fullmatch(f"FAIL: {difference}", capsys.readouterr().out.splitlines()[-1])
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--epochs 1", "steps is 30, but twice as many are more than the 15 of the run; give at most 7, or more epochs"),
        ("--lr 1e-30 --schedule constant --early-stopping 1 --steps 40 --epochs 9",
         "steps is 40, but training ended after 30: no better than epoch 1 .*; give fewer"),
        ("--data mnist --data-dir nowhere", "no train-images-idx3-ubyte, .*"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_told(
    options: str, message: str, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify-resume", *SMALL, *options.split()]) == 1
    assert re.fullmatch(f"gpucnn verify-resume: {message}\n", capsys.readouterr().err)
    assert list(temporary.iterdir()) == []


def test_the_new_process_may_fail(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def damage(run: Path, step: int) -> None:
        for file in RunFolder(run).checkpoints.files():
            file.write_bytes(b"")
        go_on(run, step)

    go_on = verification.go_on_in_new_process
    with mock.patch.object(verification, "go_on_in_new_process", damage):
        assert main(["verify-resume", *SMALL, "--steps", "1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("gpucnn verify-resume: the resumed run failed: no checkpoint of the run")
    assert list(temporary.iterdir()) == []


def test_a_loss_that_is_not_finite_offers_nothing_that_is_removed(
    temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def huge(arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        arrays["model/output.weight"][:] = 3e38

    assert main(["verify-resume", *SMALL, "--steps", "1", "--optimizer", "sgd", "--lr", "1e30"]) == 1
    in_one_go = capsys.readouterr().err
    with spoiled(huge):
        assert main(["verify-resume", *SMALL, "--steps", "1"]) == 1
    for said, where in ((in_one_go, ""), (capsys.readouterr().err, "the resumed run failed: ")):
        assert said.startswith(f"gpucnn verify-resume: {where}step 2 (epoch 1, batch 2): the loss became nan; ")
        assert str(temporary) not in said
        assert "checkpoint" not in said
    assert list(temporary.iterdir()) == []


def test_ctrl_c_offers_nothing_to_resume(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch.object(verification, "go_on_in_new_process", side_effect=KeyboardInterrupt("go on with: ...")):
        assert main(["verify-resume", *SMALL, "--steps", "1"]) == 130
    assert capsys.readouterr().err == "gpucnn verify-resume: stopped; nothing is kept of what was trained\n"
    assert list(temporary.iterdir()) == []


def difference(expected: np.ndarray, found: np.ndarray | None) -> str:
    differences = verification._array_differences({"model/a": expected}, {} if found is None else {"model/a": found})
    return next(iter(differences), "")


def test_arrays_are_compared_to_the_bit() -> None:
    special = np.array([[np.nan, -0.0], [np.inf, 1.0]], np.float32)
    assert difference(special, special.copy()) == ""
    assert (
        difference(special, special + 0.0)
        == "model/a differs in 1 of 4 elements: the first is -0.0 in one go, and 0.0 resumed"
    )
    assert difference(special, special.astype(np.float64)) == (
        "model/a is float32 of shape (2, 2) in one go, and float64 of shape (2, 2) resumed"
    )
    assert difference(special, special[:, :1]) == (
        "model/a is float32 of shape (2, 2) in one go, and float32 of shape (2, 1) resumed"
    )
    assert difference(special, None) == "model/a is missing in the resumed run"
    assert (
        difference(np.array(3), np.array(4))
        == "model/a differs in 1 of 1 elements: the first is 3 in one go, and 4 resumed"
    )
