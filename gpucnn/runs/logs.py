"""The history of a run as other programs read it: a CSV file, and points for TensorBoard."""

import csv
import io
import os
from typing import TYPE_CHECKING

from gpucnn.atomic_file import check_place, telling_of, write_atomically
from gpucnn.checks import as_path
from gpucnn.errors import LibraryError
from gpucnn.training.callback import Callback
from gpucnn.training.progress import EpochClock
from gpucnn.training.trainer import Trainer

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/val",
    "test_loss": "loss/test",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/val",
    "test_accuracy": "accuracy/test",
    "lr": "learning rate",
}


class CSVLog(Callback):
    """Keeps the trainer's history at `path`: a header, and a row for every finished epoch, the numbers in full.

    The file is replaced whole after each epoch, and so it is never half a row, and a resumed run repeats none. Raises
    RunError when training begins if it cannot be written there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path, "path")

    def on_train_begin(self, trainer: Trainer) -> None:
        check_place(self.path)
        with telling_of(self.path):
            self.path.open("ab").close()
            if trainer.step:  # resumed: what came after the checkpoint comes again
                self._write(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        text = io.StringIO()
        names = dict.fromkeys(name for row in trainer.history for name in row)
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        if names:
            writer.writeheader()
        writer.writerows(trainer.history)
        write_atomically(self.path, text.getvalue().encode())


class TensorBoardLog(EpochClock):
    """Writes loss, accuracy, learning rate and speed of every finished epoch into `folder`, for `tensorboard --logdir`.

    The step of a point is the epoch's number. When training begins, or is resumed, points that come again hide those that
    are there. Raises LibraryError if tensorboardX is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise LibraryError(
                f'TensorBoardLog needs tensorboardX ({error}); install it with: pip install "gpucnn[tensorboard]"'
            ) from None
        self.folder = os.fspath(folder)
        self._writer: SummaryWriter | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        from tensorboardX import SummaryWriter

        epochs = len(trainer.history)
        # The suffix, as two files of one second would have one name, and the first be lost.
        self._writer = SummaryWriter(self.folder, purge_step=epochs + 1, filename_suffix=f".{epochs:05d}")

    def on_epoch_end(self, trainer: Trainer) -> None:
        assert self._writer is not None
        row = trainer.history[-1]
        points = {tag: row[name] for name, tag in TAGS.items() if name in row}
        for tag, value in {**points, "images per second": self.images_per_second, "waiting": self.waiting}.items():
            self._writer.add_scalar(tag, value, row["epoch"])
        self._writer.flush()

    def on_train_end(self, trainer: Trainer) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
