"""A learning rate that falls when the loss no longer does."""

import math
from collections.abc import Mapping
from typing import Any

from gpucnn.checks import as_count, as_number, is_finite, is_real
from gpucnn.errors import ArgumentError, StateError
from gpucnn.text import value_text


class ReduceOnPlateau:
    """A schedule that multiplies its rate by `factor` after more than `patience` epochs in a row without a better loss.

    Call it with a step's number as any schedule, and `observe` at the end of every epoch; the rate depends on the losses
    seen alone. PyTorch's ReduceLROnPlateau with a relative threshold, but that every reduction counts, however small.

    - `lr`: the first rate. `least`: it falls no lower. `factor`: from 0 to below 1.
    - `patience`: how many such epochs in a row change nothing.
    - `threshold`: a loss is better if it is below the best one by more than this share of it. NaN and
      infinity never are.
    - `cooldown`: how many epochs after a reduction do not count as such.

    Raises ArgumentError for numbers out of range.
    """

    def __init__(
        self,
        lr: float,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        least: float = 0.0,
    ) -> None:
        self.lr, self.least = as_number(lr, "lr"), as_number(least, "least")
        if least > lr:
            raise ArgumentError(
                f"least, where the rate stops falling, must not be above lr={lr:g}, got {value_text(least)}"
            )
        self.factor = as_number(factor, "factor", below=1)
        self.threshold = as_number(threshold, "threshold", below=1)
        self.patience, self.cooldown = as_count(patience, "patience", least=0), as_count(cooldown, "cooldown", least=0)
        self.best = math.inf
        """The lowest loss so far."""
        self.bad_epochs = 0
        """How many epochs in a row were not better, outside cooldowns."""
        self.cooldown_left = 0
        """How many epochs more do not count."""

    def __repr__(self) -> str:
        return f"ReduceOnPlateau(lr={self.lr:g}, factor={self.factor:g}, patience={self.patience})"

    def __call__(self, step: int) -> float:
        """The rate of now, whatever the step."""
        return self.lr

    def observe(self, loss: float) -> None:
        """Take note of an epoch's loss. Raises ArgumentError if it is not a number."""
        if not is_real(loss):
            raise ArgumentError(f"loss must be a number, got {value_text(loss)}")
        # A share of the best loss's size, so that a negative loss must fall, too.
        if math.isfinite(loss) and loss < self.best * (1 - math.copysign(self.threshold, self.best)):
            self.best, self.bad_epochs = float(loss), 0
        else:
            self.bad_epochs += 1
        if self.cooldown_left:
            self.cooldown_left -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            self.lr = max(self.lr * self.factor, self.least)
            self.cooldown_left, self.bad_epochs = self.cooldown, 0

    def state_dict(self) -> dict[str, float | None]:
        """What the losses have led to, as JSON values; `best` is None before the first loss that counts."""
        return {
            "lr": self.lr,
            "best": self.best if math.isfinite(self.best) else None,
            "bad_epochs": self.bad_epochs,
            "cooldown_left": self.cooldown_left,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. StateError, and no change, if it is something else."""
        expected = self.state_dict().keys()
        if state.keys() != expected:
            raise StateError(
                f"ReduceOnPlateau: expected a state of {', '.join(expected)}, got {', '.join(map(str, state)) or 'none'}"
            )
        best = state["best"]
        if best is not None and not is_finite(best):
            raise StateError(f"ReduceOnPlateau: best must be a finite number or None, got {value_text(best)}")
        try:
            lr = as_number(state["lr"], "lr")
            bad_epochs = as_count(state["bad_epochs"], "bad_epochs", least=0)
            cooldown_left = as_count(state["cooldown_left"], "cooldown_left", least=0)
        except ArgumentError as error:
            raise StateError(f"ReduceOnPlateau: {error}") from None
        self.lr, self.bad_epochs, self.cooldown_left = lr, bad_epochs, cooldown_left
        self.best = math.inf if best is None else float(best)
