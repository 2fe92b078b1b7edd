"""RMSprop."""

from gpucnn.backend import Array
from gpucnn.checks import as_flag, as_number
from gpucnn.kernels.update import RmspropSettings, rmsprop
from gpucnn.optim.group import ToLearn
from gpucnn.optim.optimizer import Optimizer


class RMSprop(Optimizer):
    """Steps divided by the root of the gradient's mean square, as PyTorch defines it: `eps` is added outside the root.

        square = alpha * square + (1 - alpha) * gradient^2
        parameter -= lr * gradient / (sqrt(square) + eps)

    With `momentum` the quotients are gathered in a velocity, and the step is along that. With `centered` the variance
    square - mean^2 stands in place of the square; where rounding makes it negative, 0 does. `weight_decay` is added to the
    gradient, as L2 regularisation. `decay_vectors`: see `Optimizer`. Raises ArgumentError for numbers out of range.
    Source: Tieleman and Hinton, "Neural networks for machine learning", lecture 6.5, 2012; centered: Graves, "Generating
    sequences with recurrent neural networks", 2013.
    """

    def __init__(
        self,
        parameters: ToLearn,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, decay_vectors)
        self.alpha = as_number(alpha, "alpha", below=1)
        self.eps = as_number(eps, "eps")
        self.momentum = as_number(momentum, "momentum", below=1)
        self.centered = as_flag(centered, "RMSprop: centered")
        self.remembers = ("square", *(("mean",) if centered else ()), *(("momentum",) if momentum else ()))

    def settings(self, steps: int, lr: float, weight_decay: float) -> tuple[float, ...]:
        return RmspropSettings(lr, self.alpha, 1 - self.alpha, self.eps, self.momentum, weight_decay)

    def update(self, data: Array, gradient: Array, memory: dict[str, Array], settings: Array) -> None:
        rmsprop(data, gradient, memory["square"], memory.get("mean"), memory.get("momentum"), settings)
