"""Early stopping: when, why, and the same after a resume."""

import json
import math

import pytest

from gpucnn import layers, optim
from gpucnn.errors import ArgumentError, StateError
from gpucnn.training import EarlyStopping, Trainer
from tests.training.small_run import small_trainer

LOSSES = [5.0, 4.0, 4.5, 3.9, 3.9, 4.1, 3.0]


class Scripted(Trainer):
    """Whose epochs have the losses that a list says."""

    def __init__(self, losses: list[float], *callbacks: EarlyStopping, name: str = "test_loss") -> None:
        like = small_trainer()
        model = layers.Linear(1, 1)
        super().__init__(model, optim.SGD(model.parameters(), 0.1), like.train_loader, None, None, callbacks)
        self.losses, self.name = losses, name

    def run_epoch(self) -> dict[str, float]:
        return {"epoch": self.epoch + 1, "train_loss": 1.0, self.name: self.losses[self.epoch]}


@pytest.mark.parametrize(
    ("patience", "least_change", "epochs", "reason"),
    [
        (1, 0, 3, "test loss no better than 4.0000, that of epoch 2, for 1 epoch"),
        (2, 0, 6, "test loss no better than 3.9000, that of epoch 4, for 2 epochs"),
        (2, 0.5, 4, "test loss no better than 4.0000, that of epoch 2, for 2 epochs"),
        (3, 0, 7, ""),
    ],
)
def test_when_it_stops(patience: int, least_change: float, epochs: int, reason: str) -> None:
    trainer = Scripted(LOSSES, EarlyStopping(patience, least_change))
    assert len(trainer.fit(len(LOSSES))) == epochs
    assert trainer.stop_reason == reason


def test_without_a_test_loader_it_goes_by_the_training_loss() -> None:
    trainer = Scripted(LOSSES, EarlyStopping(2), name="train_loss")
    assert len(trainer.fit(7)) == 6
    assert trainer.stop_reason.startswith("train loss no better than 3.9000")


@pytest.mark.parametrize("until", range(1, 6))
def test_its_state_is_all_it_knows(until: int) -> None:
    whole = EarlyStopping(2)
    assert len(Scripted(LOSSES, whole).fit(7)) == 6
    first, second = EarlyStopping(2), EarlyStopping(2)
    Scripted(LOSSES, first).fit(until)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    resumed = Scripted(LOSSES, second)
    resumed.epoch = until
    resumed.fit(7 - until)
    assert resumed.epoch == 6
    assert second.state_dict() == whole.state_dict()


def test_a_fresh_state_goes_round() -> None:
    stopping = EarlyStopping(2)
    assert stopping.state_dict() == {"best": None, "bad_epochs": 0}
    stopping.load_state_dict({"best": None, "bad_epochs": 0})
    assert stopping.best == math.inf


def test_a_trainer_saves_and_restores_it() -> None:
    trainer = small_trainer(EarlyStopping(5))
    trainer.fit(2)
    arrays, values = trainer.state()
    resumed = small_trainer(EarlyStopping(5))
    resumed.restore(arrays, json.loads(json.dumps(values)))
    assert resumed.callbacks[0].state_dict() == trainer.callbacks[0].state_dict() != EarlyStopping(5).state_dict()


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="patience must be an int >= 1, got 0"):
        EarlyStopping(0)
    with pytest.raises(ArgumentError, match="least_change must be a number >= 0, got -1"):
        EarlyStopping(1, -1)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "EarlyStopping: expected a state of best, bad_epochs, got none"),
        ({"best": 1.0}, "EarlyStopping: expected a state of best, bad_epochs, got best"),
        ({"best": "low", "bad_epochs": 0}, "EarlyStopping: best must be a finite number or None, got 'low'"),
        ({"best": math.nan, "bad_epochs": 0}, "EarlyStopping: best must be a finite number or None, got nan"),
        ({"best": 10**50, "bad_epochs": -1}, "EarlyStopping: bad_epochs must be an int >= 0, got -1"),
        ({"best": 10**400, "bad_epochs": 0}, f"EarlyStopping: best must be a finite number or None, got {10**400}"),
        ({"best": 1.0, "bad_epochs": -1}, "EarlyStopping: bad_epochs must be an int >= 0, got -1"),
        ({"best": 1.0, "bad_epochs": True}, "EarlyStopping: bad_epochs must be an int >= 0, got True"),
    ],
)
def test_states_that_are_none(state: dict[str, object], message: str) -> None:
    stopping = EarlyStopping(1)
    with pytest.raises(StateError) as raised:
        stopping.load_state_dict(state)
    assert str(raised.value) == message
    assert stopping.state_dict() == {"best": None, "bad_epochs": 0}
