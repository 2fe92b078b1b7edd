"""Gradient accumulation: one step of the optimizer for several batches."""

from collections.abc import Iterable

from gpucnn.backend import Array, current, device_of, xp_of
from gpucnn.layers import Parameter
from gpucnn.optim.joined import copied, joined


class GradientMean:
    """The mean gradient of several batches, over all their images, as if they had been one batch.

    A batch counts by its number of images, so that a smaller last one weighs less. A batch that must be computed anew has
    spoiled nothing before it was added.

    - `parameters`: whose gradients.
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.images = 0
        """How many images the gradients so far are of."""
        self._parameters = list(parameters)
        self._sums: dict[Parameter, Array] = {}

    def add(self, images: int) -> None:
        """Take in what the parameters have as `grad`: the mean over a batch of `images` images."""
        self.images += images
        gradients = {parameter: parameter.grad for parameter in self._parameters if parameter.grad is not None}
        known = [parameter for parameter in gradients if parameter in self._sums]
        for total, gradient in joined((self._sums[p] for p in known), (gradients.pop(p) for p in known)):
            with current(device_of(total)):
                total += gradient * total.dtype.type(images)
        sums = copied(gradients.values())
        for (total,) in joined(sums):
            with current(device_of(total)):
                total *= total.dtype.type(images)
        self._sums.update(zip(gradients, sums, strict=True))

    def hand_over(self) -> None:
        """Make the mean the parameters' `grad`, and begin anew."""
        for parameter, total in self._sums.items():
            if parameter.grad is None:
                parameter.grad = total
        for total, gradient in joined(self._sums.values(), (parameter.grad for parameter in self._sums)):
            with current(device_of(total)):
                xp_of(total).divide(total, total.dtype.type(self.images), out=gradient)
        self.images, self._sums = 0, {}
