"""Which epoch is the better one, and early stopping by it: when, why, and the same after a resume."""

import itertools
import json

import pytest

from gpucnn import layers, optim
from gpucnn.errors import ArgumentError
from gpucnn.training import EarlyStopping, Trainer
from gpucnn.training.best_epoch import is_better
from tests.training.small_run import small_trainer

SCORES = [(0.5, 5.0), (0.6, 4.0), (0.6, 4.5), (0.6, 3.9), (0.6, 3.9), (0.55, 0.1), (0.7, 9.0)]
"""Accuracy and loss of epochs: the best so far are those with the numbers 1, 2, 2, 4, 4, 4 and 7."""


class Scripted(Trainer):
    """Whose epochs have the scores that a list says."""

    def __init__(self, *callbacks: EarlyStopping, part: str = "val") -> None:
        like = small_trainer()
        model = layers.Linear(1, 1)
        super().__init__(model, optim.SGD(model.parameters(), 0.1), like.train_loader, None, None, callbacks)
        self.part = part

    def run_epoch(self) -> dict[str, float]:
        accuracy, loss = SCORES[self.epoch]
        scores = {f"{self.part}_accuracy": accuracy, f"{self.part}_loss": loss}
        return {"epoch": self.epoch + 1, "train_loss": 1.0, "train_accuracy": 0.1, **scores}


def test_the_better_epoch_is_that_of_higher_accuracy_then_of_lower_loss() -> None:
    rows = [{"val_accuracy": accuracy, "val_loss": loss} for accuracy, loss in SCORES]
    for row, other in itertools.product(rows, rows):
        assert is_better(row, other) == (
            (row["val_accuracy"], -row["val_loss"]) > (other["val_accuracy"], -other["val_loss"])
        )


@pytest.mark.parametrize(
    ("row", "other", "better"),
    [
        ({"val_accuracy": 0.0}, {"test_accuracy": 0.9}, True),
        ({"val_accuracy": 0.1, "test_accuracy": 0.9}, {"val_accuracy": 0.2, "test_accuracy": 0.1}, False),
        ({"test_accuracy": 0.1, "train_accuracy": 0.9}, {"test_accuracy": 0.2, "train_accuracy": 0.1}, False),
        ({"train_accuracy": 0.9}, {"train_accuracy": 0.1}, True),
        ({"test_loss": 1.0}, {"test_loss": 2.0}, True),
        ({"test_accuracy": 0.5}, {"test_accuracy": 0.5}, False),
    ],
)
def test_by_which_images_epochs_are_judged(row: dict[str, float], other: dict[str, float], better: bool) -> None:
    assert is_better(row, other) == better


@pytest.mark.parametrize(
    ("patience", "least_change", "epochs", "reason"),
    [
        (1, 0, 3, "no better than epoch 2 (val accuracy 0.6000, loss 4.0000) for 1 epoch"),
        (2, 0, 6, "no better than epoch 4 (val accuracy 0.6000, loss 3.9000) for 2 epochs"),
        (2, 0.2, 3, "no better than epoch 1 (val accuracy 0.5000, loss 5.0000) for 2 epochs"),
        (3, 0, 7, ""),
    ],
)
def test_when_it_stops(patience: int, least_change: float, epochs: int, reason: str) -> None:
    trainer = Scripted(EarlyStopping(patience, least_change))
    assert len(trainer.fit(len(SCORES))) == epochs
    assert trainer.stop_reason == reason


@pytest.mark.parametrize("part", ["test", "train"])
def test_it_goes_by_what_was_measured_else_by_the_training(part: str) -> None:
    trainer = Scripted(EarlyStopping(1), part=part)
    assert len(trainer.fit(7)) == 3
    assert trainer.stop_reason == f"no better than epoch 2 ({part} accuracy 0.6000, loss 4.0000) for 1 epoch"


@pytest.mark.parametrize("until", range(1, 6))
def test_a_resumed_trainer_stops_where_the_whole_one_does(until: int) -> None:
    first = Scripted(EarlyStopping(2))
    first.fit(until)
    resumed = Scripted(EarlyStopping(2))
    arrays, values = first.state()
    resumed.restore(arrays, json.loads(json.dumps(values)))
    resumed.fit(7 - until)
    assert (resumed.epoch, resumed.stop_reason[:26]) == (6, "no better than epoch 4 (va")


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="patience must be an int >= 1, got 0"):
        EarlyStopping(0)
    with pytest.raises(ArgumentError, match="least_change must be a number >= 0, got -1"):
        EarlyStopping(1, -1)
