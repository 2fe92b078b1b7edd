"""Each lesson runs, and prints what it promises."""

import importlib.util
import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gpucnn import data
from tests.data.idx_files import write_small_mnist

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    load(name).main()


def test_train_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_small_mnist(tmp_path)
    run("train_mnist", monkeypatch, str(tmp_path), "--epochs", "2")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("device: ")
    assert lines[2].startswith("epoch 2: test accuracy ")


def test_train_mnist_learns_the_real_one(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train_mnist", monkeypatch, str(image_folder / "mnist"), "--epochs", "1", "--limit", "6000")
    assert float(capsys.readouterr().out.split()[-2]) > 0.88


@pytest.mark.sample(0)
def test_mlp_versus_cnn_shows_what_it_says() -> None:
    results = load("mlp_versus_cnn").compare(data.load("digits", image_size=28), epochs=5)
    mlp, lenet, moved_mlp, moved_lenet = results
    assert lenet.parameters == 61_706 < mlp.parameters == 79_510
    assert 0.9 < mlp.accuracy < lenet.accuracy
    assert max(mlp.moved_accuracy, lenet.moved_accuracy) < 0.8, "pooling alone does not do it"
    assert moved_lenet.moved_accuracy > moved_mlp.moved_accuracy + 0.05
    assert moved_lenet.moved_accuracy > lenet.moved_accuracy + 0.15


def test_grid_search_tells_the_accuracy_of_each_pair_and_the_best(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="ImageClassifier needs the extra sklearn")
    example = load("grid_search")
    monkeypatch.setattr(example, "GRID", {"model": ["mlp"], "lr": [0.0001, 0.01]})
    monkeypatch.setattr(sys, "argv", ["grid_search", "--epochs", "4", "--limit", "300"])
    with joblib_in_threads():
        example.main()
    *pairs, best = capsys.readouterr().out.splitlines()
    accuracies = [float(line.partition("accuracy ")[2].partition(" ")[0]) for line in pairs]
    assert [line.partition(" accuracy")[0] for line in pairs] == ["mlp      lr 0.0001", "mlp      lr 0.01  "]
    assert accuracies[0] < 0.7 < accuracies[1]
    assert best.startswith("best: {'lr': 0.01, 'model': 'mlp'}; 0.")
    assert best.endswith(" on 75 digits that no training has seen")


def joblib_in_threads() -> AbstractContextManager[object]:
    """Inside, searches use threads: processes take seconds to start, and tests/image_classifier has them."""
    import joblib

    context: AbstractContextManager[object] = joblib.parallel_config("threading")
    return context


def test_transfer_prints_its_commands_and_what_was_gained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    for file in ("data_batch_1.bin", "test_batch.bin"):
        records = draw.integers(0, 256, (20, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(20) % 10
        records.tofile(tmp_path / file)
    out = tmp_path / "out"
    run(
        *("transfer", monkeypatch, str(tmp_path), "--out", str(out)),
        *("--model", "mlp", "--seeds", "1", "--epochs", "1", "--six-epochs", "1"),
    )
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if line.startswith("gpucnn train ")]
    assert len(commands) == 3
    assert commands[0].endswith(f"--data-dir {out / 'six'} --out {out / 'run-six'} --model mlp --normalize --epochs 1")
    assert commands[2].endswith(f"--weights {out / 'run-six' / 'model.safetensors'}")
    assert lines[-1].startswith("mean gain: ")
    means = [
        json.loads((out / run / "config.json").read_text())["preprocess"]["mean"]
        for run in ("run-six", "tuned-0", "scratch-0")
    ]
    assert means[0] == means[1] != means[2]
    assert sorted(path.name for path in (out / "four" / "test").iterdir()) == ["airplane", "cat", "frog", "ship"]
