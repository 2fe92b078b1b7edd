"""Trainer: the training loop."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np

from gpucnn import backend
from gpucnn.autograd import Tensor
from gpucnn.backend import Device
from gpucnn.checks import as_count, as_function, as_number
from gpucnn.data import DataLoader
from gpucnn.data.loader import check_loader
from gpucnn.errors import ArgumentError, StateError, TrainingError
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model
from gpucnn.optim import Lookahead, Optimizer, ReduceOnPlateau, Schedule, WeightAverage
from gpucnn.text import counted, value_text
from gpucnn.training.best_epoch import IN_WORDS
from gpucnn.training.callback import Callback, check_callback
from gpucnn.training.can_train import check_can_train, check_last_batch
from gpucnn.training.evaluate import device_of_model, evaluate
from gpucnn.training.finite_guard import FailedStep, FiniteGuard
from gpucnn.training.gradient_mean import GradientMean
from gpucnn.training.metrics import History, Metrics, history_html
from gpucnn.training.recorder import Wanted
from gpucnn.training.sharded_step import ShardedStep
from gpucnn.training.sharding import Sharding
from gpucnn.training.trainer_state import SavedState, TrainerState, check_weights
from gpucnn.training.training_step import TrainingStep, as_given


class Trainer:
    """Trains a classifier with the cross-entropy loss.

    - `model`: gives logits (N, classes) for the loader's images. `optimizer`: of its parameters.
    - `train_loader`, `test_loader`: batches to learn from, and to measure on after every epoch. Without a test loader, None,
      a row of the history has no entries "test_...".
    - `val_loader`: in place of a test loader, what every epoch is measured on: entries are then "val_...", and the test images
      are left for `evaluate` at the end.
    - `schedule`: None, or a function from the step's number to its learning rate. A `ReduceOnPlateau` is told of every
      epoch's loss on what it is measured on; without, of its training loss.
    - `callbacks`: see `Callback`.
    - `label_smoothing`: of the training loss, see `F.cross_entropy`; losses that are measured are without.
    - `accumulate`: how many batches make one step of the optimizer, with the mean gradient of all their images: that of one
      large batch, but for batch norms, which see the small ones. The last batches of an epoch make a step, however few.
    - `clip_norm`, `clip_value`: None, or the most that the norm of all gradients, or each of their elements, may be.
    - `precision`: "float32", "tf32" or "bf16", see `backend.precision`; None for what holds around the call.
    - `average`: None, or a `WeightAverage` of the model; it follows every step, and evaluations are made with it.
    - `lookahead`: None, or a `Lookahead` of the model, which has its step after each of the optimizer, and of the average.
    - `sharding`: None, or how each batch is cut into shards, and which processes share them, e.g. `Sharding(4, mpi.world())`.
      All processes make this trainer alike, with the same data, and all call the same of it. See `Sharding`.
    - `graph`: whether steps are recorded and replayed, to the same bits: "auto", where they can be, True, where a step that
      cannot be recorded is an error, or False. See `CapturedStep`.

    Callbacks can read `epochs` (to train), `epoch` (running, from 0), `batch` (finished, of the running epoch), `step`
    (finished steps of the optimizer, over all epochs), `loss` (of the last batch, a tensor), `metrics` (of the running
    epoch's batches), `history` (a row for every finished epoch), `seconds` (that the last finished epoch took; of a resumed
    one, its part since then), `stop_reason` (empty, or why training ends early), `error` (None, or what ended training),
    `failed_step` (None, or the step whose loss or gradient was not finite) and `notes` (what is slower than it could be, and why).

    Raises ArgumentError for what is no model, no loader or no Sharding, for a callback with an unknown hook, for numbers out of
    range, for two ways to clip at once, and for a `val_loader` beside a `test_loader`. DeviceError for a
    precision that the model's device does not have.
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        train_loader: DataLoader,
        test_loader: DataLoader | None = None,
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] = (),
        label_smoothing: float = 0.0,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        average: WeightAverage | None = None,
        precision: str | None = None,
        graph: Wanted = "auto",
        val_loader: DataLoader | None = None,
        sharding: Sharding | None = None,
        lookahead: Lookahead | None = None,
    ) -> None:
        model = as_model("Trainer", model)
        self.model, self.optimizer, self.schedule, self.average = model, optimizer, schedule, average
        self.lookahead, self.label_smoothing = lookahead, label_smoothing
        self.train_loader, self.test_loader, self.val_loader = train_loader, test_loader, val_loader
        if sharding is not None and not isinstance(sharding, Sharding):
            raise ArgumentError(
                f"Trainer: sharding must be a Sharding or None, got {value_text(sharding)}; for 4 shards on this process alone give "
                f"Sharding(4)"
            )
        self.sharding = Sharding() if sharding is None else sharding
        is_cut, is_shared = self.sharding.shards > 1, self.sharding.group.size > 1
        check_loader(train_loader, "Trainer: train_loader", is_cut)
        for name, loader in (("test_loader", test_loader), ("val_loader", val_loader)):
            if loader is not None:
                check_loader(loader, f"Trainer: {name}", is_shared)
        if test_loader is not None and val_loader is not None:
            raise ArgumentError(
                "Trainer: test_loader and val_loader are both given, and every epoch is measured on one of them; give val_loader "
                "alone, and the test images to training.evaluate after training"
            )
        if schedule is not None:
            as_function(
                schedule,
                "Trainer: schedule",
                "from the step to its learning rate, e.g. optim.cosine(0.1, 1000), or None",
            )
        for name, one, kind in (("average", average, WeightAverage), ("lookahead", lookahead, Lookahead)):
            if one is not None and not isinstance(one, kind):
                raise ArgumentError(f"Trainer: {name} must be a {kind.__name__} or None, got {value_text(one)}")
        if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
            raise ArgumentError(f"Trainer: callbacks must be a list of them, got {value_text(callbacks)}")
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            check_callback(callback)
        self.accumulate = as_count(accumulate, "accumulate")
        self.clip_norm = None if clip_norm is None else as_number(clip_norm, "clip_norm")
        self.clip_value = None if clip_value is None else as_number(clip_value, "clip_value")
        self.precision = None if precision is None else backend.as_precision(precision)
        if clip_norm is not None and clip_value is not None:
            raise ArgumentError(f"clip_norm={clip_norm!r} and clip_value={clip_value!r} are both set; choose one")
        self.epochs, self.epoch, self.batch, self.step = 0, 0, 0, 0
        self.loss: Tensor | None = None
        self.metrics, self.history = Metrics(), History()
        self.seconds, self.stop_reason = 0.0, ""
        self.error: Exception | None = None
        self.failed_step: FailedStep | None = None
        self.notes: list[str] = []
        self.gradient_mean = GradientMean(optimizer)
        self.guard = FiniteGuard(self.state, self._repeat)
        self.training_step = ShardedStep(self, graph, self.sharding) if is_cut else TrainingStep(self, graph)

    def fit(self, epochs: int) -> list[dict[str, float]]:
        """Train for `epochs` epochs, of which a restored trainer may have begun the first, and return the history.

        All layers train except frozen ones, see `Layer.requires_grad_`.

        Raises ArgumentError unless `epochs` is an int >= 1, before the first step if the model does not take a last batch of
        one image, see `check_last_batch`, and if part of it was put into evaluation mode. TrainingError at a step whose loss,
        or a gradient, is not finite, before it changes the weights: it tells where that came from; see `FiniteGuard` for how
        soon. And after an epoch whose measured loss is not finite.
        """
        self.epochs = self.epoch + as_count(epochs, "epochs")
        check_can_train(self.model)
        check_last_batch(self.model, self.train_loader, shards=self.sharding.shards)
        self.error, self.failed_step = None, None
        if isinstance(self.train_loader, DataLoader) and (note := self.train_loader.note) and note not in self.notes:
            self.notes.append(note)
        if self.batch == 0:  # else a callback has, in the epoch that goes on, asked for its end to be the last
            self.stop_reason = ""
        with ExitStack() as at_end:
            for callback in reversed(self.callbacks):
                at_end.callback(callback.on_train_end, self)
            self._notify("on_train_begin")
            # A loss that overflows is told by TrainingError, once, and not by NumPy's warnings.
            at_end.enter_context(np.errstate(over="ignore", invalid="ignore", divide="ignore"))
            try:
                while not self.finished:
                    self._notify("on_epoch_begin")
                    self.history.append(self.run_epoch())
                    self._notify("on_epoch_end")
                    self.epoch, self.batch = self.epoch + 1, 0
                    self.metrics.reset()
                    self.sharding.agree_after_epoch()
                    self._notify("on_savepoint")
            except Exception as error:
                self.error = error
                self._notify("on_failure")
                raise
        return self.history

    def stop(self, reason: str) -> None:
        """End training after the running epoch, for a `reason` that is not empty. A `fit` from there on forgets it."""
        self.stop_reason = reason

    @property
    def finished(self) -> bool:
        """Whether all epochs that `fit` was asked for are done, or training has been stopped; not within an epoch."""
        return self.batch == 0 and (self.epoch >= self.epochs or bool(self.stop_reason))

    def run_epoch(self) -> dict[str, float]:
        """What is left of one pass over the training set, and an evaluation: a row of the history."""
        start = time.perf_counter()
        check_can_train(self.model)
        self.model.train()
        with self._precisely(), self.guard.watching(self._looks_late):
            for images, labels in self.training_step.batches(self.epoch, self.batch):
                step = self.step
                self.train_batch(images, labels)
                self._notify("on_batch_end")
                if self.step > step:
                    self.guard.look_if_due()
                    self._notify("on_savepoint")
        train = self.metrics.scores()
        row = {"epoch": self.epoch + 1, "train_loss": train.loss, "train_accuracy": train.accuracy}
        measured_on, loader = self.measured
        if loader is not None:
            with self._precisely(), self.evaluation_weights():
                found = evaluate(self.model, loader, group=self.sharding.group)
            row |= {f"{measured_on}_{name}": getattr(found, name) for name in ("loss", "accuracy", "correct", "total")}
        last = row[f"{measured_on}_loss"]
        if not math.isfinite(last):
            raise TrainingError(
                f"the {IN_WORDS[measured_on]} loss became {last} in epoch {self.epoch + 1}, in which all steps were finite; lower "
                f"the learning rate, if the weights have become too large, or look for images with NaN"
            )
        row["lr"] = self.optimizer.lr
        if isinstance(self.schedule, ReduceOnPlateau):
            self.schedule.observe(last)
        self.seconds = time.perf_counter() - start
        return row

    def train_batch(self, images: Any, labels: Any) -> None:
        """`train_step` of a batch that the metrics of the running epoch count."""
        self._learn(images, labels, self.metrics)

    def train_step(self, images: Any, labels: Any) -> Tensor:
        """Forward and backward: one batch (N, C, H, W) with labels (N,) or (N, classes). Returns the logits (N, classes).

        Both are arrays, tensors or lists. On a GPU it is recorded within `fit` alone; in a loop of your own use `CapturedStep`.
        With shards every process is given the whole batch, computes its own shards of it, and returns their logits (n, classes).
        Then the optimizer's step, if the batch is the last of `accumulate`, or of the epoch. Loss and logits hold until the
        next step. Raises OutOfMemoryError, with a batch size that fits, if the GPU's memory does not hold the step,
        CaptureError, if steps must be recorded and this one cannot be, and TrainingError, see `fit`.
        """
        return self._learn(images, labels, None)

    def _learn(self, images: Any, labels: Any, metrics: Metrics | None) -> Tensor:
        images, labels = as_given(images, labels)
        with self._precisely():
            outputs = self.training_step.run(images, labels, metrics)
        if outputs is None:
            raise self._failure(images, labels)
        return outputs.logits

    @property
    def measured(self) -> tuple[str, DataLoader | None]:
        """What every epoch is judged by: "val" or "test" with the loader; "train", without one, where nothing is measured."""
        if self.val_loader is not None:
            return "val", self.val_loader
        return ("train", None) if self.test_loader is None else ("test", self.test_loader)

    @property
    def device(self) -> Device:
        """Where the model is."""
        return device_of_model(self.model)

    def evaluation_weights(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that evaluations are made with: their average, if there is one."""
        return nullcontext() if self.average is None else self.average.applied()

    def state(self) -> SavedState:
        """All that training depends on and changes: copies as numpy arrays by name, and JSON values.

        Two runs alike have equal states at equal steps, to the bit; no times are in it. `restore` goes on from there. Raises
        StateError between the batches of one step of the optimizer, where nothing can be saved: see `Callback.on_savepoint`.
        And TrainingError, as `fit` does, if a step before was not finite: no state has gone through one.
        """
        self.guard.look()
        if self.gradient_mean.images:
            raise StateError(
                f"batch {self.batch} of epoch {self.epoch + 1} is not the last of the {self.accumulate} that make one step of "
                f"the optimizer; save the state in the hook on_savepoint"
            )
        return self.snapshot()

    def snapshot(self) -> SavedState:
        """What `state` gives, at any moment: without the gradients that accumulate between the batches of one step."""
        return self._state().saved()

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> None:
        """Go on, to the bit, where the trainer stood whose `state` this is; the next `fit` begins in the middle of its epoch.

        This trainer must have been built alike: of the same model, data and settings, which are not part of the state.
        Raises StateError if the state does not fit; the trainer is then of no more use. And at once if its weights are not
        finite.
        """
        check_weights(self.model, arrays)
        self._restore(arrays, values)
        self.guard.forget()

    def _state(self) -> TrainerState:
        return TrainerState(
            self.model, self.optimizer, self.schedule, self.average, self.lookahead, self.metrics, self.callbacks,
            self.train_loader, self.accumulate, self.epoch, self.batch, self.step, self.stop_reason, self.history,
        )  # fmt: skip

    def _restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> None:
        there = self._state().restored(arrays, values)
        self.gradient_mean.reset()  # what had accumulated is of another time
        self.epoch, self.batch, self.step = there.epoch, there.batch, there.step
        self.stop_reason, self.history = there.stop_reason, History(there.history)

    def _repeat(self, kept: SavedState) -> None:
        """Make the steps since a state once more, which raises TrainingError at the one that is not finite.

        What callbacks have changed is not repeated, so that a failure of their making may not be found again; TrainingError
        in any case.
        """
        last_batch, last_step = self.batch, self.step
        self._restore(*kept)
        first_step = self.step + 1
        self.model.train()
        for images, labels in self.training_step.batches(self.epoch, self.batch):
            self.train_batch(images, labels)  # the guard looks at once now, so that steps are not replayed
            if self.batch == last_batch:
                break
        raise TrainingError(
            f"the loss or a gradient was not finite in one of the steps {first_step} to {last_step} on {self.device}, but "
            f"is when they are repeated: a callback has changed the model or the learning rate, or the GPU errs"
        )

    def _failure(self, images: Any, labels: Any) -> TrainingError:
        """The error of a step that is not finite; `failed_step` has all that was found of it."""
        indices = (
            self.train_loader.indices(self.epoch, self.batch) if self.guard.is_watching else np.arange(len(images))
        )
        place = f"step {self.step + 1} (epoch {self.epoch + 1}, batch {self.batch + 1})"
        loss = math.nan if self.loss is None else self.loss.item()
        with self._precisely():
            self.failed_step = self.training_step.failure(place, loss, images, labels, indices)
        self.optimizer.zero_grad()
        return TrainingError(self.failed_step.diagnosis)

    @property
    def _looks_late(self) -> bool:
        """Whether the guard may look after some steps: on a GPU, unless processes would do so at different times."""
        return self.device.kind != "cpu" and self.sharding.shards == 1

    def _precisely(self) -> AbstractContextManager[None]:
        """Inside, the model computes in the trainer's `precision`."""
        return nullcontext() if self.precision is None else backend.precision(self.precision)

    def __repr__(self) -> str:
        return (
            f"Trainer({type(self.model).__name__} with {self.optimizer}; batches an epoch: {len(self.train_loader):,}; "
            f"{counted(len(self.history), 'epoch')} and {counted(self.step, 'step')} done)"
        )

    def _repr_html_(self) -> str | None:
        return history_html(self.history, repr(self))

    def _notify(self, hook: str) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self)
