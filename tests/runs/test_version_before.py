"""Runs and checkpoints that the gpucnn before this one wrote, in `version_before/`: what they gave then, they give now.

Written by commit 158e560. `finished` has its twelve epochs, `interrupted` stands in the middle of its second epoch, and
`pictures` in the middle of its first, on the files in `images`. `expected.json` has the figures that the code of then found.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, no_grad
from gpucnn.cli.main import main
from gpucnn.files.model_file import load_model
from gpucnn.training import RunFolder, evaluate, list_runs, load_checkpoint, resume
from tests.runs.tiny_run import go_on, tiny_names

BEFORE = Path(__file__).parent / "version_before"
EXPECTED: dict[str, dict[str, Any]] = json.loads((BEFORE / "expected.json").read_text())
UNSURE = "features.0.bias"
IMAGES = str(BEFORE / "images")


@pytest.fixture(autouse=True)
def _tiny() -> Iterator[None]:
    with tiny_names():
        yield


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A copy of them all, which may be written to."""
    return Path(shutil.copytree(BEFORE, tmp_path / "runs"))


def test_a_checkpoint_has_what_it_had() -> None:
    (path,) = (BEFORE / "finished" / "checkpoints").iterdir()
    checkpoint = load_checkpoint(path)
    found = {name: float(np.abs(array.astype(float)).sum()) for name, array in checkpoint.arrays.items()}
    assert found == EXPECTED["finished"]["arrays"]
    assert checkpoint.values["step"] == EXPECTED["finished"]["step"]


def test_the_runs_are_listed() -> None:
    found = {entry.name: (entry.model, entry.data, entry.epochs, entry.state) for entry in list_runs(BEFORE)}
    assert found == {
        "finished": ("tiny", "digits", 12, "finished"),
        "interrupted": ("tiny", "digits", 1, "unfinished at epoch 1"),
        "pictures": ("tiny", "folder", 0, "unfinished in epoch 1"),
    }


def test_a_model_answers_as_it_did() -> None:
    model, expected = RunFolder(BEFORE / "finished").load_model(), EXPECTED["finished"]
    part = data.load("digits", image_size=8).test
    with no_grad():
        logits = model(Tensor(part[:4][0])).numpy()
    np.testing.assert_allclose(logits, expected["logits"], rtol=1e-4, atol=1e-5)
    found = evaluate(model, data.DataLoader(part, 256))
    assert (found.correct, found.total) == (expected["correct"], expected["total"])
    assert found.loss == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("finished", {"epochs": 13}), ("interrupted", {}), ("pictures", {"data_dir": IMAGES})],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_goes_on_as_it_did(name: str, changes: dict[str, Any], runs: Path) -> None:
    folder, expected = RunFolder(runs / name), EXPECTED[name]
    go_on(resume(folder, **changes))
    assert folder.checkpoints.last is not None
    assert load_checkpoint(folder.checkpoints.last).values["step"] == expected["last_step"]
    rows = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert [row.keys() for row in rows] == [row.keys() for row in expected["metrics"]]
    for row, then in zip(rows, expected["metrics"], strict=True):
        assert row == pytest.approx(then, rel=1e-2)
    parameters, _ = load_model(folder.model_file)
    # Without the bias before a batch norm: its gradient is rounding alone, and Adam makes whole steps of it.
    sums = {path: float(np.abs(array).sum(dtype=float)) for path, array in parameters.items() if path != UNSURE}
    assert sums == pytest.approx(expected["weights"], rel=1e-2)


def test_the_commands_take_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = EXPECTED["finished"]
    assert main(["evaluate", str(runs / "finished"), "--device", "cpu"]) == 0
    assert f"({scores['correct']}/{scores['total']})" in capsys.readouterr().out.splitlines()[-1]
    assert main(["train", "--resume", str(runs / "pictures"), "--data-dir", IMAGES, "--quiet"]) == 0
    assert main(["evaluate", str(runs / "pictures"), "--data-dir", IMAGES, "--device", "cpu"]) == 0
    last = EXPECTED["pictures"]["metrics"][-1]
    assert f"({last['test_correct']}/{last['test_total']})" in capsys.readouterr().out.splitlines()[-1]
    assert main(["predict", str(runs / "pictures"), IMAGES, "--device", "cpu"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 18
