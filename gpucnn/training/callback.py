"""Callbacks: code that runs at fixed moments of training."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from gpucnn.errors import ArgumentError


class Callback:
    """Subclass it and write the hooks you need; each gets the `Trainer`, whose attributes tell where training stands.

    When steps are repeated to find one that was not finite, see `FiniteGuard`, what hooks have changed is not repeated.

    `trainer.stop(reason)` ends training after the running epoch; an error that a hook raises ends it at once. What a
    callback must still know in a resumed run goes through `state_dict`.
    """

    def on_train_begin(self, trainer: Any) -> None:
        """Before anything else. In a resumed run `trainer.step` is above 0, and the callback's state is back already."""

    def on_epoch_begin(self, trainer: Any) -> None:
        """Before the first batch of an epoch, or of what is left of it: `trainer.batch` of them came before."""

    def on_batch_end(self, trainer: Any) -> None:
        """After a batch, and after the optimizer's step, if it was the last of those whose gradients make one."""

    def on_epoch_end(self, trainer: Any) -> None:
        """After the evaluation at the end of an epoch, whose row is `trainer.history[-1]`."""

    def on_savepoint(self, trainer: Any) -> None:
        """Where `trainer.state()` can be saved: after the hooks of an optimizer's step, and of an epoch.

        After an epoch it counts as finished: `trainer.epoch` is the next one, and `trainer.batch` is 0.
        """

    def on_failure(self, trainer: Any) -> None:
        """When an error ends training: `trainer.error`. Notes added to it (`add_note`) are printed with it.

        Of a step whose loss or gradient was not finite, `trainer.failed_step` tells more.
        """

    def on_train_end(self, trainer: Any) -> None:
        """At the end, also when training was stopped by an error or by Ctrl-C."""

    def state_dict(self) -> dict[str, Any]:
        """JSON values, from which `load_state_dict` goes on alike. Empty by default."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. StateError if it is something else."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


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
            raise ArgumentError(f"{kind}.{name} is an unknown hook and would never run; did you mean {nearest}?")
        parameters = inspect.signature(getattr(callback, name)).parameters
        if len(parameters) != 1:
            raise ArgumentError(f"{kind}.{name} must take (self, trainer), it takes (self, {', '.join(parameters)})")
