"""Early stopping: training ends when the model no longer becomes better on unseen images."""

from collections.abc import Mapping, Sequence

from gpucnn.checks import as_count, as_number
from gpucnn.text import counted
from gpucnn.training.best_epoch import is_better, judged_by
from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer


class EarlyStopping(Callback):
    """Stops training after `patience` epochs in a row that are no better than the best before them.

    An epoch is better if its accuracy is higher, or if that is equal and its loss lower: on the validation images, without
    them on the test images, and without a loader of either on the training images.

    - `least_change`: accuracy, or loss where that decides, is better if it is so by more than this.

    All that it knows is in the trainer's history, so that a resumed run stops where the uninterrupted one does. Raises
    ArgumentError unless `patience` is an int >= 1 and `least_change` a number >= 0.
    Source: Prechelt, "Early Stopping - But When?", 1998.
    """

    def __init__(self, patience: int, least_change: float = 0.0) -> None:
        self.patience = as_count(patience, "patience")
        self.least_change = as_number(least_change, "least_change")

    def on_epoch_end(self, trainer: Trainer) -> None:
        best = self.best(trainer.history)
        epochs = len(trainer.history) - 1 - best
        if epochs < self.patience:
            return
        row = trainer.history[best]
        part = judged_by(row)
        scores = ", ".join(
            f"{name} {row[key]:.4f}" for name in ("accuracy", "loss") if (key := f"{part}_{name}") in row
        )
        trainer.stop(f"no better than epoch {best + 1} ({part} {scores}) for {counted(epochs, 'epoch')}")

    def best(self, history: Sequence[Mapping[str, float]]) -> int:
        """The place of the best row of a `history` that is not empty; of equal ones the first."""
        best = 0
        for place, row in enumerate(history):
            if is_better(row, history[best], self.least_change):
                best = place
        return best
