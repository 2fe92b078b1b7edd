"""Gradient accumulation: one step of the optimizer for several batches."""

from gpucnn.backend import Array, current, recording
from gpucnn.backend.joined import joined
from gpucnn.errors import CaptureError, StateError
from gpucnn.kernels.gradients import add_batch, take_mean
from gpucnn.layers import Parameter
from gpucnn.optim import Optimizer
from gpucnn.optim.flat_buffer import FlatBuffer
from gpucnn.optim.numbers import Numbers


class GradientMean:
    """The mean gradient of several batches, over all their images, as if they had been one batch.

    A batch counts by its number of images, so that a smaller last one weighs less. One that fails before it is added has
    spoiled nothing.

    Sums stand in the same arrays from the first batch on, so that both steps can be recorded: a batch is `count`, on the host,
    before each replay, and `add_gradients`, in the recording; their mean is `take_mean`, in the recording, and `forget`,
    after each replay.

    - `optimizer`: of the parameters whose gradients these are.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.images = 0
        """How many images the gradients so far are of."""
        self._optimizer = optimizer
        self._sums: list[tuple[FlatBuffer, Array, Numbers]] = []
        self._parameters: set[Parameter] = set()

    def follow(self, optimizer: Optimizer) -> None:
        """Whose gradients come next. StateError for another optimizer between the batches of one step."""
        if optimizer is self._optimizer:
            return
        if self.images:
            raise StateError(
                f"the optimizer was replaced between the batches of one step, after {self.images} images; replace it after a step, "
                f"e.g. in the hook on_savepoint"
            )
        self._optimizer = optimizer

    def count(self, images: int) -> None:
        """Count the images of a batch, and note which parameters it has gradients of."""
        self.images += images
        for parameter in self._optimizer.parameters.values():
            if parameter.grad is not None:
                self._parameters.add(parameter)

    def add_gradients(self, images: int) -> None:
        """Add the parameters' `grad`, times `images`."""
        for buffer, total, _ in self._laid_out():
            stretches = buffer.filled()
            for flat, gradient in joined([total[s] for s in stretches], [buffer.gradient[s] for s in stretches]):
                with current(buffer.device):
                    add_batch(flat, gradient, images)

    def take_mean(self) -> None:
        """Make the mean the parameters' `grad`, and the sums zero."""
        for buffer, total, numbers in self._laid_out():
            with current(buffer.device):
                images = numbers(lambda: [self.images])
                for flat, gradient in joined([total], [buffer.gradient]):
                    take_mean(flat, gradient, images)
            buffer.fill(self._parameters)

    def forget(self) -> None:
        """Begin anew, after `take_mean`."""
        self.images, self._parameters = 0, set()

    def reset(self) -> None:
        """Begin anew, and leave out what has been added, in the same arrays."""
        self.forget()
        for buffer, total, _ in self._sums:
            with current(buffer.device):
                total[...] = 0

    def arrays(self) -> list[Array]:
        """What a step writes to."""
        return [total for _, total, _ in self._sums]

    def _laid_out(self) -> list[tuple[FlatBuffer, Array, Numbers]]:
        """The optimizer's buffers, their sums, zero for a buffer that is new, and what brings the number of images there."""
        buffers = self._optimizer.flat_buffers()
        if buffers != [buffer for buffer, _, _ in self._sums]:
            if recording():
                raise CaptureError("GradientMean: has no sums yet; add a batch before a step is recorded")
            self._sums = [(buffer, buffer.full(0), Numbers(buffer.device, buffer.dtype)) for buffer in buffers]
        return self._sums
