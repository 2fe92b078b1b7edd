"""Run folders and model files: what is written, that it comes back, and what is said of damaged ones."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from gpucnn import layers, models
from gpucnn.errors import RunError
from gpucnn.training import RunFolder, RunRecorder
from gpucnn.training.model_file import load_model, save_model, write_atomically

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
    folder.add_epoch(models.MLP(seed=4), CONFIG, ROW, first=True)
    return folder


def test_a_model_comes_back(run: RunFolder) -> None:
    model = run.load_model()
    assert not model.training
    for path, array in models.MLP(seed=4).state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[path], array)
    assert run.load_preprocess().fit == "resize"


def test_the_same_model_gives_the_same_bytes_with_ordinary_rights(run: RunFolder) -> None:
    first = run.model_file.read_bytes()
    run.add_epoch(models.MLP(seed=4), CONFIG, ROW, first=True)
    assert run.model_file.read_bytes() == first
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(run.model_file.stat().st_mode) == 0o666 & ~umask
    assert {path.name for path in run.path.iterdir()} == {"config.json", "metrics.jsonl", "model.safetensors"}


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
    run.add_epoch(models.MLP(seed=4), CONFIG, {"epoch": 2, "test_accuracy": 0.75}, first=False)
    assert [json.loads(line)["epoch"] for line in run.metrics_file.read_text().splitlines()] == [1, 2]


def test_an_earlier_run_stays_until_an_epoch_of_the_new_one_has_finished(run: RunFolder) -> None:
    run.finish({"epochs": 1})
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    recorder = RunRecorder(RunFolder(run.path), {**CONFIG, "seed": 9})
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before

    class Finished:
        model, history = models.MLP(seed=9), [ROW]

    recorder.on_epoch_end(Finished())  # type: ignore[arg-type]
    assert recorder.saved_epochs == 1
    assert run.read_config()["seed"] == 9
    assert not run.summary_file.exists()
    assert run.metrics_file.read_text().count("\n") == 1
    np.testing.assert_array_equal(run.load_model().state_dict()["output.weight"], models.MLP(seed=9).output.weight.data)


def test_a_run_that_cannot_be_saved_leaves_the_earlier_one_readable(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.add_epoch(models.MLP(seed=9), CONFIG, {"test_loss": float("nan")}, first=True)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        run.add_epoch(models.MLP(seed=9), {**CONFIG, "seed": 9}, ROW, first=True)
    np.testing.assert_array_equal(run.load_model().state_dict()["output.weight"], models.MLP(seed=4).output.weight.data)
    assert "seed" not in run.read_config()


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
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


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


@pytest.mark.parametrize(
    ("entry", "value"),
    [
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
    with pytest.raises(RunError, match=r"config.json: no valid entry 'preprocess' \("):
        run.load_preprocess()


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
    with pytest.raises(RunError, match="a safetensors file, but not one that gpucnn wrote"):
        load_model(tmp_path / "file")
