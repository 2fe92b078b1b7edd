"""A sweep: what a file asks for, and trials that are trained once, go on, or fail."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn.errors import ConfigError, DataError, RunError
from gpucnn.runs import sweep as sweeps
from gpucnn.runs.config import RunConfig
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.prepare import prepare
from gpucnn.runs.sweep import Options, Range, Sweep, Trial, trials
from gpucnn.runs.verification import FILES, StopAt
from gpucnn.training import Trainer

FILE = """
model = "mlp"
epochs = 1
batch_size = 200
device = "cpu"
checkpoint_every = 3
augment = []
lr = "log 1e-4 .. 1e-2"
clip_norm = ["none", 1.0]
"""


def read(text: str) -> Sweep:
    Path("sweep.toml").write_text(text)
    return Sweep.from_toml("sweep.toml")


class Given:
    """Suggestions that are known before, and what was told of them."""

    def __init__(self, *values: dict[str, Any]) -> None:
        self.rest: Iterator[dict[str, Any]] = iter(values)
        self.scores: list[float | None] = []

    def ask(self) -> dict[str, Any]:
        return next(self.rest)

    def tell(self, score: float | None) -> None:
        self.scores.append(score)


VALUES = ({"lr": 0.001, "clip_norm": None}, {"lr": 1e20, "clip_norm": None}, {"lr": 0.01, "clip_norm": 1.0})


def carried_out(sweep: Sweep, place: str, *values: dict[str, Any]) -> tuple[list[Trial], list[int], Given]:
    """The trials of a sweep, the numbers of those that were trained now, and the suggestions."""
    begun: list[int] = []
    given = Given(*values)
    return list(trials(sweep, Path(place), len(values), given, lambda number, _: begun.append(number))), begun, given


def test_a_file_has_settings_ranges_and_lists(in_tmp_path: Path) -> None:
    sweep = read(
        FILE
        + 'weight_decay = "0..0.1"\nwarmup = "0 .. 2.5"\nseed = 3\naccumulate = "1 .. 8"\nbalance = [true, false]\n'
        + 'optimizer = ["adam", "SGD:momentum=0.9"]\nlogs = [["csv"], []]\ndata_dir = "../photos"\n'
    )
    assert sweep.space == {
        "lr": Range(1e-4, 1e-2, log=True, whole=False),
        "clip_norm": Options((None, 1.0)),
        "weight_decay": Range(0.0, 0.1, log=False, whole=False),
        "warmup": Range(0.0, 2.5, log=False, whole=False),
        "accumulate": Range(1, 8, log=False, whole=True),
        "balance": Options((True, False)),
        "optimizer": Options(("adam", "sgd:momentum=0.9")),
        "logs": Options((["csv"], [])),
    }
    assert sweep.fixed == {
        "model": "mlp", "epochs": 1, "batch_size": 200, "device": "cpu", "checkpoint_every": 3, "augment": [], "seed": 3,
        "data_dir": "../photos",
    }  # fmt: skip
    assert sweep.seed == 3
    assert read('augment = [["flip"], ["flip", "shift:2"]]\n').space["augment"] == Options(
        (["flip"], ["flip", "shift:2"])
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3\n", 'sweep.toml: nothing to search for; write a range, e.g. lr = "log 1e-4 .. 1e-2", or a list of values'),
        ("lr = [0.1]\n", "sweep.toml: lr: expected several values to choose among, got [0.1]"),
        ("lr = [0.1, -1]\n", "sweep.toml: lr: expected a number > 0 or find, got -1"),
        ('lr = "0 .. 0.1"\n', "sweep.toml: lr: expected a number > 0, got '0', in the range '0 .. 0.1'"),
        ('lr = "0.1 .. 0.01"\n', "sweep.toml: lr: a range goes from low to high, got '0.1 .. 0.01'"),
        ('lr = "log .. 0.01"\n', "sweep.toml: lr: expected a number > 0, got 'log', in the range 'log .. 0.01'"),
        ('lr = "0.1 - 1"\nepochs = [1, 2]\n', "sweep.toml: lr: expected a number > 0 or find, got '0.1 - 1'; a range is written \"1e-4 .. 1e-2\", or \"log 1e-4 .. 1e-2\""),
        ('weight_decay = "log 0 .. 0.1"\n', "sweep.toml: weight_decay: a range by logarithm begins above 0, got 'log 0 .. 0.1'"),
        ('batch_size = "8 .. 16.5"\n', "sweep.toml: batch_size: expected a whole number >= 1, got '16.5', in the range '8 .. 16.5'"),
        ('model = "a .. b"\nlr = [0.1, 0.2]\n', "sweep.toml: model: unknown name 'a .. b', expected one of lenet5"),
        ('learning_rate = "log 1e-4 .. 1e-2"\n', "sweep.toml: unknown setting 'learning_rate'; "),
        ("[lr]\nlow = 1\n", "sweep.toml: lr: expected a number > 0 or find, got {'low': 1}"),
        ("lr = \n", "sweep.toml: not TOML that can be read ("),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_said(text: str, message: str, in_tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert str(raised.value).startswith(message)


def test_trials_are_runs_and_one_that_fails_is_told(in_tmp_path: Path) -> None:
    sweep = read(FILE)
    ended, begun, given = carried_out(sweep, "runs/s", *VALUES)
    assert begun == [1, 2, 3]
    assert [trial.number for trial in ended] == [1, 2, 3]
    assert given.scores == [trial.score for trial in ended]
    for trial in (ended[0], ended[2]):
        alone = prepare(RunConfig.from_json({**sweep.fixed, **trial.values}, ""))
        folder = RunFolder(f"alone-{trial.number}")
        scores = alone.finish(alone.trainer(alone.callbacks(folder)), folder)
        assert trial.score == scores["test_accuracy"]
        assert trial.measure == "test"
        for file in ("model.safetensors", "metrics.jsonl", "config.json"):
            assert (trial.path / file).read_bytes() == (folder.path / file).read_bytes()
    assert ended[1].score is None
    assert ended[1].reason.startswith("step 2 (epoch 1, batch 2): the loss became ")
    assert json.loads((ended[1].path / "failed.json").read_text()) == {**VALUES[1], "reason": ended[1].reason}

    again, begun, given = carried_out(sweep, "runs/s", *VALUES)
    assert (again, begun, given.scores) == (ended, [], [trial.score for trial in ended])
    more, begun, _ = carried_out(sweep, "runs/s", *VALUES, {"lr": 0.002, "clip_norm": None})
    assert (more[:3], begun) == (ended, [4])


def test_a_trial_that_was_killed_goes_on_to_the_same_bits(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = read(FILE)
    whole, _, _ = carried_out(sweep, "whole", VALUES[0])
    made: list[int] = []
    train_batch = Trainer.train_batch
    monkeypatch.setattr(
        Trainer, "train_batch", lambda trainer, *batch: made.append(trainer.step) or train_batch(trainer, *batch)
    )
    # Before the first checkpoint, after one, and on the last inch, before how it ended was written.
    for steps, saved in ((1, 0), (4, 3), (99, 8)):
        place = Path(f"killed-{steps}")
        place.mkdir()
        shutil.copy(Path("whole", sweeps.PLAN), place)
        run = RunFolder(place / "trial-1")
        ready = prepare(RunConfig.from_json({**sweep.fixed, **VALUES[0]}, ""))
        with suppress(StopAt.Reached):
            ready.trainer([*ready.callbacks(run), StopAt(steps)]).fit(1)
        made.clear()
        ended, begun, _ = carried_out(sweep, str(place), VALUES[0])
        assert (begun, made) == ([1], list(range(saved, 8)))
        assert ended[0].scores == {**whole[0].scores, "seconds": ended[0].scores["seconds"]}
        for file in FILES:
            written = [path / "trial-1" / file for path in (place, Path("whole"))]
            assert len({path.read_bytes() if path.exists() else b"" for path in written}) == 1, file


def test_validation_images_decide_where_there_are_some(in_tmp_path: Path) -> None:
    ended, _, _ = carried_out(read(FILE + "validation = 0.2\n"), "s", VALUES[0])
    summary = json.loads(Path("s/trial-1/summary.json").read_text())
    assert (ended[0].measure, ended[0].score) == ("val", summary["val_accuracy"])


def test_settings_that_do_not_go_together_are_a_failure_and_lost_data_the_end(in_tmp_path: Path) -> None:
    ended, _, _ = carried_out(read(FILE + "clip_value = 1.0\n"), "s", VALUES[2])
    assert ended[0].reason == "the trial's settings: clip_norm is 1 and clip_value 1; choose one of them"
    lost = read('data = "mnist"\ndata_dir = "nowhere"\nlr = [0.1, 0.2]\n')
    with pytest.raises(DataError, match="in nowhere"):
        carried_out(lost, "t", {"lr": 0.1})
    assert not Path("t/trial-1/failed.json").exists()


def refused(place: str, sweep: Sweep, values: Sequence[dict[str, Any]] = VALUES[:1]) -> str:
    with pytest.raises(RunError) as raised:
        carried_out(sweep, place, *values)
    return str(raised.value)


def test_what_else_is_in_the_folder_is_left_alone(in_tmp_path: Path) -> None:
    sweep = read(FILE)
    carried_out(sweep, "s", VALUES[0])
    assert refused("s", read(FILE.replace("200", "100"))) == (
        "s: holds another sweep: its batch_size is 200, and 100 is asked for; choose another --out"
    )
    assert refused("s", read(FILE.replace("1e-2", "0.1"))).startswith(
        "s: holds another sweep: its lr is 'log 1e-4 .. 1e-2'"
    )
    carried_out(read(FILE + "workers = 1\n"), "s", VALUES[0])
    assert refused("s", sweep, [VALUES[2]]) == (
        "s/trial-1: its lr is 0.001, and 0.01 would be tried now, as by another version of optuna; choose another --out"
    )
    assert refused("s/trial-1", sweep) == "s/trial-1: holds something else than a sweep; choose another --out"
    with RunFolder("s").lock:
        assert "in use by process" in refused("s", sweep)
    Path("s/trial-1/summary.json").write_text("{")
    assert refused("s", sweep).endswith("; remove s/trial-1 to train it anew")
    Path("s/trial-1/summary.json").write_text("{}")
    assert (
        refused("s", sweep)
        == "s/trial-1/summary.json: cannot be read ('test_accuracy'); remove s/trial-1 to train it anew"
    )
    Path("s/sweep.json").write_text("[]")
    assert refused("s", sweep) == "s/sweep.json: cannot be read (not the settings of a sweep)"


def test_folders_of_images_are_tried_and_the_same_sweep_goes_on(in_tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 2, 10, 8, 8, 3), np.uint8)
    for folder, classes in zip("ab", pixels, strict=True):
        for name, images in zip("xy", classes, strict=True):
            Path("photos", folder, name).mkdir(parents=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(f"photos/{folder}/{name}/{number}.png")
    sweep = read('model = "mlp"\nepochs = 1\nimage_size = 28\naugment = []\ndata = ["photos/a", "photos/b"]\n')
    first, second = {"data": "photos/a"}, {"data": "photos/b"}
    _, begun, _ = carried_out(sweep, "s", first)
    assert begun == [1]
    _, begun, _ = carried_out(sweep, "s", first, second)
    assert begun == [2]
    assert "its data_dir is 'photos/a', and 'photos/b' would be tried now" in refused("s", sweep, [second])


def test_a_setting_may_need_one_that_is_searched_for(in_tmp_path: Path) -> None:
    sweep = read('freeze = 1\nmodel = "resnet18"\nweights = ["a.pth", "b.pth"]\n')
    assert (sweep.fixed["freeze"], sweep.space) == (1, {"weights": Options(("a.pth", "b.pth"))})
    with pytest.raises(ConfigError, match="freeze is 1, but no weights are given to start from; give weights, too"):
        read('freeze = 1\nlr = "log 1e-4 .. 1e-2"\n')
