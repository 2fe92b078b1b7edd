"""Progress on the screen: a table with a line for every epoch; on a terminal a bar over the running one, too."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer

if TYPE_CHECKING:
    from tqdm import tqdm


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


class ProgressLines(EpochClock):
    """A table that grows by a line for every finished epoch; plain text, so that log files stay readable."""

    _told = 0
    """How many of the trainer's notes have been printed."""

    def on_train_begin(self, trainer: Trainer) -> None:
        print(_aligned(_columns(trainer), trainer), flush=True)

    def on_epoch_end(self, trainer: Trainer) -> None:
        for note in trainer.notes[self._told :]:
            print(note, flush=True)
        self._told = len(trainer.notes)
        print(epoch_line(trainer, self), flush=True)

    def on_train_end(self, trainer: Trainer) -> None:
        if trainer.stop_reason:
            print(f"stopped early: {trainer.stop_reason}", flush=True)


class ProgressBar(ProgressLines):
    """The same table, and below it a bar over the batches of the running epoch."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_epoch_begin(self, trainer: Trainer) -> None:
        from tqdm import tqdm

        super().on_epoch_begin(trainer)
        self._bar = tqdm(
            total=len(trainer.train_loader),
            initial=trainer.batch,
            desc=f"epoch {trainer.epoch + 1}/{trainer.epochs}",
            unit="batch",
            leave=False,
            file=sys.stdout,
        )

    def on_batch_end(self, trainer: Trainer) -> None:
        super().on_batch_end(trainer)
        if self._bar is not None:
            self._bar.update()

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._close()
        super().on_epoch_end(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        self._close()
        super().on_train_end(trainer)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def epoch_line(trainer: Trainer, clock: EpochClock) -> str:
    """The line of the last finished epoch; for "waiting" see `EpochClock`."""
    row = trainer.history[-1]
    scores = [_decimals(row[f"{part}_{name}"]) for part in _parts(trainer) for name in ("loss", "accuracy")]
    speed = (f"{clock.images_per_second:,.0f}", f"{clock.waiting:.0%}", f"{trainer.seconds:.1f} s")
    return _aligned([f"{row['epoch']}/{trainer.epochs}", *scores, f"{row['lr']:.2e}", *speed], trainer)


def _columns(trainer: Trainer) -> list[str]:
    scores = [f"{part} {name}" for part in _parts(trainer) for name in ("loss", "accuracy")]
    return ["epoch", *scores, "lr", "images/s", "waiting", "time"]


def _parts(trainer: Trainer) -> tuple[str, ...]:
    return ("train",) if trainer.test_loader is None else ("train", "test")


def _aligned(texts: Sequence[str], trainer: Trainer) -> str:
    """Each text flush right in its column; the widths are known before the first epoch."""
    widths = {"epoch": 2 * len(str(trainer.epochs)) + 1, "lr": 8, "images/s": 9, "time": 8}
    names = _columns(trainer)
    return "  ".join(text.rjust(max(len(name), widths.get(name, 0))) for name, text in zip(names, texts, strict=True))


def _decimals(number: float) -> str:
    return f"{number:.4f}" if number < 1e4 else f"{number:.3e}"


def _images(trainer: Trainer) -> int:
    """How many images of the running epoch have been learned from."""
    return trainer.train_loader.images_in(trainer.batch)
