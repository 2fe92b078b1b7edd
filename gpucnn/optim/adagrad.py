"""Adagrad."""

from gpucnn.backend import Array
from gpucnn.checks import as_number
from gpucnn.kernels.update import AdagradSettings, adagrad
from gpucnn.optim.group import ToLearn
from gpucnn.optim.optimizer import Optimizer


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients so far, as PyTorch defines it.

        sum += gradient^2
        parameter -= lr / (1 + (t - 1) * lr_decay) * gradient / (sqrt(sum) + eps)

    Each parameter counts its own steps t. Sums begin with `initial_accumulator_value`; above 0 it tames the first steps,
    which else are of size lr. `weight_decay` is added to the gradient, as L2 regularisation. `decay_vectors`: see
    `Optimizer`. Raises ArgumentError for numbers out of range.
    Source: Duchi et al., "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 2011.
    """

    remembers = ("sum",)
    counts_steps = True

    def __init__(
        self,
        parameters: ToLearn,
        lr: float = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, decay_vectors)
        self.lr_decay = as_number(lr_decay, "lr_decay")
        self.initial = as_number(initial_accumulator_value, "initial_accumulator_value")
        self.eps = as_number(eps, "eps")

    def settings(self, steps: int, lr: float, weight_decay: float) -> tuple[float, ...]:
        return AdagradSettings(lr / (1 + (steps - 1) * self.lr_decay), self.eps, weight_decay)

    def update(self, data: Array, gradient: Array, memory: dict[str, Array], settings: Array) -> None:
        adagrad(data, gradient, memory["sum"], settings)
