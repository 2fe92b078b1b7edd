"""What a user puts in place of a part of training: a recorded step follows, or says why it does not."""

import copy
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, optim
from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import to_device
from gpucnn.errors import ArgumentError, GradientError, StateError
from gpucnn.training import Callback, Metrics, Trainer
from tests.training.small_run import assert_same
from tests.training.test_captured_equals_eager import device, make_model, make_trainer, recordings
from tests.training.test_recorded_steps import Loop, batch

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


def test_labels_on_the_host_are_looked_at_in_a_replay(device: str) -> None:
    """In the usual words, whatever calls the cross-entropy; weights and counts are as before."""

    def loss(output: Tensor, labels: Any) -> Tensor:
        return F.cross_entropy(output, labels)

    for own in (F.cross_entropy, loss):
        loops = [Loop(device, graph, loss=own) for graph in (False, True)]
        for loop in loops:
            loop.run(0, 5)
            images, labels = batch(5)
            with pytest.raises(ArgumentError, match="^cross_entropy: labels must be from 0 to 2, got 7 to 77; the model "):
                loop.step(images, np.where(labels == labels[0], 77, 7))
            if loop is loops[0]:  # statistics that an eager step has changed are nobody's concern here
                continue
            weights = copy.deepcopy(loop.model.state_dict())
            assert loop.recordings == 1
            assert all(np.isfinite(array).all() for array in weights.values())
            assert set(loop.optimizer._buffers[0].steps) == {5}


def test_a_trainer_looks_at_labels_on_the_host(device: str) -> None:
    trainer = make_trainer(device=device, graph=True, test=False)
    with trainer.guard.watching(device != "cpu"):
        for number in range(4):
            trainer.train_batch(*batch(number))
        total = trainer.metrics.total
        with pytest.raises(ArgumentError, match="^cross_entropy: labels must be from 0 to 2, got 77 to 77; the model"):
            trainer.train_batch(batch(4)[0], np.full(4, 77))
    assert recordings(trainer) == 1
    assert (trainer.step, trainer.optimizer._buffers[0].steps[0]) == (4, 4)
    assert all(np.isfinite(array).all() for array in trainer.model.state_dict().values())
    assert total == 16


def test_a_loss_that_takes_no_labels_on_the_host(device: str) -> None:
    """They are brought to the device then."""

    def loss(output: Tensor, labels: Any) -> Tensor:
        there = to_device(labels, output.device)
        return F.mse_loss(output, Tensor((there[:, None] + output.device.xp.zeros(3, np.int64)).astype(np.float32)))

    if device == "cpu":
        pytest.skip("NumPy computes that loss")
    loops = [Loop(device, graph, loss=loss) for graph in (False, True)]
    for loop in loops:
        loop.run(0, 6)
    assert loops[1].recordings == 1
    assert_same(loops[1].state(), loops[0].state())


def test_a_schedule_that_fails_has_counted_nothing(device: str) -> None:
    def fails(step: int) -> float:
        if step == 5:
            raise RuntimeError("no rate")
        return 0.1

    for graph in (False, True):
        trainer = make_trainer(device=device, graph=graph, schedule=lambda: fails)
        with pytest.raises(RuntimeError, match="no rate"):
            trainer.fit(2)
        assert (trainer.step, trainer.batch, trainer.metrics.total) == (5, 1, 4)


def test_where_nothing_is_put_on_the_tape_a_replay_is_refused_as_a_step_is(device: str) -> None:
    for graph in (False, True):
        loop = Loop(device, graph)
        loop.run(0, 5)
        with no_grad(), pytest.raises(GradientError):
            loop.run(5, 6)
