"""What a user puts in place of a part of training: a recorded step follows, or says why it does not."""

import copy
from typing import Any

import numpy as np
import pytest

from gpucnn import optim
from gpucnn.errors import StateError
from gpucnn.training import Callback, Metrics, Trainer
from tests.training.small_run import assert_same
from tests.training.test_captured_equals_eager import device, make_model, make_trainer, recordings
from tests.training.test_recorded_steps import Loop

__all__ = ["device"]


def test_another_optimizer_in_a_loop(device: str) -> None:
    loops = [Loop(device, graph) for graph in (False, True)]
    for loop in loops:
        loop.run(0, 5)
        loop.optimizer = loop.step.optimizer = optim.SGD(loop.model.parameters(), 0.1, momentum=0.9)
        loop.run(5, 10)
    assert loops[1].recordings == 1
    assert_same(loops[1].state(), loops[0].state())


def test_another_model_in_a_loop(device: str) -> None:
    loops = [Loop(device, graph) for graph in (False, True)]
    for loop in loops:
        loop.run(0, 5)
        loop.model = loop.step.model = make_model(0).to(device)
        loop.optimizer = loop.step.optimizer = optim.Adam(loop.model.parameters(), 0.01)
        loop.run(5, 10)
    assert loops[1].recordings == 1
    assert_same(loops[1].state(), loops[0].state())


class Replacing(Callback):
    """Puts another optimizer in its place after the first epoch."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        if trainer.epoch == 0:
            trainer.optimizer = optim.Adam(trainer.model.parameters(), 0.01)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_another_optimizer_of_a_trainer(device: str, accumulate: int) -> None:
    found = []
    for graph in (False, "auto"):
        trainer = make_trainer(Replacing(), device=device, graph=graph, accumulate=accumulate)
        trainer.fit(5)
        assert bool(recordings(trainer)) == (graph == "auto"), trainer.notes
        assert any(array.any() for name, array in trainer.optimizer.state_dict().items() if "mean" in name)
        found.append(trainer.state())
    assert_same(found[1], found[0])


def test_another_optimizer_in_the_middle_of_a_step() -> None:
    trainer = make_trainer(device="cpu", accumulate=2)
    images, labels = next(trainer.train_loader.batches(0))
    trainer.train_step(images, labels)
    trainer.optimizer = optim.Adam(trainer.model.parameters(), 0.01)
    with pytest.raises(
        StateError, match="^the optimizer was replaced between the batches of one step, after 4 images; replace it after"
    ):
        trainer.train_step(images, labels)


def test_other_metrics_of_a_trainer(device: str) -> None:
    found = []
    for graph in (False, "auto"):
        trainer = make_trainer(device=device, graph=graph)
        trainer.fit(2)
        trainer.metrics = Metrics()
        trainer.fit(2)
        assert bool(recordings(trainer)) == (graph == "auto"), trainer.notes
        found.append(trainer.state())
    assert_same(found[1], found[0])
