"""The training step of a loop of one's own, recorded once and replayed."""

import warnings
from collections.abc import Callable
from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import Array, current
from gpucnn.checks import as_function
from gpucnn.errors import ArgumentError
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model
from gpucnn.optim import Optimizer
from gpucnn.text import counted, shape_text, value_text
from gpucnn.training.evaluate import device_of_model
from gpucnn.training.recorded_step import Work, as_batch
from gpucnn.training.recorder import Recorder, Wanted


class CapturedStep:
    """A training step that costs Python next to nothing: `loss = step(images, labels)`, in a loop of one's own, is

        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with the same bits. The first two calls do that, the third records it, as one graph on a GPU, or as one list of compiled
    loops on a CPU, and later ones replay it. What changes between calls is seen: images and labels, the rate, weights that are
    loaded, modes, what is frozen; a batch of another shape, or other settings, count anew, and three recordings are kept.
    A replay runs no Python: neither hooks, nor what `forward` or the loss do beside computing tensors.

    - `model`, `optimizer`: of all that learns in it. `loss`: from the model's output and the labels to a tensor ().
    - `graph`: "auto" does as above what cannot be recorded, and warns once; with True it is refused; False never records.

    Each loss that a call returns is a tensor of its own, without history. Raises ArgumentError for other arguments; and, where `graph` is
    True, CaptureError for a step that cannot be recorded, with the layer and the fix, and OutOfMemoryError.
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        loss: Callable[[Tensor, Any], Tensor] = F.cross_entropy,
        graph: Wanted = "auto",
    ) -> None:
        model = as_model("CapturedStep", model)
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"CapturedStep: expected an optimizer, got {value_text(optimizer)}")
        self.model, self.optimizer = model, optimizer
        self.loss = as_function(loss, "CapturedStep: loss", "of (output, labels), e.g. F.cross_entropy")
        self._reasons: list[str] = []
        self.recorder: Recorder[Tensor] = Recorder(model, optimizer, graph, self._note)

    def __call__(self, images: Any, labels: Any) -> Tensor:
        """One step on a batch; the loss before it, a tensor of its own."""
        inputs = as_batch(images, labels)

        def as_it_is(images: Array, labels: Array) -> Tensor:
            loss = self._backward(images, labels)
            self.optimizer.step()
            return loss

        def recorded(images: Array, labels: Array) -> Tensor:
            loss = self._backward(images, labels)
            self.optimizer.apply()
            return loss

        work = Work(recorded, as_it_is, lambda _: self.optimizer.advance(), self.loss)
        self.recorder.follow(self.model, self.optimizer)
        loss = self.recorder.do(work, inputs, device_of_model(self.model))
        while self._reasons:
            warnings.warn(self._reasons.pop(0), stacklevel=2)  # who called the step
        with current(loss.device):
            return Tensor(loss.array.copy())  # a replay writes to the same array again

    def __repr__(self) -> str:
        kept = counted(self.recorder.recordings, "recording")
        return f"CapturedStep({type(self.model).__name__} with {self.optimizer}; {kept})"

    def _backward(self, images: Array, labels: Array) -> Tensor:
        """Forward and backward pass."""
        loss = self.loss(self.model(images), labels)
        if not isinstance(loss, Tensor) or loss.shape != ():
            raise ArgumentError(
                f"CapturedStep: loss must give a tensor (), got {_what(loss)}; return a mean, e.g. that of F.cross_entropy"
            )
        self.optimizer.zero_grad()
        loss.backward()
        return loss

    def _note(self, reason: str) -> None:
        self._reasons.append(reason)


def _what(value: Any) -> str:
    return f"a tensor {shape_text(value.shape)}" if isinstance(value, Tensor) else value_text(value)
