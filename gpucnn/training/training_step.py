"""One batch of a training: from its images to gradients, and with the last batch of a step to new weights."""

import functools
from collections.abc import Hashable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import Array, Device
from gpucnn.data import DataLoader
from gpucnn.data.gather import is_of_a_loader, made
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import ForwardState
from gpucnn.layers.one_output import one_output
from gpucnn.layers.undeclared import telling_of_undeclared_state
from gpucnn.optim import Lookahead, Optimizer, Schedule, WeightAverage, clip_gradient_value
from gpucnn.training.finite_guard import FailedStep, FiniteGuard, failed_step
from gpucnn.training.gathering import Gathering
from gpucnn.training.gradient_mean import GradientMean
from gpucnn.training.metrics import Metrics
from gpucnn.training.out_of_memory import with_retry
from gpucnn.training.recorded_step import Work, as_batch
from gpucnn.training.recorder import Recorder, Wanted
from gpucnn.training.sharding import Sharding


class Training(Protocol):
    """What a step reads of a `Trainer`, and where it counts."""

    model: Layer
    optimizer: Optimizer
    schedule: Schedule | None
    average: WeightAverage | None
    lookahead: Lookahead | None
    train_loader: DataLoader
    label_smoothing: float
    accumulate: int
    clip_norm: float | None
    clip_value: float | None
    guard: FiniteGuard
    gradient_mean: GradientMean
    sharding: Sharding
    notes: list[str]
    batch: int
    step: int
    loss: Tensor | None

    @property
    def device(self) -> Device:
        """Where the model is."""


class Outputs(NamedTuple):
    """What a batch, of these labels, leaves behind, beside gradients and weights. A recorded step writes to the same arrays again."""

    loss: Tensor
    logits: Tensor
    labels: Any


class Part(NamedTuple):
    """What is done with a batch beside computing its gradients."""

    metrics: Metrics | None
    """They count it."""
    ends: bool
    """Whether it is the last batch of a step of the optimizer."""


def _are_classes(labels: np.ndarray, classes: int) -> bool:
    return labels.size == 0 or bool(labels.min() >= 0 and labels.max() < classes)


class TrainingStep:
    """What a `Trainer` does with a batch.

        forward_and_backward    loss, logits and gradients
        guard                   are they finite?
        count                   the host's part: batches and steps, and the rate of the schedule
        update                  metrics; with the last batch of a step clip gradients, then optimizer and average
        look back               after a step weights go back, if it is time for that, see `Lookahead`

    It is recorded and replayed, see `Recorder`. On a GPU that is all but the last: the host counts before, and the guard looks later.
    On a CPU it is the forward and the backward pass, as there the guard looks before anything else changes.
    """

    def __init__(self, trainer: Training, graph: Wanted) -> None:
        self._trainer = trainer
        self.recorder: Recorder[Outputs | None] = Recorder(trainer.model, trainer.optimizer, graph, self._note)
        self._gathering = Gathering()
        self._before: ForwardState | None = None
        self._looked_at_state = False

    def _note(self, reason: str) -> None:
        self._trainer.notes.append(reason)

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Any, Any]]:
        """The batches of an epoch, from number `first` on, as `run` takes them: where a step can gather its own, as a `Gather`."""
        loader = self._trainer.train_loader
        return ((one, one) for one in loader.gathers(epoch, first)) if self.gathers else loader.batches(epoch, first)

    def run(self, images: Any, labels: Any, metrics: Metrics | None) -> Outputs | None:
        """Learn from a batch, images and labels or a `Gather`, which `metrics` count; None if its loss or a gradient is not finite, and all is as before."""
        trainer, batch = self._trainer, self._trainer.batch + 1
        self.recorder.follow(trainer.model, trainer.optimizer)
        trainer.gradient_mean.follow(trainer.optimizer)
        part = Part(metrics, batch % trainer.accumulate == 0 or batch == len(trainer.train_loader))
        self._before = None
        if trainer.device.kind == "cpu":
            work = Work[Outputs | None](self.forward_and_backward, self._computed, settings=trainer.label_smoothing)
            outputs = self._finished(part, self.recorder.do(work, (images, labels), trainer.device), labels)
        elif not trainer.guard.gathers:
            outputs = self._whole(part, *made(images, labels))
        else:
            work = Work[Outputs | None](
                functools.partial(self._recorded, part), functools.partial(self._whole, part),
                functools.partial(self._before_replay, part, labels), self._settings(part), self._held(part),
            )  # fmt: skip
            work, inputs = self._gathering.work(work, images, labels)
            outputs = self.recorder.do(work, inputs, trainer.device)
        if outputs is not None:
            trainer.loss = outputs.loss
            if part.ends:
                trainer.gradient_mean.forget()
                self._look_back()
        return outputs

    def forward_and_backward(self, images: Array, labels: Array) -> Outputs:
        """Loss and logits of a batch; the gradients are left behind."""
        trainer = self._trainer
        with nullcontext() if self._looked_at_state else telling_of_undeclared_state(trainer.model):
            logits = one_output("Trainer", trainer.model(images))
        self._looked_at_state = True
        loss = F.cross_entropy(logits, labels, label_smoothing=trainer.label_smoothing)
        trainer.optimizer.zero_grad()
        self.backward(loss)
        return Outputs(loss, logits.detach(), labels)

    def backward(self, loss: Tensor) -> None:
        """The backward pass."""
        loss.backward()

    @property
    def gathers(self) -> bool:
        """Whether steps are recorded that gather their own batches."""
        loader, device = self._trainer.train_loader, self._trainer.device
        if not isinstance(loader, DataLoader) or self.recorder.graph is False or device.kind == "cpu":
            return False
        return loader.dataset.device == device and loader.can_gather

    def failure(self, place: str, loss: float, images: Any, labels: Any, indices: np.ndarray) -> FailedStep:
        """A batch, as `run` takes it, that is not finite, looked at."""
        return self._looked_at(place, loss, (*made(images, labels), indices))

    def _looked_at(self, place: str, loss: float, batch: tuple[Array, Array, np.ndarray], first: int = 0) -> FailedStep:
        """See `failed_step`."""
        trainer = self._trainer
        return failed_step(place, loss, trainer.model, trainer.label_smoothing, batch, trainer.optimizer.lr, first)

    def _computed(self, images: Array, labels: Array) -> Outputs:
        """The same, made again where a GPU's memory does not suffice. After a failure dropouts and buffers are as before."""
        trainer = self._trainer
        before = self._before = ForwardState(trainer.model)

        def attempt(images: Array, labels: Array) -> Outputs:
            try:
                trainer.optimizer.gather()
                return self.forward_and_backward(images, labels)
            except Exception:
                trainer.loss = None
                trainer.optimizer.zero_grad()
                before.restore()
                raise

        return with_retry(attempt, images, labels, trainer.device, trainer.sharding.shards)

    def _whole(self, part: Part, images: Array, labels: Array) -> Outputs | None:
        return self._finished(part, self._computed(images, labels), labels)

    def _finished(self, part: Part, outputs: Outputs | None, labels: Array) -> Outputs | None:
        """What follows the backward pass, if the guard lets it."""
        assert outputs is not None
        trainer = self._trainer
        trainer.loss = outputs.loss
        if not trainer.guard.passes(outputs.loss, trainer.optimizer):
            if self._before is None:
                self.recorder.take_back()
            else:
                self._before.restore()
            return None
        self._count(part, outputs)
        self._update(part, outputs, labels)
        return outputs

    def _recorded(self, part: Part, images: Array, labels: Array) -> Outputs:
        """All of it as one, on a GPU, but for what the host counts."""
        outputs = self.forward_and_backward(images, labels)
        self._trainer.guard.passes(outputs.loss, self._trainer.optimizer)
        self._update(part, outputs, labels)
        return outputs

    def _before_replay(self, part: Part, labels: Any, outputs: Outputs | None) -> None:
        """The host's part, which is not taken back: labels on the host are looked at before."""
        assert outputs is not None
        classes = outputs.logits.shape[1]
        if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and not _are_classes(labels, classes):
            F.cross_entropy(np.zeros(outputs.logits.shape, np.float32), labels)  # raises, in its own words
        self._count(part, outputs)

    def _count(self, part: Part, outputs: Outputs | None) -> None:
        """The host's part."""
        assert outputs is not None
        self._count_step(part, len(outputs.logits))
        if part.metrics is not None:
            part.metrics.count(outputs.logits)

    def _count_step(self, part: Part, images: int) -> None:
        """The host's part, without metrics."""
        trainer = self._trainer
        rate = trainer.schedule(trainer.step) if part.ends and trainer.schedule is not None else trainer.optimizer.lr
        trainer.batch += 1  # only now, as a schedule may fail
        if trainer.accumulate > 1:
            trainer.gradient_mean.count(images)
        if part.ends:
            trainer.optimizer.lr = rate
            trainer.optimizer.advance()
            if trainer.average is not None:
                trainer.average.advance()
            trainer.step += 1

    def _update(self, part: Part, outputs: Outputs, labels: Array) -> None:
        """The device's part: metrics; and the optimizer, with clipped gradients, which the average follows."""
        if part.metrics is not None:
            part.metrics.add(outputs.loss, outputs.logits, labels)
        self._update_step(part, len(outputs.logits))

    def _update_step(self, part: Part, images: int) -> None:
        """The device's part, without metrics."""
        trainer, optimizer = self._trainer, self._trainer.optimizer
        if trainer.accumulate > 1:
            trainer.gradient_mean.add_gradients(images)
        if not part.ends:
            return
        if trainer.accumulate > 1:
            trainer.gradient_mean.take_mean()
        if trainer.clip_norm is not None:
            optimizer.clip_norm(trainer.clip_norm)
        if trainer.clip_value is not None:
            clip_gradient_value(optimizer.parameters.values(), trainer.clip_value)
        optimizer.apply()
        if trainer.average is not None:
            trainer.average.apply()

    def _look_back(self) -> None:
        """What comes after a step, outside of its recording: with one step in several, it would make kinds of steps of its own."""
        if self._trainer.lookahead is not None:
            self._trainer.lookahead.step()

    def _settings(self, part: Part) -> Hashable:
        """What a recording of all of it goes by beside arrays."""
        trainer = self._trainer
        return (
            part.ends, part.metrics is None, trainer.accumulate > 1, trainer.average is None, trainer.label_smoothing,
            trainer.clip_norm, trainer.clip_value,
        )  # fmt: skip

    def _held(self, part: Part) -> dict[str, Array]:
        """The arrays that it finds and changes beside those of model and optimizer."""
        trainer = self._trainer
        owners = {
            "guard": trainer.guard,
            "metrics": part.metrics,
            "mean": trainer.gradient_mean,
            "average": trainer.average,
        }
        return {
            f"{name} {number}": array
            for name, owner in owners.items()
            if owner is not None
            for number, array in enumerate(owner.arrays())
        }


def as_given(images: Any, labels: Any) -> tuple[Any, Any]:
    """A batch as `TrainingStep.run` takes it: a loader's own way, or arrays of what else it is."""
    if is_of_a_loader(images):
        return images, labels
    own_images, own_labels = as_batch(images, labels)
    return own_images, own_labels
