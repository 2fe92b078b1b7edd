"""Which weights of a run are its result, and that the best ones are those of the epoch that they say, whatever happens."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.backend import Device
from gpucnn.cli.main import main
from gpucnn.errors import ArgumentError, RunError
from gpucnn.files.checkpoint_file import _checksum
from gpucnn.files.model_file import load_model
from gpucnn.files.tensor_file import read_tensors, write_tensors
from gpucnn.runs import folder as folder_module
from gpucnn.runs import kept_weights
from gpucnn.training import Callback, RunConfig, RunFolder, Trainer, prepare, resume
from tests.runs.tiny_run import TINY, contents, go_on, tiny_names, train

UPS_AND_DOWNS: dict[str, Any] = {"validation": 0.4, "epochs": 4, "lr": 0.03, "schedule": "constant", "seed": 10}
"""Its best epoch is neither the first nor the last, see `test_the_best_epoch_lies_in_between`."""


@pytest.fixture(autouse=True, scope="module")
def _tiny() -> Iterator[None]:
    with tiny_names():
        yield


@pytest.fixture(scope="module")
def whole(_tiny: None, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run that was never stopped, to be read alone."""
    return train(tmp_path_factory.mktemp("whole"), **UPS_AND_DOWNS)


def rows_of(folder: RunFolder) -> list[dict[str, float]]:
    return [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]


def best_of(rows: list[dict[str, float]], part: str = "val") -> dict[str, float]:
    """The first row of the highest accuracy, and of these the lowest loss."""
    return max(rows, key=lambda row: (row[f"{part}_accuracy"], -row[f"{part}_loss"]))


def test_the_best_epoch_lies_in_between(tmp_path: Path) -> None:
    """What other tests here rest on; and that what is kept is of the epoch it says."""
    kept: dict[int, dict[str, np.ndarray]] = {}

    class Keep(Callback):
        def on_epoch_end(self, trainer: Trainer) -> None:
            kept[len(trainer.history)] = trainer.model.state_dict()

    ready, folder = prepare(RunConfig(**{**TINY, **UPS_AND_DOWNS})), RunFolder(tmp_path)
    ready.trainer([*ready.callbacks(folder), Keep()]).fit(4)
    best = best_of(rows_of(folder))
    assert 1 < best["epoch"] < 4
    assert "test_loss" not in best
    assert folder.weights() == folder.weights("best") == ("best", folder.best_model_file, best)
    for weights, epoch in ((None, int(best["epoch"])), ("best", int(best["epoch"])), ("last", 4)):
        found = folder.load(Device(), weights)
        for path, array in found.model.state_dict().items():
            np.testing.assert_array_equal(array, kept[epoch][path])
            np.testing.assert_array_equal(folder.load_model(weights).state_dict()[path], array)
    assert str(found.weights) == "last, of model.safetensors"
    assert str(folder.weights()) == f"best, of epoch {best['epoch']} (val accuracy {best['val_accuracy']:.4f})"


@pytest.mark.parametrize(("settings", "name"), [({}, "last"), ({"early_stopping": 9}, "best"), ({"validation": 0.2}, "best")])  # fmt: skip
def test_which_weights_are_the_result(settings: dict[str, Any], name: str, tmp_path: Path) -> None:
    folder = train(tmp_path, epochs=2, **settings)
    assert folder.weights().name == name
    assert folder.weights("best").row == best_of(rows_of(folder), "val" if "validation" in settings else "test")


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    folder = train(tmp_path, epochs=1, early_stopping=2)
    with pytest.raises(ArgumentError, match='weights must be "best" or "last", got \'newest\''):
        folder.load(Device(), "newest")
    folder.best_model_file.unlink()
    for weights in (None, "best"):
        with pytest.raises(RunError) as raised:
            folder.load_model(weights)
        assert str(raised.value) == (
            f"{folder.best_model_file}: no such file; no epoch of the run was measured, or the file was removed; evaluate "
            f"and predict take the weights of the last epoch with --weights last"
        )
    assert folder.weights("last").file == folder.model_file
    folder.load(Device(), "last")


@pytest.mark.parametrize(
    "entry", ["4", "{}", '{"epoch": true}', '{"epoch": 1}', '{"epoch": 1, "val_accuracy": "high"}']
)
def test_files_of_best_weights_that_say_what_cannot_be(entry: str, tmp_path: Path) -> None:
    folder = train(tmp_path, epochs=1, validation=0.2)
    arrays, text = read_tensors(folder.best_model_file, "gpucnn", "model")
    write_tensors(
        folder.best_model_file, arrays, "gpucnn", json.dumps({**json.loads(text), "epoch": json.loads(entry)})
    )
    if entry == "{}":  # as without
        assert str(folder.weights()) == "best, of best.safetensors"
        return
    with pytest.raises(RunError, match="its entry 'epoch' is no row of metrics as gpucnn train writes it"):
        folder.weights()
    assert not folder.load_model("last").training


class Killed(BaseException):
    pass


class KillAfterEpoch(Callback):
    """Ends training as a kill would, between the files of an epoch and its checkpoint."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Trainer) -> None:
        if len(trainer.history) == self.epoch:
            raise Killed


def killed_after(epoch: int, path: Path, **settings: Any) -> RunFolder:
    ready, folder = prepare(RunConfig(**{**TINY, **settings})), RunFolder(path)
    with pytest.raises(Killed):
        ready.trainer([*ready.callbacks(folder), KillAfterEpoch(epoch)]).fit(4)
    return folder


def test_best_weights_that_come_again_are_dropped_and_come_again(whole: RunFolder, tmp_path: Path) -> None:
    best = int(best_of(rows_of(whole))["epoch"])
    for epoch in (best, best + 1):
        folder = killed_after(epoch, tmp_path / str(epoch), **UPS_AND_DOWNS)
        assert folder.weights().row["epoch"] == best
        resumed = resume(folder)
        assert resumed.checkpoint.values["epoch"] == epoch - 1
        go_on(resumed, resumed.checkpoint.values["step"] + 1)
        assert folder.best_model_file.exists() == (epoch > best)
        go_on(resume(folder))
        assert contents(folder) == contents(whole)


def test_a_kill_between_two_files_leaves_weights_that_say_of_which_epoch_they_are(
    whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, parameters = best_of(rows_of(whole)), load_model(whole.best_model_file)[0]
    save_model, saved = folder_module.save_model, []

    def killing(path: Path, *rest: Any) -> None:
        save_model(path, *rest)
        saved.append(path.name)
        if path == folder.best_model_file and rest[1]["epoch"] == best:
            raise Killed

    folder = RunFolder(tmp_path / "run")
    ready = prepare(RunConfig(**{**TINY, **UPS_AND_DOWNS}))
    for module in (folder_module, kept_weights):
        monkeypatch.setattr(module, "save_model", killing)
    with pytest.raises(Killed):
        ready.trainer(ready.callbacks(folder)).fit(4)
    assert saved[-2:] == ["model.safetensors", "best.safetensors"]
    assert len(rows_of(folder)) == best["epoch"] - 1
    assert folder.weights().row == best
    np.testing.assert_equal(load_model(folder.best_model_file)[0], parameters)
    for module in (folder_module, kept_weights):
        monkeypatch.setattr(module, "save_model", save_model)
    go_on(resume(folder))
    assert contents(folder) == contents(whole)


def as_before(folder: RunFolder, stopping: dict[str, Any]) -> None:
    """The files of a run as the version before has left them."""
    arrays, text = read_tensors(folder.best_model_file, "gpucnn", "model")
    create = {name: value for name, value in json.loads(text).items() if name != "epoch"}
    write_tensors(folder.best_model_file, arrays, "gpucnn", json.dumps(create, sort_keys=True))

    def renamed(text: str) -> str:
        return text.replace('"val_', '"test_')

    folder.metrics_file.write_text(renamed(folder.metrics_file.read_text()))
    for path in folder.checkpoints.files():
        arrays, text = read_tensors(path, "gpucnn checkpoint", "checkpoint")
        content = json.loads(renamed(text.partition(" ")[2]))
        content["format"] = 2
        content["values"]["fits"]["callbacks with a state"] = ["EarlyStopping"]
        content["values"]["callbacks"] = [stopping]
        text = json.dumps(content)
        write_tensors(path, arrays, "gpucnn checkpoint", f"{_checksum(arrays, text)} {text}")


def test_a_run_of_the_version_before_goes_on_and_knows_its_best_epoch(tmp_path: Path) -> None:
    settings = {**UPS_AND_DOWNS, "early_stopping": 5}
    whole = train(tmp_path / "whole", **settings)
    best = int(best_of(rows_of(whole))["epoch"])
    ready = prepare(RunConfig(**{**TINY, **settings}))
    stop = best * ready.length.steps_per_epoch + 1
    folder = train(tmp_path / "run", stop, **settings, checkpoint_every=stop)
    as_before(folder, {"best": 1.5, "bad_epochs": 1})
    assert (folder.weights().row, folder.weights().name) == ({}, "best")
    go_on(resume(folder, checkpoint_every=0))
    assert contents(folder) == contents(whole)


def test_a_best_epoch_of_the_version_before_that_comes_again_is_dropped(whole: RunFolder, tmp_path: Path) -> None:
    best = int(best_of(rows_of(whole))["epoch"])
    folder = killed_after(best, tmp_path / "run", **UPS_AND_DOWNS, early_stopping=9)
    as_before(folder, {"best": None, "bad_epochs": 0})
    resumed = resume(folder)
    go_on(resumed, resumed.checkpoint.values["step"] + 1)
    assert not folder.best_model_file.exists()


def test_a_damaged_file_of_best_weights_does_not_end_a_run(tmp_path: Path) -> None:
    folder = train(tmp_path, 7, **UPS_AND_DOWNS, checkpoint_every=1)
    folder.best_model_file.write_bytes(b"\x00")
    go_on(resume(folder))
    assert folder.weights().row["epoch"] > 1


@pytest.mark.parametrize(("given", "line"), [
    ([], "weights: best, of epoch "), (["--weights", "best"], "weights: best, of epoch "),
    (["--weights", "last"], "weights: last, of model.safetensors"),
])  # fmt: skip
def test_evaluate_and_predict_take_them(
    given: list[str], line: str, whole: RunFolder, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(shutil.copytree(whole.path, "run"))
    assert main(["evaluate", "run", "--device", "cpu", "--json", "found.json", *given]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(line)
    weights = folder.weights(given[-1] if given else None)
    found = json.loads(Path("found.json").read_text())
    assert (found["weights"], found["epoch"]) == (weights.name, weights.row.get("epoch"))
    with pytest.raises(SystemExit):
        main(["evaluate", "run", "--weights", "bset"])
    assert (
        "argument --weights: unknown name 'bset', expected one of best, last; did you mean best?"
        in capsys.readouterr().err
    )
    np.save("image.npy", np.zeros((8, 8), np.uint8))
    assert main(["predict", "run", "image.npy", "--device", "cpu", *given]) == 0
    assert (line in capsys.readouterr().err) == (weights.name == "best")
    probabilities: Callable[..., Any] = folder.load_model(weights.name)
    assert main(["predict", "run", "image.npy", "--device", "cpu", "--json", "answers.json", *given]) == 0
    (answer,) = json.loads(Path("answers.json").read_text())
    logits = probabilities(np.zeros((1, 1, 8, 8), np.float32)).numpy()[0].astype(float)
    assert answer["answers"][0]["probability"] == pytest.approx(np.exp(logits).max() / np.exp(logits).sum(), rel=1e-5)


@pytest.mark.parametrize(("schedule", "told"), [("one_cycle", True), ("constant", False)])  # fmt: skip
def test_a_schedule_that_early_stopping_cut_short_is_told(
    schedule: str, told: bool, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = f"--model tiny --image-size 8 --epochs 9 --lr 1e-30 --early-stopping 2 --device cpu --out run --schedule {schedule}"
    assert main(["train", *options.split()]) == 0
    printed = capsys.readouterr().out.replace("\n  ", " ")  # long lines are wrapped
    lines = [line for line in printed.splitlines() if "chosen on the test images" not in line]
    rate = rows_of(RunFolder("run"))[-1]["lr"] / 1e-30
    remark = (
        f"early stopping ended after 3 of the 9 epochs that {schedule} is laid out for, with the rate at {rate:.0%} of its "
        f"peak; consider --schedule constant or plateau"
    )
    assert (lines[-2] == remark) == told
    assert lines[-3 if told else -2].startswith("stopped early: no better than epoch 1 (test accuracy ")
    assert lines[-1].startswith("best: epoch 1; test accuracy ")
