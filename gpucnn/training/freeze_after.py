"""Parameters that learn in the first epochs alone."""

from collections.abc import Iterable

from gpucnn.checks import as_count
from gpucnn.layers import Parameter
from gpucnn.optim.group import as_parameters
from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer


class FreezeAfter(Callback):
    """Has `parameters` learn for the first `epochs` epochs, and stay from then on, as with `requires_grad_(False)`.

    Which epoch it is is all that it goes by, so that a resumed run does the same. It makes kinds of steps of their own, which
    are recorded anew. Raises ArgumentError for anything but parameters, and unless `epochs` is an int >= 0.
    """

    def __init__(self, parameters: Iterable[Parameter], epochs: int) -> None:
        self.parameters = as_parameters(parameters, "FreezeAfter")
        self.epochs = as_count(epochs, "FreezeAfter: epochs", 0)

    def on_epoch_begin(self, trainer: Trainer) -> None:
        for parameter in self.parameters:
            parameter.requires_grad = trainer.epoch < self.epochs
