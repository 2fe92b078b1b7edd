"""Adam and AdamW."""

from gpucnn.backend import Array
from gpucnn.checks import as_number
from gpucnn.errors import ArgumentError
from gpucnn.kernels.update import AdamSettings, adam
from gpucnn.optim.group import ToLearn
from gpucnn.optim.optimizer import Optimizer
from gpucnn.text import value_text


class Adam(Optimizer):
    """Adaptive moment estimation, as PyTorch defines it: `eps` is added after bias correction, outside the root.

        m = beta1 * m + (1 - beta1) * gradient,  v = beta2 * v + (1 - beta2) * gradient^2
        parameter -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Each parameter counts its own steps t. `weight_decay` is added to the gradient, as L2 regularisation; `AdamW`
    takes it apart. `decay_vectors`: see `Optimizer`. Raises ArgumentError for numbers out of range.
    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    remembers = ("mean", "square")
    counts_steps = True

    def __init__(
        self,
        parameters: ToLearn,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, decay_vectors)
        self.betas = as_betas(betas, type(self).__name__)
        self.eps = as_number(eps, "eps")

    def settings(self, steps: int, lr: float, weight_decay: float) -> AdamSettings:
        beta1, beta2 = self.betas
        return AdamSettings(
            rate=lr / (1 - beta1**steps),
            beta1=beta1,
            fresh1=1 - beta1,
            beta2=beta2,
            fresh2=1 - beta2,
            correction2=1 - beta2**steps,
            eps=self.eps,
            weight_decay=weight_decay,
        )

    def update(self, data: Array, gradient: Array, memory: dict[str, Array], settings: Array) -> None:
        adam(data, gradient, memory["mean"], memory["square"], settings)


class AdamW(Adam):
    """Adam with a weight decay that is not part of the gradient, and so not divided by its size, as PyTorch defines it.

        parameter *= 1 - lr * weight_decay,  then the step of Adam

    `decay_vectors`: see `Optimizer`. Raises ArgumentError for numbers out of range.
    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(
        self,
        parameters: ToLearn,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, decay_vectors)

    def settings(self, steps: int, lr: float, weight_decay: float) -> AdamSettings:
        return super().settings(steps, lr, 0.0)._replace(kept=1 - lr * weight_decay)


def as_betas(betas: tuple[float, float], owner: str) -> tuple[float, float]:
    """`betas`, what two means keep of themselves at every step, as floats; ArgumentError, which names `owner`, unless 0 <= beta < 1."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ArgumentError(f"{owner}: betas must be two numbers, got {value_text(betas)}")
    return as_number(betas[0], "betas[0]", below=1), as_number(betas[1], "betas[1]", below=1)
