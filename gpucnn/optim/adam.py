"""Adam."""

from collections.abc import Iterable

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_number
from gpucnn.errors import ArgumentError
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

    remembers = ("mean", "square", "steps")
    counts = ("steps",)

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

    def update(self, data: Array, gradient: Array, memory: dict[str, Array]) -> None:
        xp = xp_of(data)
        if not memory:
            memory.update(mean=xp.zeros_like(data), square=xp.zeros_like(data), steps=np.array(0))
        memory["steps"] = np.array(int(memory["steps"]) + 1)
        beta1, beta2 = self.betas
        steps = int(memory["steps"])
        if self.weight_decay:
            gradient = gradient + self.weight_decay * data
        mean, square = memory["mean"], memory["square"]
        mean *= beta1
        mean += (1 - beta1) * gradient
        square *= beta2
        square += (1 - beta2) * (gradient * gradient)
        root = xp.sqrt(square / (1 - beta2**steps))
        root += self.eps
        data -= (self.lr / (1 - beta1**steps)) * mean / root
