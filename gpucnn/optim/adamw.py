"""AdamW."""

from collections.abc import Iterable

from gpucnn.backend import Array
from gpucnn.layers import Parameter
from gpucnn.optim.adam import Adam
from gpucnn.optim.group import Group


class AdamW(Adam):
    """Adam with a weight decay that is no part of the gradient, and so not divided by its size, as PyTorch defines it.

        parameter *= 1 - lr * weight_decay,  then the step of Adam

    `decay_vectors`: see `Optimizer`. Raises ArgumentError for numbers out of range.
    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter | Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, decay_vectors)

    def settings(self, steps: int, lr: float, weight_decay: float) -> tuple[float, ...]:
        return *super().settings(steps, lr, 0.0), 1 - lr * weight_decay

    def update(self, data: Array, gradient: Array, memory: dict[str, Array], settings: Array) -> None:
        data *= settings[-1]
        super().update(data, gradient, memory, settings[:-1])
