"""How fast an epoch trains, and how long it waits for data."""

import time

from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer


class EpochClock(Callback):
    """Measures the training part of every epoch, without the evaluation; of a resumed one, what is left of it.

    A base of callbacks that report it in `on_epoch_end`.
    """

    images_per_second = 0.0
    waiting = 0.0
    """The share of the time, from 0 to 1, in which no batch was ready."""

    _start = 0.0
    _first_image = 0

    def on_epoch_begin(self, trainer: Trainer) -> None:
        self._start, self._first_image = time.perf_counter(), _images(trainer)

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.batch < len(trainer.train_loader):
            return
        if trainer.loss is not None:
            trainer.loss.item()  # a GPU may be steps behind
        seconds = max(time.perf_counter() - self._start, 1e-9)
        self.images_per_second = (_images(trainer) - self._first_image) / seconds
        self.waiting = min(trainer.train_loader.waited / seconds, 1.0)


def _images(trainer: Trainer) -> int:
    """How many images of the running epoch have been learned from."""
    loader = trainer.train_loader
    return min(trainer.batch * loader.batch_size, len(loader.dataset))
