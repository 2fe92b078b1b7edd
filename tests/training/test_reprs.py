"""At the prompt: one line each for a trainer, a step, and what they found; and a trainer without a test loader."""

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

from gpucnn import layers, optim, training
from gpucnn.data import ArrayDataset, DataLoader
from gpucnn.training.find_lr import RangeTest
from gpucnn.training.metrics import History, Metrics
from tests.html_page import Page
from tests.test_html_fragments import HOSTILE

IMAGES = np.random.default_rng(0).standard_normal((12, 1, 2, 2)).astype(np.float32)
LOADER = DataLoader(ArrayDataset(IMAGES, np.arange(12) % 3, num_classes=3), batch_size=5)


def parts() -> tuple[layers.Layer, optim.Optimizer]:
    model = layers.Sequential(layers.Flatten(), layers.Linear(4, 3), seed=0)
    return model, optim.SGD(model.parameters(), 0.001)


def test_a_trainer_needs_a_model_an_optimizer_and_a_loader() -> None:
    trainer = training.Trainer(*parts(), LOADER)
    begun = "Trainer(Sequential with SGD(lr=0.001; 2 parameters, 15 numbers); batches an epoch: 3; "
    assert repr(trainer) == f"{begun}0 epochs and 0 steps done)"
    assert repr(trainer.history) == "History(0 epochs; no row yet)"
    history = trainer.fit(1)
    assert repr(trainer) == f"{begun}1 epoch and 3 steps done)"
    assert history[0].keys() == {"epoch", "train_loss", "train_accuracy", "lr"}
    row = history[0]
    assert repr(history) == (
        f"History(1 epoch; train_loss {row['train_loss']:.4g}, train_accuracy {row['train_accuracy']:.4g}, lr 0.001)"
    )
    assert "\n" not in repr(trainer) + repr(history) + repr(trainer.metrics)


@pytest.mark.parametrize(
    "through", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), lambda one: History(one)]
)
def test_a_history_is_a_list(through: Any) -> None:
    rows = [{"epoch": 1, "train_loss": 0.5}]
    history = through(History(rows))
    assert history == rows
    assert type(history) is History
    assert json.loads(json.dumps(history)) == rows


def test_a_step_says_how_many_recordings_it_keeps() -> None:
    step = training.CapturedStep(*parts())
    for _ in range(4):
        step(IMAGES, np.arange(12) % 3)
    kept = "1 recording" if step.recorder.recordings else "0 recordings"
    assert repr(step) == f"CapturedStep(Sequential with SGD(lr=0.001; 2 parameters, 15 numbers); {kept})"


def test_what_was_found_is_told_in_a_line() -> None:
    model, _ = parts()
    found = training.evaluate(model, LOADER)
    right = found.correct
    assert repr(found) == (
        f"Evaluation(loss {found.loss:.4f}, accuracy {right / 12:.4f} ({right} of 12), top-5 accuracy 1.0000)"
    )
    assert repr(found.confusion) == f"ConfusionMatrix(3 classes, {right} of 12 images right)"
    assert repr(Metrics()) == "Metrics(loss nan, accuracy nan; 0 images)"


def page(one: Any) -> Page:
    shown = Page(one._repr_html_())
    shown.check_harmless()
    return shown


def test_a_history_in_a_notebook_has_its_last_rows_and_every_course() -> None:
    assert History()._repr_html_() is None
    assert training.Trainer(*parts(), LOADER)._repr_html_() is None
    rows = [{"epoch": place, "train_loss": 1 / place, "lr": 0.1} for place in range(1, 8)]
    rows[1]["val_loss"] = 0.25
    shown = page(History(rows))
    assert shown.texts[0] == "7 epochs"
    header, course, *last = shown.rows
    assert header == ["epoch", "train_loss", "lr", "val_loss"]
    assert (course[0], shown.tags.count("polyline")) == ("", 2), "of val_loss there is one number alone"
    assert last == [[str(place), f"{1 / place:.4g}", "0.1", ""] for place in range(3, 8)]
    assert any("from 1 to 0.1429, lowest 0.1429, highest 1" in text for text in shown.texts)
    trainer = training.Trainer(*parts(), LOADER)
    trainer.fit(2)
    assert page(trainer).texts[0] == repr(trainer)
    assert page(trainer).rows == page(trainer.history).rows


def test_a_history_of_anything_is_shown_as_text() -> None:
    history: Any = History([{"epoch": 1, "note": "ours"}])
    assert history._repr_html_() is None


@pytest.mark.parametrize("classes", [3, 20, 21, 150, 1001])
def test_a_confusion_matrix_in_a_notebook(classes: int) -> None:
    rng = np.random.default_rng(classes)
    names = [f"{HOSTILE[0]}{place}" if place == 1 else f"class {place}" for place in range(classes)]
    matrix = training.ConfusionMatrix(names)
    labels = rng.integers(0, classes, 4000)
    answers = np.where(rng.random(4000) < 0.7, labels, (labels + 1) % classes)
    matrix.update(answers, labels)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, answers), 1)
    shown = page(matrix)
    assert shown.texts[0] == repr(matrix)
    if classes <= 20:
        cells = [[int(cell.replace(",", "") or 0) for cell in row[1:]] for row in shown.rows[1:]]
        assert cells == counts.tolist()
        assert shown.rows[0][2] == shown.rows[2][0] == "<script>a...script>1"
        colours = [value.partition("rgba(66")[2] != "" for name, value in shown.attributes if name == "style"]
        assert sum(colours) == np.count_nonzero(counts.diagonal()), "what is right has a colour of its own"
        return
    assert shown.rows[0] == ["label", "answer", "times", "of"]
    assert len(shown.rows) == 21
    wrong = counts - np.diag(counts.diagonal())
    assert [int(row[2]) for row in shown.rows[1:]] == sorted(wrong[wrong > 0], reverse=True)[:20]
    assert len(shown.images) == (classes <= 1000), "and a picture, unless it were huge"
    for image in shown.images:
        assert image.shape == (classes, classes)
        np.testing.assert_array_equal(image > 0, counts > 0)


def test_an_evaluation_in_a_notebook_has_its_figures() -> None:
    model, _ = parts()
    found = training.evaluate(model, LOADER, HOSTILE[:3])
    shown = page(found)
    assert shown.texts[0] == repr(found)
    assert shown.rows[0] == ["class", "precision", "recall", "F1", "images"]
    assert [row[0] for row in shown.rows[1:]] == [
        "<script>a.../script>",
        "\"'><b onload=x>",
        "a&amp;b",
        "macro average",
    ]
    assert [row[2] for row in shown.rows[1:4]] == [f"{recall:.4f}" for recall in found.confusion.scores().recall]


def test_a_range_test_is_a_line_and_a_course() -> None:
    found = RangeTest((1e-3, 1e-2, 1e-1), (3.0, 2.0, 1.0), (3.0, 2.0, 1.5), 1e-2, 1e-1)
    assert repr(found) == "RangeTest(lr 0.01; steepest at 1.0e-02, minimum at 1e-01 (a tenth of it: 1e-02); 3 steps)"
    shown = page(found)
    assert shown.texts[0] == repr(found)
    assert shown.tags.count("polyline") == 1
    assert any("from 3 to 1.5, lowest 1.5, highest 3" in text for text in shown.texts)
    assert "loss, from a rate of 1e-3 to 0.1: " in shown.texts
