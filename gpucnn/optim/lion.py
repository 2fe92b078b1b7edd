"""Lion."""

from gpucnn.backend import Array
from gpucnn.kernels.update import LionSettings, lion
from gpucnn.optim.adam import as_betas
from gpucnn.optim.group import ToLearn
from gpucnn.optim.optimizer import Optimizer


class Lion(Optimizer):
    """Steps of one size, in the direction of the signs of a momentum. It remembers half of what Adam does.

        parameter *= 1 - lr * weight_decay
        parameter -= lr * sign(beta1 * momentum + (1 - beta1) * gradient)
        momentum = beta2 * momentum + (1 - beta2) * gradient

    Good learning rates are 3 to 10 times smaller than AdamW's, and weight decays larger by the same factor. `decay_vectors`: see
    `Optimizer`. Raises ArgumentError for numbers out of range.
    Source: Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.
    """

    remembers = ("momentum",)

    def __init__(
        self,
        parameters: ToLearn,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, decay_vectors)
        self.betas = as_betas(betas, "Lion")

    def settings(self, steps: int, lr: float, weight_decay: float) -> tuple[float, ...]:
        beta1, beta2 = self.betas
        return LionSettings(lr, beta1, 1 - beta1, beta2, 1 - beta2, 1 - lr * weight_decay)

    def update(self, data: Array, gradient: Array, memory: dict[str, Array], settings: Array) -> None:
        lion(data, gradient, memory["momentum"], settings)
