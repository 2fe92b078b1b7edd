"""The history of a run as a CSV file."""

import csv
import io
import os

from gpucnn.checks import as_path
from gpucnn.errors import RunError
from gpucnn.training.atomic_file import write_atomically
from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer


class CSVLog(Callback):
    """Keeps the trainer's history at `path`: a header, and a row for every finished epoch, the numbers in full.

    The file is replaced whole after each epoch, and so it is never half a row, and a resumed run repeats none. Raises
    RunError when training begins if it cannot be written there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path, "path")

    def on_train_begin(self, trainer: Trainer) -> None:
        try:
            self.path.open("ab").close()
            if trainer.step:  # resumed: what came after the checkpoint comes again
                self._write(trainer)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror}); choose another place") from None

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
