"""Progress on the screen: a bar on a terminal, plain lines elsewhere, so that log files stay readable."""

import sys
from typing import TYPE_CHECKING, Any

from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressLines(Callback):
    """One line for every finished epoch."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        print(epoch_line(trainer), flush=True)


class ProgressBar(Callback):
    """A bar over the batches of the running epoch, and a line for every finished one."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_epoch_begin(self, trainer: Trainer) -> None:
        from tqdm import tqdm

        title = f"epoch {trainer.epoch + 1}/{trainer.epochs}"
        self._bar = tqdm(
            total=len(trainer.train_loader),
            initial=trainer.batch,
            desc=title,
            unit="batch",
            leave=False,
            file=sys.stdout,
        )

    def on_batch_end(self, trainer: Trainer) -> None:
        if self._bar is not None:
            self._bar.update()

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._close()
        print(epoch_line(trainer), flush=True)

    def on_train_end(self, trainer: Trainer) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def epoch_line(trainer: Trainer) -> str:
    """The last row of the history in one line."""
    row = trainer.history[-1]
    width = len(str(trainer.epochs))
    test = f"test accuracy {row['test_accuracy']:.4f}  " if "test_accuracy" in row else ""
    return (
        f"epoch {row['epoch']:>{width}}/{trainer.epochs}  loss {row['train_loss']:.4f}  "
        f"train accuracy {row['train_accuracy']:.4f}  {test}{trainer.seconds:.1f} s"
    )
