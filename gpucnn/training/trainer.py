"""Trainer: the training loop."""

import math
import time
from collections.abc import Sequence

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import Array, Device
from gpucnn.checks import as_count
from gpucnn.data import DataLoader
from gpucnn.errors import TrainingError
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import ForwardState
from gpucnn.optim import Optimizer, Schedule
from gpucnn.training.callback import Callback, check_callback
from gpucnn.training.evaluate import evaluate
from gpucnn.training.memory import with_retry
from gpucnn.training.metrics import Metrics


class Trainer:
    """Trains a classifier with the cross-entropy loss.

    - `model`: gives logits (N, classes) for the loader's images. `optimizer`: of its parameters.
    - `train_loader`, `test_loader`: batches to learn from, and to measure on after every epoch.
    - `schedule`: None, or a function from the step's number to its learning rate.
    - `callbacks`: see `Callback`. ArgumentError for one with an unknown hook.
    - `label_smoothing`: of the training loss, see `F.cross_entropy`; the test loss is without.

    Callbacks can read `epochs` (to train), `epoch` (running, from 0), `step` (finished, over all epochs), `loss` (of
    the last batch, a tensor) and `history` (a row for every finished epoch).
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        train_loader: DataLoader,
        test_loader: DataLoader,
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] = (),
        label_smoothing: float = 0.0,
    ) -> None:
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.label_smoothing = label_smoothing
        self.train_loader, self.test_loader = train_loader, test_loader
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            check_callback(callback)
        self.epochs, self.epoch, self.step = 0, 0, 0
        self.loss: Tensor | None = None
        self.history: list[dict[str, float]] = []

    def fit(self, epochs: int) -> list[dict[str, float]]:
        """Train for `epochs` epochs and return the history.

        Raises ArgumentError unless `epochs` is an int >= 1, TrainingError after an epoch whose loss is not finite.
        """
        self.epochs = self.epoch + as_count(epochs, "epochs")
        self._notify("on_train_begin")
        try:
            # A loss that overflows is told by TrainingError, once, and not by NumPy's warnings.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                while self.epoch < self.epochs:
                    self._notify("on_epoch_begin")
                    self.history.append(self.run_epoch())
                    self._notify("on_epoch_end")
                    self.epoch += 1
        finally:
            self._notify("on_train_end")
        return self.history

    def run_epoch(self) -> dict[str, float]:
        """One pass over the training set and an evaluation: a row of the history."""
        start = time.perf_counter()
        self.model.train()
        metrics = Metrics()
        for images, labels in self.train_loader:
            logits = self.train_step(images, labels)
            assert self.loss is not None
            metrics.update(self.loss, logits, labels)
            self._notify("on_batch_end")
        train = metrics.scores()
        test = evaluate(self.model, self.test_loader)
        for loss in (train.loss, test.loss):
            if not math.isfinite(loss):
                raise TrainingError(f"the loss became {loss} in epoch {self.epoch + 1}; lower the learning rate")
        return {
            "epoch": self.epoch + 1,
            "train_loss": train.loss,
            "train_accuracy": train.accuracy,
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
            "test_correct": test.correct,
            "test_total": test.total,
            "lr": self.optimizer.lr,
            "seconds": time.perf_counter() - start,
        }

    def train_step(self, images: Array, labels: Array) -> Tensor:
        """Forward, backward, update: one batch (N, C, H, W) with labels (N,). Returns the logits (N, classes).

        Raises OutOfMemoryError, with a batch size that fits, if the GPU's memory does not hold the step.
        """
        if self.schedule is not None:
            self.optimizer.lr = self.schedule(self.step)
        device = next((parameter.device for parameter in self.model.parameters()), Device())
        logits = with_retry(self._forward_and_backward, images, labels, device)
        self.optimizer.step()
        self.step += 1
        return logits.detach()

    def _forward_and_backward(self, images: Array, labels: Array) -> Tensor:
        """The logits; `loss` and the gradients are left behind. After a failure dropouts and buffers are as before."""
        before = ForwardState(self.model)
        try:
            self.optimizer.gather()
            logits = self.model(images)
            self.loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
            self.optimizer.zero_grad()
            self.loss.backward()
        except Exception:
            self.loss = None
            self.optimizer.zero_grad()
            before.restore()
            raise
        return logits

    def _notify(self, hook: str) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self)
