"""The training step of a loop of one's own, recorded once and replayed."""

import warnings
from collections.abc import Callable
from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import Array, as_array
from gpucnn.checks import as_function
from gpucnn.errors import ArgumentError
from gpucnn.layers import Layer
from gpucnn.optim import Optimizer
from gpucnn.text import value_text
from gpucnn.training.evaluate import device_of_model
from gpucnn.training.recorded_step import Work
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

    The loss that a call returns holds until the next call. Raises ArgumentError for other arguments; and, where `graph` is
    True, CaptureError for a step that cannot be recorded, with the layer and the fix, and OutOfMemoryError.
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        loss: Callable[[Tensor, Any], Tensor] = F.cross_entropy,
        graph: Wanted = "auto",
    ) -> None:
        if not isinstance(model, Layer):
            raise ArgumentError(f"CapturedStep: expected a model, got {value_text(model)}")
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"CapturedStep: expected an optimizer, got {value_text(optimizer)}")
        self.model, self.optimizer = model, optimizer
        self.loss = as_function(loss, "CapturedStep: loss", "of (output, labels), e.g. F.cross_entropy")
        self.recorder: Recorder[Tensor] = Recorder(model, optimizer, graph, _warn)

    def __call__(self, images: Any, labels: Any) -> Tensor:
        """One step on a batch; the loss before it."""
        inputs = [as_array(one.data if isinstance(one, Tensor) else one) for one in (images, labels)]

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
        return self.recorder.do(work, inputs, device_of_model(self.model))

    def _backward(self, images: Array, labels: Array) -> Tensor:
        """Forward and backward pass."""
        loss: Tensor = self.loss(self.model(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        return loss


def _warn(reason: str) -> None:
    warnings.warn(reason, stacklevel=5)  # who called the step
