"""Parameters in one flat array, so that an update is one loop, or one launch, for all of them."""

import itertools
from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np

from gpucnn.autograd.writes import log, place_of
from gpucnn.backend import Array, Device, current, to_device
from gpucnn.layers import Parameter
from gpucnn.optim.group import Rates
from gpucnn.optim.numbers import Numbers


class FlatBuffer:
    """Parameters of one device, dtype and `rates`, side by side, and their gradients in an array of the same order.

    Each parameter's `data` becomes a part of `data`, and backward functions write its gradient straight into its part of
    `gradient`. What the optimizer remembers of them stands in `memory`, by name, in flat arrays of the same order, which
    hold `initial` at first.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter], device: Device, dtype: np.dtype, rates: Rates, initial: float
    ) -> None:
        # A parameter's path changes when its layer gets another place, so the names are those of the beginning.
        self.names, self.parameters = list(parameters), list(parameters.values())
        self.device, self.dtype, self.rates, self.initial = device, dtype, rates, initial
        self.steps = [0] * len(self.parameters)
        """How many steps each parameter has taken."""
        sizes = [parameter.size for parameter in self.parameters]
        self.offsets = [sum(sizes[:position]) for position in range(len(sizes) + 1)]
        self.data, self.gradient = self.full(0), self.full(0)
        self.memory: dict[str, Array] = {}
        self.numbers = Numbers(device, dtype)
        """Brings an update's settings there."""
        self._homes = [self.part(self.data, position) for position in range(len(sizes))]
        self._gradient_homes = [self.part(self.gradient, position) for position in range(len(sizes))]

    def part(self, flat: Array, position: int) -> Array:
        """The part of a flat array that belongs to the parameter at `position`, in its shape."""
        start, stop = self.offsets[position], self.offsets[position + 1]
        return flat[start:stop].reshape(self.parameters[position].shape)

    def remember(self, name: str) -> Array:
        """The flat array that is remembered under `name`; full of `initial` at first."""
        if name not in self.memory:
            self.memory[name] = self.full(self.initial)
        return self.memory[name]

    def full(self, value: float) -> Array:
        """A new flat array of the parameters' order, full of `value`."""
        with current(self.device):
            return self.device.xp.full(self.offsets[-1], value, self.dtype)

    def gather(self) -> None:
        """See that parameters, and gradients, stand in the buffer: they leave it when arrays are put in their place."""
        with current(self.device):
            for parameter, home, gradient_home in zip(self.parameters, self._homes, self._gradient_homes, strict=True):
                if not parameter.lives_in(home, gradient_home):
                    parameter.settle(home, gradient_home)
                elif parameter.grad is not None and parameter.grad is not gradient_home:
                    gradient_home[...] = to_device(parameter.grad, self.device)
                    parameter.grad = gradient_home

    def advance(self) -> None:
        """Count a step for every parameter that has a gradient."""
        for position, parameter in enumerate(self.parameters):
            self.steps[position] += parameter.grad is not None
        start, _ = place_of(self.data)
        for stretch in self.filled():
            bounds = start + stretch.start * self.dtype.itemsize, start + stretch.stop * self.dtype.itemsize
            log.note("the optimizer's step", bounds)

    def alike(self) -> list[tuple[slice, int]]:
        """The stretches of neighbours that have gradients and the same count of steps, and the position of the first."""
        return list(self._stretches(self.steps))

    def counted_alike(self) -> list[slice]:
        """The positions of neighbours that have gradients and the same count of steps."""
        keys = [None if one.grad is None else count for one, count in zip(self.parameters, self.steps, strict=True)]
        found, stop = [], 0
        for key, group in itertools.groupby(keys):
            first, stop = stop, stop + len(list(group))
            if key is not None:
                found.append(slice(first, stop))
        return found

    def filled(self) -> list[slice]:
        """The stretches of the parameters that have gradients."""
        return [stretch for stretch, _ in self._stretches([0] * len(self.parameters))]

    def final_from(self, expected: Container[Parameter], stop: int) -> int:
        """The first position from which on, up to `stop`, no gradient is `expected` any more."""
        while stop > 0 and self.parameters[stop - 1] not in expected:
            stop -= 1
        return stop

    def fill(self, parameters: Container[Parameter]) -> None:
        """Make what stands in `gradient` the gradient of those of `parameters` that live here."""
        for parameter, home in zip(self.parameters, self._gradient_homes, strict=True):
            if parameter in parameters:
                parameter.grad = home

    def _stretches(self, keys: Sequence[int]) -> Iterator[tuple[slice, int]]:
        """Where neighbours lie that have gradients and equal keys, and the position of the first."""
        pairs = zip(self.parameters, keys, strict=True)
        present = [None if parameter.grad is None else key for parameter, key in pairs]
        start = stop = 0
        for key, group in itertools.groupby(present):
            start, stop = stop, stop + len(list(group))
            if key is not None and self.offsets[start] < self.offsets[stop]:
                yield slice(self.offsets[start], self.offsets[stop]), start
