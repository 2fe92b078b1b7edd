"""Weights that leave: under gpucnn's names, and under those of torchvision's models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import gpucnn
from gpucnn import models
from gpucnn.data import Preprocess
from gpucnn.errors import ArgumentError, GraphError, RunError, StateError
from gpucnn.export import save_onnx, to_onnx, write_weights
from gpucnn.export.run_weights import TORCHVISION
from gpucnn.runs.trained_run import TrainedRun, Weights
from tests.cli.small_runs import train
from tests.models.test_torchvision_layout import IN_TORCHVISION, LAYOUTS, TORCHVISION_NAMES

STATISTICS = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def hand_made(folder: Path, name: str, in_channels: int = 3, classes: int = 1000) -> TrainedRun:
    """As `gpucnn.load` gives it, of weights that were never trained."""
    size = models.default_input(name)[1]
    create = {"name": name, "num_classes": classes, "in_channels": in_channels, "image_size": size}
    preprocess = Preprocess(in_channels, size, size, 255, "crop", *(one[:in_channels] for one in STATISTICS))
    names = [str(number) for number in range(classes)]
    return TrainedRun(models.create(**create), preprocess, names, {"create": create, "data": "folder"}, Weights("last", folder / "model.safetensors", {}))  # fmt: skip


def described(path: Path) -> dict[str, object]:
    with safe_open(path, "numpy") as file:
        found: dict[str, object] = json.loads(file.metadata()["gpucnn"])
    return found


def test_gpucnn_takes_its_own_names_back(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "lenet5")
    trained = gpucnn.load(run, device="cpu")
    written = write_weights(trained, tmp_path / "w.safetensors")
    own = trained.model.state_dict()
    found = load_file(written.file)
    assert found.keys() == own.keys()
    assert all(found[path].tobytes() == np.asarray(own[path]).tobytes() for path in own)
    told = described(written.file)
    assert told["class_names"] == list(trained.class_names)
    assert told["preprocess"]["full_scale"] == 16  # type: ignore[index]
    (*_, row) = gpucnn.runs.folder.RunFolder(run).read_metrics()
    assert told["exported"]["test_accuracy"] == str(row["test_accuracy"])  # type: ignore[index]
    sizes = "num_classes=10, in_channels=1, image_size=32"
    assert written.loading == f"model = gpucnn.models.create('lenet5', {sizes}, weights={str(written.file)!r})"
    names: dict[str, Any] = {"gpucnn": gpucnn}
    exec(written.loading, names)
    assert names["model"].state_dict().keys() == own.keys()
    content = written.file.read_bytes()
    write_weights(trained, written.file)  # in the place of ours, the same bytes
    assert written.file.read_bytes() == content


def test_weights_of_a_network_from_an_onnx_file_go_back_into_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / 'it\'s a "run"'
    odd.mkdir()
    save_onnx(to_onnx(models.create("mlp", image_size=8), np.zeros((1, 1, 8, 8), np.float32)), odd / "network-1.onnx")
    trained = hand_made(odd, "mlp", 1, 10)
    trained.model = gpucnn.load_onnx(odd / "network-1.onnx")
    trained.config["create"] |= {"name": "mine.onnx", "onnx": "network-1.onnx"}
    for parameter in trained.model.parameters():
        parameter.array[...] = 0.5
    monkeypatch.chdir(tmp_path)
    written = write_weights(trained, "w'.safetensors")
    names: dict[str, Any] = {"gpucnn": gpucnn}
    exec(written.loading, names)
    found, own = names["model"].state_dict(), trained.model.state_dict()
    assert found.keys() == own.keys()
    assert all((found[path] == 0.5).all() for path, _ in trained.model.named_parameters())


def test_normalisation_travels_with_the_weights(tmp_path: Path) -> None:
    trained = hand_made(tmp_path, "squeezenet", classes=3)
    path = write_weights(trained, tmp_path / "w.safetensors").file
    taken = models.load_weights(models.create("squeezenet", 3), path)
    assert taken.normalization == STATISTICS
    assert taken.normalized_by == "that of their run"
    assert taken.taken == taken.total
    save_file(load_file(path), path, {"gpucnn": json.dumps({**trained.config["create"], "preprocess": [1]})})
    taken = models.load_weights(models.create("squeezenet", 3), path)
    assert taken.normalization is None
    assert taken.normalized_by == "not known, as the file's is damaged"


def test_the_models_that_torchvision_has_are_all_known() -> None:
    assert {name: TORCHVISION_NAMES.get(name, name) for name in IN_TORCHVISION} == TORCHVISION


@pytest.mark.parametrize("name", ["resnet18", "squeezenet"])
def test_names_and_shapes_are_those_of_torchvision_with_its_counters(name: str, tmp_path: Path) -> None:
    written = write_weights(hand_made(tmp_path, name), tmp_path / "w.safetensors", for_torchvision=True)
    found = load_file(written.file)
    layout = LAYOUTS[TORCHVISION[name]]
    counters = {path for path in found if path.endswith(".num_batches_tracked")}
    assert {path: "x".join(map(str, found[path].shape)) for path in found.keys() - counters} == layout
    assert counters == {
        path.replace("running_mean", "num_batches_tracked") for path in layout if "running_mean" in path
    }
    assert all((found[path].dtype, found[path].shape, found[path]) == (np.int64, (), 0) for path in counters)
    assert f"torchvision.models.{TORCHVISION[name]}(num_classes=1000)" in written.loading
    assert models.load_weights(models.create(name, 1000), written.file).left == []


def test_what_torchvision_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        GraphError, match=r"lenet5: torchvision has no such model, .*resnet18, .*take --format safetensors"
    ):
        write_weights(hand_made(tmp_path, "lenet5", 1, 10), tmp_path / "w.safetensors", for_torchvision=True)
    with pytest.raises(
        GraphError,
        match=r"resnet18: its conv1.weight is \(64, 1, 7, 7\), and that of torchvision's resnet18 \(64, 3, 7, 7\)",
    ):
        write_weights(hand_made(tmp_path, "resnet18", 1, 10), tmp_path / "w.safetensors", for_torchvision=True)
    assert not list(tmp_path.iterdir())


def test_places_that_are_others_and_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "mlp")
    trained = gpucnn.load(run, device="cpu")
    kept = (run / "model.safetensors").read_bytes()
    (tmp_path / "thesis.txt").write_text("mine")
    for place in (run / "model.safetensors", tmp_path / "thesis.txt"):
        with pytest.raises(
            ArgumentError, match=f"{place.name}: holds something else than exported weights; choose another"
        ):
            write_weights(trained, place)
    assert (run / "model.safetensors").read_bytes() == kept
    with pytest.raises(ArgumentError, match=r"write_weights: the file must end in \.safetensors, got .*w\.onnx"):
        write_weights(trained, tmp_path / "w.onnx")
    with pytest.raises(RunError, match="cannot be written"):
        write_weights(trained, tmp_path / "nowhere" / "w.safetensors")
    next(trained.model.parameters()).array[...] = np.nan
    with pytest.raises(StateError, match="NaN"):
        write_weights(trained, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()
