"""Gradient accumulation: one step of the optimizer for several batches."""

from gpucnn.backend import Array, current
from gpucnn.layers import Parameter
from gpucnn.optim import Optimizer
from gpucnn.optim.joined import joined


class GradientMean:
    """The mean gradient of several batches, over all their images, as if they had been one batch.

    A batch counts by its number of images, so that a smaller last one weighs less. One that fails before it is added has
    spoiled nothing.

    - `optimizer`: of the parameters whose gradients these are.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.images = 0
        """How many images the gradients so far are of."""
        self._optimizer = optimizer
        self._sums: list[Array] = []  # one a flat buffer
        self._parameters: set[Parameter] = set()

    def add(self, images: int) -> None:
        """Take in what the parameters have as `grad`: the mean over a batch of `images` images."""
        buffers = self._optimizer.flat_buffers()
        if not self.images:
            self._sums = [buffer.full(0) for buffer in buffers]
        self.images += images
        for buffer, flat in zip(buffers, self._sums, strict=True):
            stretches = buffer.filled()
            for total, gradient in joined([flat[s] for s in stretches], [buffer.gradient[s] for s in stretches]):
                with current(buffer.device):
                    total += gradient * buffer.dtype.type(images)
            self._parameters.update(parameter for parameter in buffer.parameters if parameter.grad is not None)

    def hand_over(self) -> None:
        """Make the mean the parameters' `grad`, and begin anew."""
        for buffer, flat in zip(self._optimizer.flat_buffers(), self._sums, strict=True):
            with current(buffer.device):
                buffer.device.xp.divide(flat, buffer.dtype.type(self.images), out=buffer.gradient)
            buffer.fill(self._parameters)
        self.images, self._sums, self._parameters = 0, [], set()
