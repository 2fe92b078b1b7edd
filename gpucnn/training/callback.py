"""Callbacks: code that runs at fixed moments of training."""

import difflib
import inspect
from typing import TYPE_CHECKING

from gpucnn.errors import ArgumentError

if TYPE_CHECKING:
    from gpucnn.training.trainer import Trainer

HOOKS = ("on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_train_end")


class Callback:
    """Subclass it and write the hooks you need; each gets the trainer, whose attributes tell where training stands."""

    def on_train_begin(self, trainer: "Trainer") -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, trainer: "Trainer") -> None:
        """Before the first batch of an epoch."""

    def on_batch_end(self, trainer: "Trainer") -> None:
        """After the optimizer's step."""

    def on_epoch_end(self, trainer: "Trainer") -> None:
        """After the evaluation at the end of an epoch, whose row is `trainer.history[-1]`."""

    def on_train_end(self, trainer: "Trainer") -> None:
        """At the end, also when training was stopped by an error or by Ctrl-C."""


def check_callback(callback: Callback) -> None:
    """ArgumentError unless `callback` is a Callback whose hooks have known names and take the trainer alone."""
    kind = type(callback).__name__
    if not isinstance(callback, Callback):
        raise ArgumentError(f"callbacks must be training.Callback objects, got {kind}")
    for name in dir(callback):
        if not name.startswith("on_"):
            continue
        if name not in HOOKS:
            nearest = difflib.get_close_matches(name, HOOKS, 1, cutoff=0)[0]
            raise ArgumentError(f"{kind}.{name} is no hook and would never run; did you mean {nearest}?")
        parameters = inspect.signature(getattr(callback, name)).parameters
        if len(parameters) != 1:
            raise ArgumentError(f"{kind}.{name} must take (self, trainer), it takes (self, {', '.join(parameters)})")
