"""Exponential moving average of a model's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from gpucnn.backend import Array, Device, current, device_of, to_device, to_host
from gpucnn.backend.joined import copied, joined
from gpucnn.checks import as_number
from gpucnn.errors import StateError, TrainingError
from gpucnn.kernels.update import average as follow
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model
from gpucnn.layers.saved_arrays import fitting_arrays
from gpucnn.optim.numbers import Numbers
from gpucnn.optim.state import as_steps
from gpucnn.text import counted

UPDATES = "average/updates"
"""The key of the number of updates; a parameter's path has no slash."""


class WeightAverage:
    """A second set of weights that follows those of a model in training, and often does better in evaluation.

    `update`, after every step of the optimizer, takes the n-th look at the model, counted from 0:

        d = min(decay, (1 + n) / (10 + n))
        average += (1 - d) * (parameter - average)

    so that the first looks count more, and the initial weights are soon forgotten. Buffers, e.g. a running mean, are
    averages already: the latest ones are kept. Averages live on the model's device, in its dtype, and move with it.

    - `model`: any layer; the averages begin as its weights of now.
    - `decay`: the share that stays, a number from 0 to below 1; 0.999 looks back over about 1000 steps.

    Raises ArgumentError for a decay out of range.
    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the warm-up is that of
    TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: Layer, decay: float = 0.999) -> None:
        model = as_model("WeightAverage", model)
        self.decay = as_number(decay, "decay", below=1)
        self.updates = 0
        """How many updates there have been."""
        self._parameters, self._buffers = dict(model.named_parameters()), dict(model.named_buffers())
        self._members = {**self._parameters, **self._buffers}
        self._averages = dict(
            zip(self._members, copied(member.array for member in self._members.values()), strict=True)
        )
        self._laid_out: list[Array] = []
        self._weights: list[tuple[Array, ...]] = []
        self._copies: list[tuple[Array, ...]] = []
        self._numbers: dict[tuple[Device, np.dtype], Numbers] = {}
        self._applied = False

    def __repr__(self) -> str:
        return f"WeightAverage(decay={self.decay:g}; {counted(self.updates, 'update')})"

    def update(self) -> None:
        """Let the averages follow the model. TrainingError inside `applied`, where they are the model's own weights."""
        if self._applied:
            raise TrainingError("WeightAverage.update was called inside applied(); update after a training step")
        self._lay_out()
        self.advance()
        self.apply()

    def advance(self) -> None:
        """Count an update: the host's part of it, before each replay of a step that is recorded."""
        self.updates += 1

    def apply(self) -> None:
        """Let the averages follow the model in the update that `advance` has counted: the device's part, all in place."""
        self._lay_out()
        for average, weight in self._weights:
            with current(device_of(average)):
                follow(average, weight, self._numbers_for(average)(self._share))
        for average, buffer in self._copies:
            with current(device_of(average)):
                average[...] = buffer

    def arrays(self) -> list[Array]:
        """What a step writes to."""
        return list(self._averages.values())

    def _share(self) -> tuple[float]:
        """What the averages take of the difference to the weights."""
        looks = max(self.updates - 1, 0)  # a recording may be made before the first update is counted
        return (1 - min(self.decay, (1 + looks) / (10 + looks)),)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averages as its weights and buffers; after it, its own again, whatever happened.

        `with average.applied(): evaluate(model, loader)`. What changes the weights inside is lost. TrainingError if it is
        applied already.
        """
        if self._applied:
            raise TrainingError("WeightAverage.applied was called inside applied(); the averages are in place already")
        own = copied(member.array for member in self._members.values())
        self._applied = True
        try:
            for path, member in self._members.items():
                member.assign(self._averages[path])
            yield
        finally:
            for member, weight in zip(self._members.values(), own, strict=True):
                member.assign(weight)
            self._applied = False

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the averages as numpy arrays, by the model's paths, and the number of updates as "average/updates"."""
        averages = {path: np.array(to_host(average), order="C") for path, average in self._averages.items()}
        return {**averages, UPDATES: np.array(self.updates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. StateError, and no change, if it does not fit the model."""
        if UPDATES not in state:
            raise StateError(f"{UPDATES!r} is missing; load what state_dict of a WeightAverage gave")
        updates = as_steps(UPDATES, state[UPDATES], least=0)
        arrays = {str(path): array for path, array in state.items() if path != UPDATES}
        fitting = fitting_arrays("the averaged model", self._members, arrays)
        self.updates, self._laid_out = updates, []
        for path, member in self._members.items():
            self._averages[path] = to_device(np.array(to_host(fitting[path]), order="C"), member.device)

    def _lay_out(self) -> None:
        """See averages and members as few flat arrays. Where a member's array is another one now, its average follows it."""
        arrays = [member.array for member in self._members.values()]
        if list(map(id, arrays)) == list(map(id, self._laid_out)):
            return
        averages = copied(arrays)
        for path, average in zip(self._members, averages, strict=True):
            with current(device_of(average)):
                average[...] = to_device(self._averages[path], device_of(average))
            self._averages[path] = average
        learned = len(self._parameters)
        self._weights = list(joined(averages[:learned], arrays[:learned]))
        self._copies = list(joined(averages[learned:], arrays[learned:]))
        self._laid_out = arrays

    def _numbers_for(self, average: Array) -> Numbers:
        """What brings the share to the device of `average`, in its dtype."""
        key = device_of(average), average.dtype
        if key not in self._numbers:
            self._numbers[key] = Numbers(*key)
        return self._numbers[key]

    def __getstate__(self) -> dict[str, Any]:
        # In a copy, what was flat is not any more.
        return {**vars(self), "_laid_out": [], "_weights": [], "_copies": [], "_numbers": {}}
