"""Parameters that learn in the first epochs alone, also in a run that goes on."""

import numpy as np
import pytest

from gpucnn.errors import ArgumentError
from gpucnn.training import Callback, FreezeAfter, Trainer
from tests.backends import Backend
from tests.training.small_run import BATCHES, State, assert_same, small_trainer


class Saver(Callback):
    def __init__(self) -> None:
        self.states: list[State] = []

    def on_savepoint(self, trainer: Trainer) -> None:
        self.states.append(trainer.state())


def trainer(backend: Backend, saver: Saver, epochs: int) -> Trainer:
    made = small_trainer(saver, device=backend.device_name)
    made.callbacks.append(FreezeAfter([dict(made.model.named_parameters())["0.bias"]], epochs))
    return made


def test_they_learn_and_then_stay_and_a_resumed_run_does_the_same(backend: Backend) -> None:
    whole = trainer(backend, saver := Saver(), 1)
    whole.fit(3)
    biases = [arrays["model/0.bias"] for arrays, _ in saver.states]
    others = [arrays["model/0.weight"] for arrays, _ in saver.states]
    assert len(biases) == 3 * (BATCHES + 1)
    for step in range(1, BATCHES):
        assert (biases[step] != biases[step - 1]).any()
    for step in range(BATCHES, len(biases)):
        np.testing.assert_array_equal(biases[step], biases[BATCHES])
    assert (others[-2] != others[BATCHES]).all()
    for place in (1, BATCHES + 2):
        resumed = trainer(backend, Saver(), 1)
        resumed.restore(*saver.states[place])
        resumed.fit(3 - resumed.epoch)
        assert_same(resumed.state(), whole.state())


def test_after_no_epoch_they_never_learn() -> None:
    whole = trainer(Backend("numpy"), saver := Saver(), 0)
    before = whole.model.state_dict()["0.bias"]
    whole.fit(1)
    np.testing.assert_array_equal(saver.states[-1][0]["model/0.bias"], before)


def test_what_is_refused() -> None:
    with pytest.raises(ArgumentError) as raised:
        FreezeAfter([1], 3)  # type: ignore[list-item]
    assert str(raised.value) == "FreezeAfter: expected parameters, got int; pass model.parameters()"
    with pytest.raises(ArgumentError) as raised:
        FreezeAfter([], -1)
    assert str(raised.value) == "FreezeAfter: epochs must be an int >= 0, got -1"
