"""Lookahead: weights that go back, every few steps, to a slow average of theirs."""

from gpucnn.autograd.writes import log, place_of
from gpucnn.backend import Array, current, device_of
from gpucnn.backend.joined import joined
from gpucnn.checks import as_count, as_number
from gpucnn.kernels.update import average as follow
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model
from gpucnn.optim.second_weights import SecondWeights
from gpucnn.text import counted


class Lookahead(SecondWeights):
    """Weights that run ahead for some steps, and then go back to slow ones, which have followed them a part of the way.

    `step` comes after every step of the optimizer. After the t-th of `steps` that a training has, if t is a multiple of
    `every`, and after the last one,

        d = decay ** every * (t / steps) ** 3
        slow += (1 - d) * (weights - slow)
        weights = slow

    so that at first hardly anything is held back, and ever more towards the end. After the last step d is 1: training ends
    with the slow weights. Of the steps beyond, d stays at decay ** every. Running statistics go back with the weights; a count,
    which is a buffer of one number or of integers, does not. What an optimizer remembers stays as it is.

    - `model`: any layer; the slow weights begin as its weights of now, live on its device, in its dtype, and move with it.
    - `decay`: the share that stays at the end, for each of the steps in between; a number from 0 to below 1.

    Raises ArgumentError for numbers out of range.
    Source: Zhang et al., "Lookahead optimizer: k steps forward, 1 step back", NeurIPS 2019; the growing share is that of
    Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.
    """

    counter, title = "lookahead/steps", "the model with slow weights"

    def __init__(self, model: Layer, steps: int, every: int = 5, decay: float = 0.95) -> None:
        model = as_model("Lookahead", model)
        self.steps, self.every = as_count(steps, "Lookahead: steps"), as_count(every, "Lookahead: every")
        self.decay = as_number(decay, "Lookahead: decay", below=1)
        statistics = {path: one for path, one in model.named_buffers() if one.ndim and one.dtype.kind == "f"}
        super().__init__({**dict(model.named_parameters()), **statistics})
        self._pairs: list[tuple[Array, ...]] = []

    def __repr__(self) -> str:
        return f"Lookahead(steps={self.steps}, every={self.every}, decay={self.decay:g}; {counted(self.count, 'step')} done)"

    def step(self) -> None:
        """Count a step of the optimizer; if it is one after which weights go back, let them."""
        self.count += 1
        if self.count % self.every and self.count != self.steps:
            return
        self._lay_out()
        for slow, weights in self._pairs:
            with current(device_of(slow)):
                follow(slow, weights, self._numbers_for(slow)(self._share))
                weights[...] = slow
                log.note("Lookahead", place_of(weights))

    def _share(self) -> tuple[float]:
        """How far the slow weights follow."""
        if self.count == self.steps:
            return (0.0,)
        return (1 - self.decay**self.every * min(self.count / self.steps, 1) ** 3,)

    def _see(self, second: list[Array], own: list[Array]) -> None:
        self._pairs = list(joined(second, own))
