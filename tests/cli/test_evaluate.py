"""`gpucnn evaluate`: what it prints and writes is what a loop over the answers counts."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from gpucnn import Tensor, data, no_grad
from gpucnn.cli.main import main
from gpucnn.training import RunFolder
from tests.cli.small_runs import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "run")


def logits_of(run: Path, images: np.ndarray) -> np.ndarray:
    with no_grad():
        logits: np.ndarray = RunFolder(run).load_model()(Tensor(images)).numpy().astype(np.float64)
    return logits


def answers_of(run: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 10) in float64, and labels (N,), image by image."""
    splits = data.load("digits", image_size=RunFolder(run).load_preprocess().image_size)
    images, labels = getattr(splits, part)[:]
    exponentials = np.exp(logits_of(run, images))
    return exponentials / exponentials.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_figures_in_the_json_file(
    split: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    assert main(["evaluate", str(run), "--device", "cpu", "--split", split, "--json", str(file), "--worst", "3"]) == 0
    probabilities, labels = answers_of(run, split)
    found = json.loads(file.read_text())
    answers = probabilities.argmax(axis=1)
    correct = int((answers == labels).sum())
    assert (found["run"], found["data"], found["split"]) == (str(run), "digits", split)
    assert (found["correct"], found["total"], found["accuracy"]) == (correct, len(labels), correct / len(labels))
    top_5 = np.mean([label in np.argsort(row)[-5:] for label, row in zip(labels, probabilities, strict=True)])
    assert found["top_5_accuracy"] == top_5
    losses = -np.log(probabilities[np.arange(len(labels)), labels])
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    worst = np.argsort(-losses)[:3]
    assert [one["index"] for one in found["worst"]] == list(worst)
    assert [one["label"] for one in found["worst"]] == [str(label) for label in labels[worst]]
    assert [one["answer"] for one in found["worst"]] == [str(answer) for answer in answers[worst]]
    assert [one["probability"] for one in found["worst"]] == pytest.approx(probabilities[worst].max(axis=1), rel=1e-4)
    counts = [[int(((labels == label) & (answers == answer)).sum()) for answer in range(10)] for label in range(10)]
    assert found["confusion"] == counts
    assert [one["class"] for one in found["classes"]] == list("0123456789")
    assert [one["images"] for one in found["classes"]] == [sum(row) for row in counts]
    assert found["classes"][3]["recall"] == counts[3][3] / sum(counts[3])
    assert found["macro_average"]["recall"] == pytest.approx(np.mean([one["recall"] for one in found["classes"]]))

    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{split} accuracy {correct / len(labels):.4f} ({correct}/{len(labels)})"
    assert lines[-2] == f"{split} top-5 accuracy {top_5:.4f} ({round(top_5 * len(labels))}/{len(labels)})"
    assert lines[-3] == f"{split} loss {found['loss']:.4f}"


def test_the_mean_over_both_sides(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    assert main(["evaluate", str(run), "--device", "cpu", "--views", "mirror", "--json", str(file)]) == 0
    images, labels = data.load("digits", image_size=RunFolder(run).load_preprocess().image_size).test[:]
    logits = (logits_of(run, images) + logits_of(run, np.ascontiguousarray(images[:, :, :, ::-1]))) / 2
    found = json.loads(file.read_text())
    assert found["correct"] == int((logits.argmax(axis=1) == labels).sum())
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_the_tables_on_the_screen(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--device", "cpu", "--worst", "2"]) == 0
    device, *text = capsys.readouterr().out.split("\n\n")
    assert device == "device: cpu (asked for)\nweights: last, of model.safetensors"
    matrix, classes, worst, _ = (part.splitlines() for part in text)
    assert matrix[0].split() == ["label", "\\", "answer", *"0123456789"]
    assert [line.split()[0] for line in matrix[2:]] == list("0123456789")
    assert classes[0].split() == ["class", "precision", "recall", "F1", "images"]
    assert classes[-1].split()[-1] == "360"
    assert worst[0].split() == ["label", "answer", "image", "probability", "loss"]
    assert len(worst) == 4


def test_without_worst_there_is_no_such_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert "probability" not in capsys.readouterr().out


def test_the_matrix_as_csv(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "confusion.csv"
    assert main(["evaluate", str(run), "--device", "cpu", "--csv", str(file)]) == 0
    with file.open(newline="") as opened:
        rows = list(csv.reader(opened))
    probabilities, labels = answers_of(run, "test")
    answers = probabilities.argmax(axis=1)
    assert rows[0][1:] == [row[0] for row in rows[1:]] == list("0123456789")
    for label in range(10):
        assert [int(cell) for cell in rows[label + 1][1:]] == np.bincount(
            answers[labels == label], minlength=10
        ).tolist()


def test_a_model_that_overflows_makes_json_all_the_same(run: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "large")
    config = RunFolder(run).read_config()
    model = RunFolder(run).load_model()
    for parameter in model.parameters():
        parameter.data.reshape(-1)[:] = np.resize([3e38, 3e38, -3e38], parameter.size)  # whose sums are inf - inf
    row = {"epoch": 1, "test_accuracy": 0.1}
    folder.prepare()
    folder.add_epoch(model, config, [row], 1.0)
    file = tmp_path / "found.json"
    with np.errstate(invalid="ignore", over="ignore"):
        assert main(["evaluate", str(folder.path), "--device", "cpu", "--json", str(file), "--worst", "1"]) == 0
    found = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert (found["loss"], found["worst"][0]["loss"], found["top_5_accuracy"]) == (None, None, 0)
