"""Run folders and model files: what is written, that it comes back, and what is said of damaged ones."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import layers, models
from gpucnn.atomic_file import write_atomically
from gpucnn.errors import RunError
from gpucnn.files.model_file import load_model, save_model
from gpucnn.runs import folder as folder_module
from gpucnn.training import Callback, CheckpointWriter, RunFolder, RunRecorder, Trainer, load_checkpoint
from tests.training.small_run import assert_same, small_trainer

CONFIG = {
    "create": {"name": "mlp", "num_classes": 10, "in_channels": 1, "image_size": 28},
    "preprocess": {"channels": 1, "native_size": 8, "image_size": 28, "full_scale": 16, "fit": "resize"},
    "class_names": list("0123456789"),
    "data": "digits",
}
ROW = {"epoch": 1, "test_accuracy": 0.5}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.prepare()
    folder.add_epoch(models.MLP(seed=4), CONFIG, [ROW], 1.5)
    return folder


def test_a_model_comes_back(run: RunFolder) -> None:
    model = run.load_model()
    assert not model.training
    for path, array in models.MLP(seed=4).state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[path], array)
    assert run.load_preprocess().fit == "resize"


def test_the_same_model_gives_the_same_bytes_with_ordinary_rights(run: RunFolder) -> None:
    first = run.model_file.read_bytes()
    run.add_epoch(models.MLP(seed=4), CONFIG, [ROW], 1.5)
    assert run.model_file.read_bytes() == first
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(run.model_file.stat().st_mode) == 0o666 & ~umask
    assert {path.name for path in run.path.iterdir()} == {
        "config.json", "metrics.jsonl", "times.jsonl", "model.safetensors", "best.safetensors",
    }  # fmt: skip


def test_parameters_of_any_layout_are_saved_right(tmp_path: Path) -> None:
    layer = layers.Linear(3, 4)
    values = np.arange(12, dtype=np.float32).reshape(3, 4).T
    layer.weight.data = values
    layer.bias.data = np.arange(8, dtype=np.float32)[::-2]
    save_model(tmp_path / "file", layer, {})
    parameters, description = load_model(tmp_path / "file")
    np.testing.assert_array_equal(parameters["weight"], values)
    np.testing.assert_array_equal(parameters["bias"], [7, 5, 3, 1])
    assert description == {}


def test_metrics_are_lines_of_json(run: RunFolder) -> None:
    run.add_epoch(models.MLP(seed=4), CONFIG, [ROW, {"epoch": 2, "test_accuracy": 0.75}], 2.5)
    assert run.metrics_file.read_text() == '{"epoch": 1, "test_accuracy": 0.5}\n{"epoch": 2, "test_accuracy": 0.75}\n'
    assert run.times_file.read_text() == '{"epoch": 1, "seconds": 1.5}\n{"epoch": 2, "seconds": 2.5}\n'
    assert run.read_times() == {1: 1.5, 2: 2.5}


def test_the_best_model_is_that_of_the_first_highest_test_accuracy(run: RunFolder) -> None:
    history: list[dict[str, float]] = [ROW]
    for seed, accuracy in enumerate((0.75, 0.75, 0.6), start=10):
        history.append({"epoch": len(history) + 1, "test_accuracy": accuracy})
        run.add_epoch(models.MLP(seed=seed), CONFIG, history, 1.0)
    best, last = load_model(run.best_model_file)[0], load_model(run.model_file)[0]
    np.testing.assert_array_equal(best["output.weight"], models.MLP(seed=10).output.weight.data)
    np.testing.assert_array_equal(last["output.weight"], models.MLP(seed=12).output.weight.data)


def test_without_a_test_set_no_model_is_the_best(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.add_epoch(models.MLP(), CONFIG, [{"epoch": 1}], 1.0)
    assert not folder.best_model_file.exists()


def test_an_earlier_run_stays_until_an_epoch_of_the_new_one_has_finished(run: RunFolder) -> None:
    run.finish({"epochs": 1})
    run.checkpoints.save(3, {}, {}, {})
    before = contents(run)
    recorder = RunRecorder(RunFolder(run.path), {**CONFIG, "seed": 9})
    trainer = small_trainer(recorder)
    recorder.on_train_begin(trainer)
    assert contents(run) == before
    trainer.history.append({"epoch": 1, "test_accuracy": 0.1})
    trainer.model = models.MLP(seed=9)
    recorder.on_epoch_end(trainer)
    assert recorder.saved_epochs == 1
    assert run.read_config()["seed"] == 9
    assert not run.summary_file.exists()
    assert run.checkpoints.files() == []
    assert run.metrics_file.read_text().count("\n") == 1
    np.testing.assert_array_equal(run.load_model().state_dict()["output.weight"], models.MLP(seed=9).output.weight.data)
    assert load_model(run.best_model_file)[0].keys() == load_model(run.model_file)[0].keys()
    assert RunFolder(run.path).weights("best").row == trainer.history[-1]


def test_a_checkpoint_takes_the_place_of_an_earlier_run_too(run: RunFolder) -> None:
    run.checkpoints.save(300, {}, {}, {})
    run.finish({"epochs": 1})
    folder = RunFolder(run.path)
    path = folder.add_checkpoint(2, {}, {}, {**CONFIG, "seed": 9}, keep=2)
    assert {entry.name for entry in run.path.iterdir()} == {"config.json", "checkpoints"}
    assert run.checkpoints.files() == [path]
    assert run.read_config()["seed"] == 9
    folder.add_epoch(models.MLP(), CONFIG, [ROW], 1.0)
    assert run.checkpoints.files() == [path]
    assert run.model_file.exists()


def contents(folder: RunFolder) -> dict[str, bytes]:
    """All files but that of the lock."""
    files = (path for path in folder.path.rglob("*") if path.is_file() and path != folder.lock.path)
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in files}


def test_a_run_that_cannot_be_saved_leaves_the_earlier_one_readable(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run)
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunFolder(run.path).add_epoch(models.MLP(seed=9), CONFIG, [{"test_loss": float("nan")}], 1.0)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(
        RunError, match=r"model.safetensors: cannot be written \(No space left on device\); make room on the disk"
    ):
        RunFolder(run.path).add_epoch(models.MLP(seed=9), {**CONFIG, "seed": 9}, [ROW], 1.0)
    with pytest.raises(RunError, match="No space left on device"):
        RunFolder(run.path).add_checkpoint(1, {}, {}, {**CONFIG, "seed": 9}, keep=2)
    assert contents(run) == before


class Killed(BaseException):
    pass


class KillAfter(Callback):
    """Ends training as a kill would, as far as files show it."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_batch_end(self, trainer: Trainer) -> None:
        self.batches -= 1
        if self.batches == 0:
            raise Killed


def recorded(path: Path, *callbacks: Callback, every: int = 3, average: bool = True) -> tuple[RunFolder, Trainer]:
    folder = RunFolder(path)
    recorder, writer = RunRecorder(folder, CONFIG), CheckpointWriter(folder, CONFIG, every)
    return folder, small_trainer(recorder, writer, *callbacks, average=average)


@pytest.mark.parametrize("batches", [4, 5, 7, 8, 9, 13, 16])
def test_a_resumed_run_has_the_files_of_one_that_never_stopped(tmp_path: Path, batches: int) -> None:
    whole, trainer = recorded(tmp_path / "whole")
    trainer.fit(4)
    folder, killed = recorded(tmp_path / "resumed", KillAfter(batches))
    with pytest.raises(Killed):
        killed.fit(4)
    folder, resumed = recorded(tmp_path / "resumed")
    checkpoint = folder.checkpoints.load()
    assert checkpoint.values["step"] == (batches - 1) // 3 * 3
    resumed.restore(checkpoint.arrays, checkpoint.values)
    resumed.fit(4 - resumed.epoch)
    assert_same(resumed.state(), trainer.state())
    expected, found = contents(whole), contents(folder)
    assert len(folder.read_times()) == 4
    del expected["times.jsonl"], found["times.jsonl"]
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert found[name] == content, name


def test_rows_after_the_restored_step_are_dropped_at_once(tmp_path: Path) -> None:
    folder, trainer = recorded(tmp_path, every=5)
    trainer.fit(2)
    folder.finish({})
    checkpoint = load_checkpoint(folder.checkpoints.files()[0])
    assert (checkpoint.values["epoch"], checkpoint.values["step"]) == (1, 5)
    folder, resumed = recorded(tmp_path, KillAfter(1))
    resumed.restore(checkpoint.arrays, checkpoint.values)
    assert folder.metrics_file.read_text().count("\n") == 2
    with pytest.raises(Killed):
        resumed.fit(1)
    assert [json.loads(line)["epoch"] for line in folder.metrics_file.read_text().splitlines()] == [1]
    assert list(folder.read_times()) == [1]
    assert not folder.summary_file.exists()


def test_the_folder_is_made_ready_once_and_a_resumed_run_is_cut_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes there, and however many they are."""
    done: list[str] = []
    for name in ("remove_parts", "write_atomically"):
        monkeypatch.setattr(folder_module, name, noting(done, getattr(folder_module, name)))
    _, trainer = recorded(tmp_path)
    assert done == ["remove_parts", "remove_parts", ".writable"]
    trainer.fit(1)
    done.clear()
    folder, resumed = recorded(tmp_path, KillAfter(1))
    assert done == ["remove_parts", "remove_parts", ".writable"]
    checkpoint = folder.checkpoints.load()
    resumed.restore(checkpoint.arrays, checkpoint.values)
    done.clear()
    with pytest.raises(Killed):
        resumed.fit(1)
    assert done == ["config.json", "metrics.jsonl", "times.jsonl"]
    assert folder.lock.owner() is None
    done.clear()
    resumed.fit(1)  # which begins to write anew, in the middle of the epoch
    assert done[:3] == ["config.json", "metrics.jsonl", "times.jsonl"]


def noting(done: list[str], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which also puts its name into `done`, or that of the file that it writes."""

    def noted(path: Path, *more: Any) -> Any:
        done.append(path.name if function is write_atomically else function.__name__)
        return function(path, *more)

    return noted


def test_the_models_kept_are_those_that_were_measured(tmp_path: Path) -> None:
    folder, trainer = recorded(tmp_path)
    trainer.fit(1)
    assert trainer.average is not None
    own, kept = trainer.model.state_dict(), load_model(folder.model_file)[0]
    assert not np.array_equal(kept["0.weight"], own["0.weight"])
    np.testing.assert_array_equal(kept["0.weight"], trainer.average.state_dict()["0.weight"])


def test_times_that_cannot_be_read_cost_no_run(run: RunFolder) -> None:
    infinite = '{"epoch": Infinity, "seconds": 1}\n'
    for content in ("x", "[1]\n", '{"epoch": 1}\n', "[" * 100_000, infinite):
        run.times_file.write_text(content)
        assert run.read_times() == {}
    run.add_epoch(models.MLP(), CONFIG, [ROW, {"epoch": 2}], 4.0)
    assert run.read_times() == {2: 4.0}


def test_what_a_killed_process_left_half_written_is_removed(run: RunFolder) -> None:
    run.checkpoints.save(3, {}, {}, {})
    for name in (".model.safetensors.123.part", "checkpoints/.step-000000004.safetensors.9.part"):
        (run.path / name).write_text("half")
    before = contents(run)
    RunFolder(run.path).prepare()
    assert set(before) - set(contents(run)) == {
        ".model.safetensors.123.part", "checkpoints/.step-000000004.safetensors.9.part",
    }  # fmt: skip


@pytest.mark.parametrize("content", ["[1]", '{"architectures": ["BertModel"]}', None])
def test_files_that_are_no_run_are_left_alone(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "model.safetensors").write_text("precious")
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match="holds files that are no run of gpucnn; choose another --out"):
        RunRecorder(RunFolder(tmp_path), CONFIG)
    assert (tmp_path / "model.safetensors").read_text() == "precious"


def test_numbers_go_up(tmp_path: Path) -> None:
    (tmp_path / "a-1").mkdir()
    assert RunFolder.next_in(tmp_path, "a").path.name == "a-2"
    assert RunFolder.next_in(tmp_path, "b").path.name == "b-1"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_file_is_on_the_disk_before_it_gets_its_name_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that loses power shows nothing else of what was not synced."""
    path, seen = tmp_path / "file", []
    path.write_text("old")
    fsync = os.fsync

    def watched(handle: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.read_text()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomically(path, b"new")
    assert seen == [(False, "old"), (True, "new")]


def test_what_is_no_run_is_named(tmp_path: Path, run: RunFolder) -> None:
    with pytest.raises(
        RunError, match=r"nowhere: no run there \(no config.json\); give the folder that gpucnn train made"
    ):
        RunFolder(tmp_path / "nowhere").read_config()
    original = run.model_file.read_bytes()
    for content, message in [
        (original[:100], "not a model that can be read"),
        (b"", "not a model that can be read"),
        (original.replace(b"hidden.weight", b"hidden.weighs"), r"does not fit its own description \(these parameters"),
        (original.replace(b'\\"mlp\\"', b'\\"mlq\\"'), r"does not fit its own description \(unknown model 'mlq'"),
    ]:
        run.model_file.write_bytes(content)
        with pytest.raises(RunError, match=message) as raised:
            run.load_model()
        assert str(raised.value).startswith(str(run.model_file))
    run.model_file.unlink()
    with pytest.raises(RunError, match="no such model file; train first"):
        run.load_model()
    for content, message in [
        ("[1]", "config.json: no entry 'create' as gpucnn train writes it"),
        ('{"create": {}, "preprocess": 3}', "config.json: no entry 'preprocess' as gpucnn train writes it"),
        ("{", "config.json: cannot be read"),
        ("[" * 100_000, "config.json: cannot be read"),
    ]:
        run.config_file.write_text(content)
        with pytest.raises(RunError, match=message):
            run.read_config()


@pytest.mark.parametrize("value", [[1], [[]] * 2000, "1", -1, 2.0, None, {"a": 1}], ids=lambda value: repr(value)[:9])
@pytest.mark.parametrize("entry", ["num_classes", "in_channels", "image_size"])
def test_a_description_of_other_types_is_named_in_a_line(run: RunFolder, entry: str, value: object) -> None:
    save_model(run.model_file, models.MLP(), {**CONFIG["create"], entry: value})  # type: ignore[dict-item]
    if value is None and entry != "num_classes":  # which stands for the model's own
        run.load_model()
        return
    with pytest.raises(
        RunError, match=f"does not fit its own description .MLP: {entry} must be an int >= 1, got"
    ) as raised:
        run.load_model()
    assert len(str(raised.value).removeprefix(str(run.model_file))) < 400


def test_what_safetensors_says_is_cut(run: RunFolder) -> None:
    header = json.dumps({"__metadata__": "x" * 5000}).encode()
    run.model_file.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(RunError, match="not a model that can be read") as raised:
        run.load_model()
    assert len(str(raised.value).removeprefix(str(run.model_file))) < 400


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("image_size", [[]] * 2000),
        ("image_size", "28"),
        ("image_size", None),
        ("native_size", 0),
        ("full_scale", 0),
        ("fit", "x"),
        ("image_size", 4),
    ],
)
def test_a_preprocess_that_is_none_is_named(run: RunFolder, entry: str, value: object) -> None:
    run.config_file.write_text(json.dumps({**CONFIG, "preprocess": {**CONFIG["preprocess"], entry: value}}))
    with pytest.raises(RunError, match=r"config.json: no valid entry 'preprocess' \(") as raised:
        run.load_preprocess()
    assert len(str(raised.value).removeprefix(str(run.path))) < 400


def test_parameters_numpy_does_not_know(run: RunFolder) -> None:
    content = run.model_file.read_bytes()
    run.model_file.write_bytes(content.replace(b'"dtype":"F32"', b'"dtype":"I32"'))
    run.load_model()  # integers are converted, as loading takes values into the parameter's dtype
    run.model_file.write_bytes(content.replace(b'gpucnn":"{', b'gpucnn":"]'))
    with pytest.raises(RunError, match="not a model that can be read"):
        run.load_model()


def test_a_safetensors_file_of_others_is_named(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, tmp_path / "file")
    with pytest.raises(RunError, match="a safetensors file, but not a model that gpucnn wrote"):
        load_model(tmp_path / "file")
