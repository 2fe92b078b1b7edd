"""A loss or a gradient that is not finite never reaches the weights unnoticed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, Device, current, device_of, recording
from gpucnn.diagnosis.checked_step import CheckedStep, Fault, run_checked, sample_text
from gpucnn.errors import CaptureError, TrainingError
from gpucnn.functions.dropout import part_of_batch
from gpucnn.layers import Layer
from gpucnn.optim import Optimizer
from gpucnn.training.trainer_state import SavedState

SHARE = 0.01
"""The share of the time on a GPU that keeping states may take."""


class FailedStep(NamedTuple):
    """A batch whose loss or gradient was not finite. The trainer stands right before it."""

    images: Array
    labels: Array
    indices: np.ndarray
    """Which samples of the data set they are, (N,); the places in the batch, of one that came from no loader."""
    checked: CheckedStep
    diagnosis: str
    first: int = 0
    """The place of the first image in its batch, of which these are a shard."""

    @property
    def is_found(self) -> bool:
        """Whether these images show what is not finite; of a shard, another one may."""
        return self.checked.fault() is not None


class FiniteGuard:
    """Finds the first step whose loss or gradient is not finite, before the optimizer spoils the weights.

    On a CPU both are looked at before each step of the optimizer.

    On a GPU nobody waits for them: a flag on the device gathers what it finds. From time to time, and before the state is
    saved, the flag is read, and the state kept in host memory, which takes about one hundredth of the time. If the flag is
    set, training goes back to the state kept last, and repeats its steps, to the bit, looking at each. The flag is always the
    same array, written in place, so that a step that is recorded can have its look in the recording.

    - `collect`: gives the state of training. `repeat`: goes back to such a state, repeats the steps since then, and raises
      TrainingError at the one that fails, or if none does.
    """

    def __init__(self, collect: Callable[[], SavedState], repeat: Callable[[SavedState], None]) -> None:
        self._collect, self._repeat = collect, repeat
        self.is_watching = False
        self._kept: SavedState | None = None
        self._flag: Array | None = None  # int32 (): 1 as long as all was finite
        self._due = 0.0

    @contextmanager
    def watching(self, on_gpu: bool) -> Iterator[None]:
        """Inside, batches of an epoch come from the loader, so that steps can be repeated: on a GPU they are looked at late."""
        self.is_watching = True
        self.forget()
        if on_gpu:
            self._keep()
        try:
            yield
            self.look()
        finally:
            self.is_watching, self._kept = False, None

    def forget(self) -> None:
        """What has been found so far is of steps that do not count any more."""
        if self._flag is not None:
            with current(device_of(self._flag)):
                self._flag[...] = 1

    def passes(self, loss: Tensor, optimizer: Optimizer) -> bool:
        """Whether loss and gradients are finite, as far as is known: on a GPU a flag gathers it, and `look` finds out."""
        with current(device_of(loss.array)):
            if self._kept is None:
                return bool(loss.device.xp.isfinite(loss.array) & optimizer.gradients_are_finite())
            optimizer.clear_unless_finite(self._flag_on(loss.device), loss.array)
        return True

    @property
    def gathers(self) -> bool:
        """Whether it looks later, at all steps since a state was kept."""
        return self._kept is not None

    def arrays(self) -> list[Array]:
        """What a step writes to."""
        return [] if self._flag is None else [self._flag]

    def _flag_on(self, device: Device) -> Array:
        if self._flag is None or device_of(self._flag) != device:
            if recording():
                raise CaptureError("FiniteGuard: has no flag yet; make a step before one is recorded")
            self._flag = device.xp.ones((), np.int32)
        return self._flag

    def look_if_due(self) -> None:
        """After a step: `look`, if it is time to, and keep the state."""
        if self._kept is not None and time.perf_counter() >= self._due:
            self.look()
            self._keep()

    def look(self) -> None:
        """Wait for the GPU, and see whether all has been finite since a state was kept; else raise TrainingError."""
        if self._flag is None or self._flag:
            return
        kept, self._kept = self._kept, None
        if kept is None:
            raise TrainingError(
                "the loss or a gradient was not finite in a step before training was interrupted, and no state from before it is "
                "kept; restore one that was saved earlier"
            )
        self.forget()
        self._repeat(kept)

    def _keep(self) -> None:
        start = time.perf_counter()
        self._kept = self._collect()
        now = time.perf_counter()
        self._due = now + (now - start) / SHARE


def failed_step(
    place: str,
    loss: float,
    model: Layer,
    label_smoothing: float,
    batch: tuple[Array, Array, np.ndarray],
    lr: float,
    first: int = 0,
) -> FailedStep:
    """A step at `place`, computed once more with every layer looked at, see `run_checked`.

    - `batch`: images, labels, indices. Of a shard, `first` is the place of its first image in the whole batch.
    """
    images, labels, indices = batch
    with part_of_batch(first, len(images)):
        checked = run_checked(model, images, labels, label_smoothing)
    fault = checked.fault()
    if fault is None:
        text = f"{place}: the loss was {loss} or a gradient not finite, but both are when the step is computed again"
    else:
        text = f"{place}: {describe(fault, checked, indices)}; the learning rate was {lr:.3g}"
    return FailedStep(images, labels, indices, checked, text, first)


def describe(fault: Fault, checked: CheckedStep, indices: np.ndarray) -> str:
    """A fault in one line; `indices` are the samples of the batch."""
    samples = [sample_text(fault.rows, indices.tolist())] if fault.rows else []
    facts = "; ".join([*fault.facts, *samples])
    return f"the loss became {checked.loss:.4g}; first not finite is {fault.place}: {facts}; likely fix: {fault.fix}"
