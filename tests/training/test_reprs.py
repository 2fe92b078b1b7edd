"""At the prompt: one line each for a trainer, a step, and what they found; and a trainer without a test loader."""

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

from gpucnn import layers, optim, training
from gpucnn.data import ArrayDataset, DataLoader
from gpucnn.training.metrics import History, Metrics

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
