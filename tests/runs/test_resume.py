"""A run that is stopped in the middle of an epoch, and resumed, leaves the files of the one that never was, byte for byte."""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load

from gpucnn.backend.threads import VARIABLE
from gpucnn.data import file_stamp
from gpucnn.errors import ConfigError, DataError, DeviceError, RunError
from gpucnn.training import RunConfig, RunFolder, load_checkpoint, prepare, resume, save_checkpoint
from tests.backends import Backend
from tests.data.image_files import write_two_classes
from tests.runs.tiny_run import BATCHES, TINY, contents, go_on, tiny_names, train, write_weights

STEPS = 3 * BATCHES
FACTORS: dict[str, list[dict[str, Any]]] = {
    "optimizer": [
        {"optimizer": name, "lr": 0.02}
        for name in (
            "sgd", "sgd:momentum=0.5,nesterov=true", "adam", "adamw", "rmsprop:momentum=0.5,centered=true", "adagrad", "lion",
        )
    ],
    "schedule": [
        {"schedule": "constant"},
        {"schedule": "one_cycle"},
        {"schedule": "plateau:patience=0,threshold=0.9"},
        {"schedule": "cosine_restarts:1", "warmup": 1.5},
        {"schedule": "multi_step:1/2"},
    ],
    "augmentation": [
        {"augment": ()},
        {"augment": ("shift:1",)},
        {"augment": ("flip", "affine:degrees=20", "jitter:0.3", "cutout:2", "crop", "randaugment:n=1", "erase:fill=noise"), "normalize": True},
    ],
    "loader": [
        {},
        {"workers": 2, "mix": "mixup:0.4"},
        {"workers": 2, "validation": 0.2, "balance": True},
        {"mix": "cutmix:1"},
    ],
    "start": [
        {},
        {"weights": "weights.safetensors", "freeze": 1},
        {"weights": "weights.safetensors", "backbone_lr": 1e-5, "normalize": None},
    ],
    "other": [
        {},
        {"accumulate": 4, "average": 0.9, "early_stopping": 9},
        {"clip_norm": 0.5, "label_smoothing": 0.1, "precision": "tf32"},
        {"clip_value": 0.01, "average": 0.5, "weight_decay": 0.01, "decay_vectors": False, "logs": ("csv",), "precision": "bf16"},
    ],
}  # fmt: skip

Row = tuple[int, ...]
"""Which value each factor has, by number."""


def pairs(row: Row) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """The values that meet in a row, two by two."""
    return set(itertools.combinations(enumerate(row), 2))


def rows() -> list[Row]:
    """Few rows in which every value of a factor meets every value of every other one."""
    every = list(itertools.product(*(range(len(values)) for values in FACTORS.values())))
    missing, chosen = set().union(*map(pairs, every)), []
    while missing:
        best = max(every, key=lambda row: len(pairs(row) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def described(row: Row) -> str:
    values = (list(values)[number] for values, number in zip(FACTORS.values(), row, strict=True))
    return " ".join(str(value) for one in values for value in one.values()) or "plain"


@pytest.fixture(autouse=True)
def _tiny() -> Iterator[None]:
    with tiny_names():
        yield


@pytest.mark.parametrize("row", rows(), ids=described)
def test_a_resumed_run_is_the_one_that_never_stopped(row: Row, backend: Backend, tmp_path: Path) -> None:
    if backend.name == "plain" or (backend.name != "numpy" and sum(row) % 4 != (2 if backend.name == "jit" else 0)):
        pytest.skip(
            "how a run goes on is no matter of how its sums are made: all rows with NumPy, a quarter of them elsewhere"
        )
    settings: dict[str, Any] = {"device": backend.device_name}
    for values, number in zip(FACTORS.values(), row, strict=True):
        settings |= values[number]
    if "weights" in settings:
        settings["weights"] = str(write_weights(tmp_path / "other run"))
    steps = prepare(RunConfig(**{**TINY, **settings})).length.steps
    stop = 1 + sum(place * number for place, number in enumerate(row, 2)) % (steps - 1)
    settings["checkpoint_every"] = stop
    whole = train(tmp_path / "whole", **settings)
    halves = train(tmp_path / "halves", stop, **settings)
    shutil.rmtree(tmp_path / "other run", ignore_errors=True)
    resumed = resume(halves.path)
    assert (resumed.checkpoint.values["step"], resumed.notes) == (stop, ())
    go_on(resumed)
    found, expected = contents(halves), contents(whole)
    assert found.keys() == expected.keys() >= {"metrics.jsonl", "model.safetensors", "config.json"}
    assert [name for name in expected if found[name] != expected[name]] == []
    assert len(found["metrics.jsonl"].splitlines()) == 3
    assert load_checkpoint(whole.checkpoints.files()[-1]).values["step"] == steps


def interrupted(path: Path, stop: int = BATCHES + 2, **settings: Any) -> RunFolder:
    """A run that was stopped, with checkpoints of its last two steps."""
    return train(path, stop, **{"checkpoint_every": 1, **settings})


def test_a_run_is_resumed_as_often_as_one_likes(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "parts", 1)
    for stop in (2, 3, BATCHES, BATCHES + 1, STEPS - 1, STEPS):
        go_on(resume(folder.path), stop)
    go_on(resume(folder.path))
    assert contents(folder) == contents(train(tmp_path / "whole", checkpoint_every=1))


def test_the_number_of_threads_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    folder, whole = interrupted(tmp_path / "parts"), train(tmp_path / "whole", checkpoint_every=1)
    monkeypatch.setenv(VARIABLE, "2")
    resumed = resume(folder.path)
    assert resumed.notes == ()
    go_on(resumed)
    assert contents(folder) == contents(whole)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "parts")
    earlier, newest = folder.checkpoints.files()
    newest.write_bytes(newest.read_bytes()[:-7] + b"garbage")
    resumed = resume(folder.path)
    assert resumed.notes == (
        f"{newest}: damaged (its checksum is not that of its content); going on from {earlier.name} instead",
    )
    go_on(resumed)
    assert contents(folder) == contents(train(tmp_path / "whole", checkpoint_every=1))


def test_no_checkpoint_that_is_whole(tmp_path: Path) -> None:
    folder = interrupted(tmp_path, 2)
    for file in folder.checkpoints.files():
        file.write_bytes(b"")
    with pytest.raises(
        RunError, match="^no checkpoint of the run can be read: .*step-000000002.safetensors: not a .*; "
    ):
        resume(tmp_path)
    for file in folder.checkpoints.files():
        file.unlink()
    with pytest.raises(RunError, match="checkpoints: no checkpoints there; train first, or give another run"):
        resume(tmp_path)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            RunError, match=f"^{path}: no run there .no config.json.; give the folder that gpucnn train"
        ):
            resume(path)


def rewritten(folder: RunFolder, **config: Any) -> None:
    """Have the newest checkpoint tell of another configuration."""
    checkpoint = folder.checkpoints.load()
    save_checkpoint(checkpoint.path, checkpoint.arrays, checkpoint.values, {**checkpoint.config, **config})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"batch_sise": 3}, "safetensors: unknown setting 'batch_sise'; did you mean batch_size?"),
        ({"epochs": "three"}, "safetensors: epochs: expected .* got 'three'"),
        ({"optimizer": "lion"}, "does not fit the run that it describes .the state is of another trainer: optimizer was 'SGD', is"),
        ({"batch_size": 21}, "does not fit the run that it describes .the state is of another trainer: batches an epoch was"),
        ({"class_names": ["cat", "dog"]}, r"its class_names is \['cat', 'dog'\], and would be \['0', .*go on with the data set"),
        ({"image_size": 9}, "its create is .*'image_size': 8.*, and would be .*'image_size': 9.* now; go on with the data set"),
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_fit_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    folder = interrupted(tmp_path, optimizer="sgd")
    rewritten(folder, **config)
    with pytest.raises((RunError, ConfigError), match=message):
        resume(tmp_path).trainer(resume(tmp_path).ready.callbacks(folder))


def test_missing_data_are_named(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    rewritten(folder, data="mnist", image_size=32, data_dir=str(tmp_path / "gone"))
    with pytest.raises(DataError, match="name their folder with --data-dir"):
        resume(tmp_path)


@pytest.mark.parametrize("name", ["lr", "seed", "batch_size", "early_stopping", "nonsense"])
def test_what_would_make_another_run_is_refused(tmp_path: Path, name: str) -> None:
    folder = interrupted(tmp_path)
    with pytest.raises(
        ConfigError,
        match=f"^{name} is a setting of the run from its beginning; a run that goes on takes epochs, data_dir, device, ",
    ):
        resume(folder.path, **{name: 1})


def test_threads_and_how_often_checkpoints_are_written_may_change(tmp_path: Path) -> None:
    folder, whole = interrupted(tmp_path / "parts"), train(tmp_path / "whole")
    go_on(resume(folder.path, workers=2, checkpoint_every=4, keep=1))
    assert [path.name for path in folder.checkpoints.files()] == [f"step-0000000{STEPS}.safetensors"]
    for name in ("metrics.jsonl", "model.safetensors", "best.safetensors"):
        assert contents(folder)[name] == contents(whole)[name]


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "schedule", ["constant", "step_decay:1", "plateau:patience=0,threshold=0.9", "exponential:0.5"]
)
@pytest.mark.parametrize("stop", [STEPS - 2, 10**9])
def test_more_epochs_are_those_of_a_longer_run(tmp_path: Path, schedule: str, stop: int) -> None:
    folder = interrupted(tmp_path / "parts", stop, schedule=schedule)
    resumed = resume(folder.path, epochs=4)
    assert resumed.can_be_longer()
    go_on(resumed)
    assert contents(folder) == contents(train(tmp_path / "whole", checkpoint_every=1, schedule=schedule, epochs=4))


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "polynomial"])
def test_more_epochs_are_refused_where_the_schedule_would_have_been_another(tmp_path: Path, schedule: str) -> None:
    folder = interrupted(tmp_path, schedule=schedule)
    with pytest.raises(
        ConfigError,
        match=f"^epochs cannot be 4: the schedule {schedule} is laid out for 3, and for 4 would have had another learning "
        "rate from step 2 on; train a new run, or go on without --epochs$",
    ):
        resume(folder.path, epochs=4)
    assert not resume(folder.path, epochs=3).can_be_longer()


def test_as_long_as_rates_are_the_same_more_epochs_are_taken(tmp_path: Path) -> None:
    """As they are in a warm-up of a rate that has not begun to fall."""
    settings = {"schedule": "cosine", "checkpoint_every": 1}
    folder = interrupted(tmp_path / "parts", 1, **settings)
    go_on(resume(folder.path, epochs=4))
    assert contents(folder) == contents(train(tmp_path / "whole", epochs=4, **settings))


def test_fewer_epochs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="epochs is 2, but the run was asked for 3; it can be made longer, not shorter"
    ):
        resume(interrupted(tmp_path).path, epochs=2)


def test_more_epochs_are_refused_after_an_early_stop(tmp_path: Path) -> None:
    folder = train(tmp_path, early_stopping=1, lr=1e-30, schedule="constant")
    with pytest.raises(ConfigError, match="epochs cannot be changed, as the run was stopped: no better than epoch 1 "):
        resume(folder.path, epochs=9)


def test_another_device_is_told(tmp_path: Path, gpu: Backend) -> None:
    folder = interrupted(tmp_path / "parts")
    resumed = resume(folder.path, device="cuda")
    assert resumed.notes == ("the run was on cpu and goes on on cuda:0: bits may differ",)
    go_on(resumed)
    assert json.loads(folder.config_file.read_text())["device"] == "cuda:0"
    found, expected = (run.checkpoints.load().values["history"] for run in (folder, train(tmp_path / "whole")))
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-3)


def test_a_device_that_has_gone(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    rewritten(folder, device="cuda:99")
    with pytest.raises(DeviceError, match="; or go on elsewhere, e.g. with --device cpu, with other bits$"):
        resume(tmp_path)
    assert resume(tmp_path, device="cpu").notes == ("the run was on cuda:99 and goes on on cpu: bits may differ",)


def test_other_versions_are_told(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    now = folder.read_config()["versions"]
    rewritten(folder, versions={**now, "gpucnn": "0.0.1", "cpu": "an abacus", "lost": "1"})
    assert resume(folder.path).notes == (
        f"gpucnn was 0.0.1, is {now['gpucnn']}; cpu was an abacus, is {now['cpu']}: bits may differ",
    )
    rewritten(folder, versions="none")
    assert resume(folder.path).notes == ()


def test_a_run_tells_what_it_was_computed_with(backend: Backend, tmp_path: Path) -> None:
    found = train(tmp_path, 1, device=backend.device_name, checkpoint_every=1).read_config()["versions"]
    own = {"plain": {"cpu"}, "numpy": {"cpu"}, "jit": {"cpu", "llvmlite"}}.get(backend.name, {"gpu", "cupy"})
    assert found.keys() == {"gpucnn", "numpy", "python", *own}
    assert all(isinstance(value, str) and value for value in found.values())


def test_decoded_images_may_be_kept_elsewhere_after_a_stop(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cache, with one, and with another than before: the run's numbers are the same, and each cache is filled."""
    monkeypatch.setattr(file_stamp, "SETTLED", -(10**18))
    write_two_classes(Path("photos"), 20, 8)
    settings: dict[str, Any] = {"data": "photos", "mode": "grey", "checkpoint_every": 1}
    with tiny_names():
        whole = contents(train(Path("whole"), **settings))
        for name, first, then in (("a", None, "one"), ("b", "two", "three"), ("c", "four", None)):
            stopped = train(Path(name), 2, cache=first, **settings)
            go_on(resume(stopped.path, cache=then))
            given = contents(stopped)
            assert given.keys() == whole.keys()
            for file, content in whole.items():
                if file.startswith("checkpoints/"):  # which have the settings, too
                    arrays, expected = load(given[file]), load(content)
                    assert {key: array.tobytes() for key, array in arrays.items()} == {
                        key: array.tobytes() for key, array in expected.items()
                    }
                elif file != "config.json":
                    assert given[file] == content, file
            for place in (first, then):
                assert place is None or len(list(Path(place).glob("*.decoded"))) == 1
