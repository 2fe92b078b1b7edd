"""Stochastic gradient descent."""

from gpucnn.backend import Array
from gpucnn.checks import as_flag, as_number
from gpucnn.errors import ArgumentError
from gpucnn.kernels.update import SgdSettings, sgd
from gpucnn.optim.group import ToLearn
from gpucnn.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch defines it.

        velocity = momentum * velocity + (gradient + weight_decay * parameter)
        parameter -= lr * velocity

    With `nesterov` the step looks ahead: lr * (gradient + momentum * velocity). `decay_vectors`: see `Optimizer`.
    Raises ArgumentError for numbers out of range, and for Nesterov without momentum.
    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    def __init__(
        self,
        parameters: ToLearn,
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, decay_vectors)
        self.momentum = as_number(momentum, "momentum", below=1)
        self.nesterov = as_flag(nesterov, "SGD: nesterov")
        self.remembers = ("momentum",) if momentum else ()
        if nesterov and momentum == 0:
            raise ArgumentError("SGD: nesterov=True needs momentum > 0, got 0")

    def settings(self, steps: int, lr: float, weight_decay: float) -> tuple[float, ...]:
        return SgdSettings(lr, self.momentum, weight_decay)

    def update(self, data: Array, gradient: Array, memory: dict[str, Array], settings: Array) -> None:
        sgd(data, gradient, memory.get("momentum"), settings, self.nesterov)
