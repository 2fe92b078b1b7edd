"""Gradient accumulation: one step of the optimizer for several batches."""

from collections.abc import Iterable

from gpucnn.backend import Array, current, device_of
from gpucnn.layers import Parameter


class GradientMean:
    """The mean gradient of several batches, over all their images, as if they had been one batch.

    A batch counts by its number of images, so that a smaller last one weighs less. Each batch's gradient is added from its
    place at the parameter, and a batch that must be computed anew has spoiled nothing.

    - `parameters`: whose gradients.
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.images = 0
        """How many images the gradients so far are of."""
        self._parameters = list(parameters)
        self._sums: dict[Parameter, Array] = {}

    def add(self, images: int) -> None:
        """Take in what the parameters have as `grad`: the mean over a batch of so many images."""
        self.images += images
        for parameter in self._parameters:
            if parameter.grad is not None:
                with current(device_of(parameter.grad)):
                    weighted = parameter.grad * parameter.dtype.type(images)
                    if parameter in self._sums:
                        self._sums[parameter] += weighted
                    else:
                        self._sums[parameter] = weighted

    def hand_over(self) -> None:
        """Make the mean the parameters' `grad`, and begin anew."""
        for parameter, gradient in self._sums.items():
            with current(device_of(gradient)):
                gradient /= parameter.dtype.type(self.images)
            parameter.grad = gradient
        self.images, self._sums = 0, {}
