"""Adam."""

from collections.abc import Iterable

from gpucnn.backend import Array
from gpucnn.checks import as_number
from gpucnn.errors import ArgumentError
from gpucnn.kernels.adam import adam
from gpucnn.layers import Parameter
from gpucnn.optim.optimizer import Optimizer


class Adam(Optimizer):
    """Adaptive moment estimation, as PyTorch defines it: `eps` is added after bias correction, outside the root.

        m = beta1 * m + (1 - beta1) * gradient,  v = beta2 * v + (1 - beta2) * gradient^2
        parameter -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Each parameter counts its own steps t. `weight_decay` is added to the gradient, as L2 regularisation. Raises
    ArgumentError for numbers out of range.
    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    remembers = ("mean", "square")
    counts_steps = True

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr)
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ArgumentError(f"Adam: betas must be two numbers, got {betas!r}")
        self.betas = (as_number(betas[0], "betas[0]", below=1), as_number(betas[1], "betas[1]", below=1))
        self.eps = as_number(eps, "eps")
        self.weight_decay = as_number(weight_decay, "weight_decay")

    def settings(self, steps: int) -> tuple[float, ...]:
        beta1, beta2 = self.betas
        moments = (beta1, 1 - beta1, beta2, 1 - beta2)
        return self.lr / (1 - beta1**steps), *moments, 1 - beta2**steps, self.eps, self.weight_decay

    def update(self, data: Array, gradient: Array, memory: dict[str, Array], settings: Array) -> None:
        adam(data, gradient, memory["mean"], memory["square"], settings)
