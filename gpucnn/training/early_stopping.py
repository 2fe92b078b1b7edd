"""Early stopping: training ends when the loss on unseen images no longer falls."""

import math
from collections.abc import Mapping
from typing import Any

from gpucnn.checks import as_count, as_number, is_finite, is_int
from gpucnn.errors import StateError
from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer


class EarlyStopping(Callback):
    """Stops training after `patience` epochs in a row whose test loss is no better than the best before them.

    - `least_change`: a loss is better if it is below the best one by more than this.

    Without a test loader it goes by the training loss. Its state is saved with a checkpoint, so that a resumed run stops
    where the uninterrupted one does. Raises ArgumentError unless `patience` is an int >= 1 and `least_change` a number >= 0.
    Source: Prechelt, "Early Stopping - But When?", 1998.
    """

    def __init__(self, patience: int, least_change: float = 0.0) -> None:
        self.patience = as_count(patience, "patience")
        self.least_change = as_number(least_change, "least_change")
        self.best = math.inf
        """The loss to fall below."""
        self.bad_epochs = 0
        """How many epochs in a row were no better."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        row = trainer.history[-1]
        name = "test_loss" if "test_loss" in row else "train_loss"
        if row[name] < self.best - self.least_change:
            self.best, self.bad_epochs = row[name], 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs >= self.patience:
            trainer.stop(
                f"{name.replace('_', ' ')} no better than {self.best:.4f}, that of epoch {row['epoch'] - self.bad_epochs}, "
                f"for {self.bad_epochs} {'epoch' if self.bad_epochs == 1 else 'epochs'}"
            )

    def state_dict(self) -> dict[str, Any]:
        """JSON values; `best` is None before the first epoch's end."""
        return {"best": self.best if math.isfinite(self.best) else None, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. StateError, and no change, if it is something else."""
        expected = self.state_dict().keys()
        if state.keys() != expected:
            raise StateError(
                f"EarlyStopping: expected a state of {', '.join(expected)}, got {', '.join(map(str, state)) or 'none'}"
            )
        best, bad_epochs = state["best"], state["bad_epochs"]
        if best is not None and not is_finite(best):
            raise StateError(f"EarlyStopping: best must be a finite number or None, got {best!r}")
        if not is_int(bad_epochs) or bad_epochs < 0:
            raise StateError(f"EarlyStopping: bad_epochs must be an int >= 0, got {bad_epochs!r}")
        self.best, self.bad_epochs = math.inf if best is None else float(best), int(bad_epochs)
