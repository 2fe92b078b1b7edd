"""No loss, and no gradient, that is not finite goes into the weights unseen."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gpucnn.backend import Array, current, device_of
from gpucnn.diagnosis.checked_step import CheckedStep, Fault, run_checked, sample_text
from gpucnn.errors import TrainingError
from gpucnn.layers.forward_state import ForwardState
from gpucnn.training import trainer_state

if TYPE_CHECKING:
    from gpucnn.training.trainer import Trainer

SHARE = 0.01
"""Of the time on a GPU, what keeping states may take."""


class FailedStep(NamedTuple):
    """A batch whose loss or gradient was not finite. The trainer stands right before it."""

    images: Array
    labels: Array
    indices: np.ndarray
    """Which samples of the data set they are, (N,); the places in the batch, of one that came from no loader."""
    checked: CheckedStep
    diagnosis: str


class FiniteGuard:
    """Stops `trainer` at the first step whose loss or gradient is not finite, before the optimizer spoils the weights.

    On a CPU both are looked at before each step of the optimizer.

    On a GPU nobody waits for them: a flag on the device gathers what it finds. From time to time, and before the state is
    saved, the flag is read, and the state kept in host memory, which takes about one hundredth of the time. If the flag is
    set, the trainer goes back to the state kept last, and repeats its steps, to the bit, looking at each. What callbacks
    have changed is not repeated, so that a failure of their making may not be found again; training ends in any case.

    The step that fails is computed once more with every layer looked at, see `run_checked`, and TrainingError tells what
    was found; `trainer.failed_step` has all of it.
    """

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = trainer
        self._in_epoch = False
        self._kept: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None
        self._finite: Array | None = None
        self._due = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, the batches of an epoch, or of what is left of it, come from the trainer's loader."""
        self._in_epoch, self._finite = True, None
        self._keep()
        try:
            yield
            self.look()
        finally:
            self._in_epoch, self._kept = False, None

    def check(self, images: Array, labels: Array, before: ForwardState) -> None:
        """After the backward pass of a batch, `before` which the model's forward state was so. Raises TrainingError."""
        loss = self._trainer.loss
        assert loss is not None
        with current(device_of(loss.data)):
            finite = loss.device.xp.isfinite(loss.data) & self._trainer.optimizer.gradients_are_finite()
            if self._kept is not None:
                self._finite = finite if self._finite is None else self._finite & finite
                return
        if not finite:
            before.restore()
            raise self._failure(images, labels, loss.item())

    def look_if_due(self) -> None:
        """After a step: `look`, if it is time to, and keep the state."""
        if self._kept is not None and time.perf_counter() >= self._due:
            self.look()
            self._keep()

    def look(self) -> None:
        """Wait for the GPU, and see whether all has been finite since a state was kept; else raise TrainingError."""
        finite, self._finite = self._finite, None
        if finite is None or finite:
            return
        trainer, kept = self._trainer, self._kept
        assert kept is not None
        self._kept = None
        last_batch, last_step = trainer.batch, trainer.step
        trainer_state.restore(trainer, *kept)
        first_step = trainer.step + 1
        trainer.model.train()
        for images, labels in trainer.train_loader.batches(trainer.epoch, trainer.batch):
            trainer.train_batch(images, labels)
            if trainer.batch == last_batch:
                break
        raise TrainingError(
            f"the loss or a gradient was not finite in one of the steps {first_step} to {last_step} on {trainer.device}, but "
            f"is when they are repeated: a callback has changed the model or the learning rate, or the GPU errs"
        )

    def _keep(self) -> None:
        if self._trainer.device.kind == "cpu":
            return
        start = time.perf_counter()
        self._kept = trainer_state.collect(self._trainer)
        now = time.perf_counter()
        self._due = now + (now - start) / SHARE

    def _failure(self, images: Array, labels: Array, loss: float) -> TrainingError:
        trainer = self._trainer
        checked = run_checked(trainer.model, images, labels, trainer.label_smoothing)
        trainer.optimizer.zero_grad()
        count = len(labels)
        indices = trainer.train_loader.indices(trainer.epoch, trainer.batch) if self._in_epoch else np.arange(count)
        place = f"step {trainer.step + 1} (epoch {trainer.epoch + 1}, batch {trainer.batch + 1})"
        fault = checked.fault()
        if fault is None:
            text = (
                f"{place}: the loss was {loss} or a gradient not finite, but both are when the step is computed again"
            )
        else:
            text = f"{place}: {describe(fault, checked, indices)}; the learning rate was {trainer.optimizer.lr:.3g}"
        trainer.failed_step = FailedStep(images, labels, indices, checked, text)
        return TrainingError(text)


def describe(fault: Fault, checked: CheckedStep, indices: np.ndarray) -> str:
    """A fault in one line; `indices` are the samples of the batch."""
    samples = [sample_text(fault.rows, indices.tolist())] if fault.rows else []
    facts = "; ".join([*fault.facts, *samples])
    return f"the loss became {checked.loss:.4g}; first not finite is {fault.place}: {facts}; likely fix: {fault.fix}"
