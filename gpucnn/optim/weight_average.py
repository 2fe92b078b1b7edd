"""Exponential moving average of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from gpucnn.backend import Array, current, device_of
from gpucnn.backend.joined import copied, joined
from gpucnn.checks import as_number
from gpucnn.errors import TrainingError
from gpucnn.kernels.update import average as follow
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model
from gpucnn.optim.second_weights import SecondWeights
from gpucnn.text import counted


class WeightAverage(SecondWeights):
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

    counter, title = "average/updates", "the averaged model"

    def __init__(self, model: Layer, decay: float = 0.999) -> None:
        model = as_model("WeightAverage", model)
        self.decay = as_number(decay, "decay", below=1)
        parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
        super().__init__({**parameters, **buffers})
        self._learned = len(parameters)
        self._weights: list[tuple[Array, ...]] = []
        self._copies: list[tuple[Array, ...]] = []
        self._applied = False

    @property
    def updates(self) -> int:
        """How many updates there have been."""
        return self.count

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
        self.count += 1

    def apply(self) -> None:
        """Let the averages follow the model in the update that `advance` has counted: the device's part, all in place."""
        self._lay_out()
        for average, weight in self._weights:
            with current(device_of(average)):
                follow(average, weight, self._numbers_for(average)(self._share))
        for average, buffer in self._copies:
            with current(device_of(average)):
                average[...] = buffer

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
                member.assign(self._second[path])
            yield
        finally:
            for member, weight in zip(self._members.values(), own, strict=True):
                member.assign(weight)
            self._applied = False

    def _see(self, second: list[Array], own: list[Array]) -> None:
        self._weights = list(joined(second[: self._learned], own[: self._learned]))
        self._copies = list(joined(second[self._learned :], own[self._learned :]))
