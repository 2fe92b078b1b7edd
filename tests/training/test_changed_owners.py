"""What a user puts in place of a part of training: a recorded step follows, or says why it does not."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import to_device
from gpucnn.errors import ArgumentError, CaptureError, GradientError, StateError
from gpucnn.kernels import ways
from gpucnn.training import Callback, Metrics, Trainer
from tests.training import test_recorded_steps
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


@pytest.mark.sample(1)
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
        StateError,
        match="^the optimizer was replaced between the batches of one step, after 4 images; replace it after",
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
            with pytest.raises(
                ArgumentError, match="^cross_entropy: labels must be from 0 to 2, got 7 to 77; the model "
            ):
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


class Scaled(layers.Layer):
    """Goes by what stands in a list and a dict."""

    def __init__(self) -> None:
        self.scales: list[Any] = [[1.0], 2]
        self.options = {"shift": 0.5}

    def forward(self, x: Tensor) -> Tensor:
        shifted = layers.ReLU()(x) if self.options["shift"] else x
        return shifted if self.scales[0][0] > 0 else F.leaky_relu(x, 0.5)


@pytest.mark.parametrize("what", ["list", "dict"])
def test_what_stands_in_lists_and_dicts_of_a_layer(device: str, what: str) -> None:
    loops = [Loop(device, graph) for graph in (False, "auto")]
    for loop in loops:
        scaled = Scaled()
        setattr(loop.model, "2", scaled)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy may have to compute a part of the changed net
            loop.run(0, 5)
            assert bool(loop.recordings) == (loop is loops[1])
            if what == "list":
                scaled.scales[0][0] = -1.0
            else:
                scaled.options["shift"] = 0.0
            loop.run(5, 9)
    assert_same(loops[1].state(), loops[0].state())


def test_a_flag_of_the_optimizer(device: str) -> None:
    loops = [Loop(device, graph) for graph in (False, True)]
    for loop in loops:
        loop.optimizer = loop.step.optimizer = sgd = optim.SGD(loop.model.parameters(), 0.1, momentum=0.9)
        loop.run(0, 5)
        sgd.nesterov = True
        loop.run(5, 9)
    assert loops[1].recordings == 2
    assert_same(loops[1].state(), loops[0].state())


class WithArray(layers.ReLU):
    """Declares an array, which its forward pass counts up, or leaves."""

    def __init__(self, counts: bool) -> None:
        super().__init__()
        self.counts, self.seen = counts, np.zeros(3)

    def forward(self, x: Tensor) -> Tensor:
        if self.counts:
            self.seen[1] += 1
        return super().forward(x)

    def forward_state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def set_forward_state(self, state: Any) -> None:
        self.seen[...] = state["seen"]


def test_an_array_in_a_forward_state(device: str) -> None:
    loop = Loop(device, True)
    loop.model.append(WithArray(counts=False))
    loop.run(0, 5)
    assert loop.recordings == 1
    loop.model[-1].counts = True
    loop.run(5, 7)
    with pytest.raises(
        CaptureError, match=r"WithArray\) counts in its forward pass \(seen\), which a replay would not"
    ):
        loop.run(7, 8)


def test_losses_that_are_kept(device: str) -> None:
    for graph in (False, True):
        loop = Loop(device, graph)
        losses, numbers = [], []
        for number in range(7):
            losses.append(loop.step(*batch(number)))
            numbers.append(losses[-1].item())
        assert [loss.item() for loss in losses] == numbers
        assert len(set(numbers)) == 7


@pytest.mark.parametrize(
    ("loss", "got"), [(lambda output, labels: 3.0, "3.0"), (lambda output, labels: output, r"a tensor \(4, 3\)")]
)
def test_a_loss_that_is_none(loss: Any, got: str) -> None:
    loop = Loop("cpu", False, loss=loss)
    with pytest.raises(ArgumentError, match=rf"^CapturedStep: loss must give a tensor \(\), got {got}; return a mean"):
        loop.run(0, 1)


MAKE: list[Callable[[np.ndarray], Any]] = [np.asarray, np.ndarray.tolist, Tensor]


@pytest.mark.parametrize("graph", [False, "auto"])
def test_a_step_takes_lists_and_tensors(device: str, graph: Any) -> None:
    trainers = [make_trainer(device=device, graph=graph) for _ in range(3)]
    for number in range(4):
        images, labels = batch(number)
        for trainer, make in zip(trainers, MAKE, strict=True):
            trainer.train_step(make(images), make(labels))
    assert_same(trainers[1].state(), trainers[0].state())
    assert_same(trainers[2].state(), trainers[0].state())


def test_a_copy_has_notes_of_its_own(device: str) -> None:
    trainer = make_trainer(device=device, graph="auto")
    other = copy.deepcopy(trainer)
    next(layer for _, layer in other.model.named_layers() if isinstance(layer, layers.ReLU)).register_forward_hook(
        lambda *arguments: None
    )
    other.fit(2)
    assert (trainer.notes, len(other.notes)) == ([], 1)


def test_a_warning_names_the_line_of_the_loop() -> None:
    """However deep it comes from."""
    with ways.use("jit"):
        loop = Loop("cpu", "auto", p=0.5)
        other = copy.deepcopy(loop)
        for one in (other, loop):
            with pytest.warns(UserWarning, match="^steps are computed as they are, not recorded") as told:
                one.run(0, 4)
            assert [warning.filename for warning in told] == [Path(test_recorded_steps.__file__).as_posix()]
