"""Progress on the screen: a table with a line for every epoch; where somebody looks on, a bar over the running one, too."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpucnn.text_table import GAP, terminal_width, wrapped
from gpucnn.training.callback import Callback
from gpucnn.training.notebook import Place, is_unattended, place_for_widgets
from gpucnn.training.trainer import Trainer

if TYPE_CHECKING:
    from tqdm import tqdm


WAITING = "waiting"
MUCH_WAITING = 0.5, 5.0
"""The share of an epoch, and the seconds, from which waiting for batches is told also where the table has no room for it."""
BAR = "{desc}  {percentage:3.0f}% |{bar:16}|"
"""What tqdm shows, before loss and time."""
LOSS_EVERY = 1.0
"""Seconds from one look at the loss to the next: each makes the host wait for a GPU."""


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
    """A table that grows by a line for every finished epoch; plain text, so that log files stay readable.

    It fits 80 columns; where the terminal is wider, it also has the images a second and the share of waiting. The trainer's notes
    come after it.
    """

    _has_told_of_waiting = False
    _names: Sequence[str] = ()
    """Of the columns."""

    def on_train_begin(self, trainer: Trainer) -> None:
        self._names = _columns(trainer, terminal_width())
        part, _ = trainer.measured
        if trainer.label_smoothing and part != "train":
            print(f"train loss is with label smoothing {trainer.label_smoothing:g}, {part} loss without", flush=True)
        print(_aligned(self._names, self._names, trainer), flush=True)

    def on_epoch_end(self, trainer: Trainer) -> None:
        print(_aligned(_cells(trainer, self)[: len(self._names)], self._names, trainer), flush=True)
        share, seconds = MUCH_WAITING
        is_much = self.waiting >= share and self.waiting * trainer.seconds >= seconds
        if is_much and WAITING not in self._names and not self._has_told_of_waiting:
            self._has_told_of_waiting = True
            print(
                f"{self.waiting:.0%} of the epoch went in waiting for batches: with workers, they are made ahead",
                flush=True,
            )

    def on_train_end(self, trainer: Trainer) -> None:
        stop = [f"stopped early: {trainer.stop_reason}"] if trainer.stop_reason else []
        for line in [*trainer.notes, *stop]:
            print("\n".join(wrapped(line, terminal_width())), flush=True)


class ProgressBar(ProgressLines):
    """The same table, and below it a bar over the running epoch, with its loss so far and the time left of all epochs.

    In a notebook with ipywidgets the bar is tqdm's for notebooks, above the table. A notebook that nbconvert, papermill or the
    like run by themselves has the table alone: nobody is there to watch a bar, whose every change would be kept in the file.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._place: Place | None = None
        self._loss = BAR
        self._looked = -LOSS_EVERY
        self._first: tuple[float, int] | None = None
        self._began = 0.0

    def on_train_begin(self, trainer: Trainer) -> None:
        self._place = None if is_unattended() else place_for_widgets()
        if self._place is not None:  # one bar for all epochs: front ends show no second one in its place
            from tqdm.notebook import tqdm_notebook

            self._bar = tqdm_notebook(bar_format=self._fitted(BAR), display=False, total=len(trainer.train_loader))
            self._place.display(self._bar.container)
        super().on_train_begin(trainer)
        self._began, self._first = time.perf_counter(), None

    def on_epoch_begin(self, trainer: Trainer) -> None:
        super().on_epoch_begin(trainer)
        self._looked = -LOSS_EVERY
        name, batches = f"epoch {trainer.epoch + 1}/{trainer.epochs}", len(trainer.train_loader)
        if self._bar is not None:
            self._bar.set_description_str(name, refresh=False)
            self._bar.reset(batches)
            self._bar.update(trainer.batch)
        elif not is_unattended():
            from tqdm import tqdm

            self._bar = tqdm(
                total=batches, initial=trainer.batch, desc=name, bar_format=BAR, leave=False, file=sys.stdout
            )

    def on_batch_end(self, trainer: Trainer) -> None:
        super().on_batch_end(trainer)
        if self._bar is None:
            return
        now = time.perf_counter()
        if trainer.device.kind == "cpu" or now >= self._looked + LOSS_EVERY:
            self._loss, self._looked = f"{BAR} loss {trainer.metrics.scores().loss:.2f}", now
        texts = (self._loss, self._time_left(trainer, now))
        self._bar.bar_format = self._fitted(" | ".join(text for text in texts if text))
        self._bar.update()

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self._place is None:
            self._close()
        super().on_epoch_end(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        self._close()
        if self._place is not None:
            # A widget that is kept in the file is an error when it is opened.
            self._place.update({"text/plain": ""}, raw=True)
        super().on_train_end(trainer)

    def _time_left(self, trainer: Trainer, now: float) -> str:
        """Of all epochs, as long as each batch takes as those so far, but for the first, in which loops are compiled."""
        batches = len(trainer.train_loader)
        done = trainer.epoch * batches + trainer.batch
        if self._first is None:
            self._first = now, done
        start, first = self._first
        if done == first:
            return ""
        left = (now - start) / (done - first) * (trainer.epochs * batches - done)
        return f"{duration(left)} left of {duration(now - self._began + left, coarse=True)}"

    def _fitted(self, bar_format: str) -> str:
        """For a notebook without the bar's width, which is the widget's own."""
        return bar_format if self._place is None else bar_format.replace("{bar:16}", "{bar}")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def duration(seconds: float, coarse: bool = False) -> str:
    """A time as people say it: 45 s, 1 min 10 s, 2 h 5 min; `coarse` in whole minutes from two on."""
    whole = round(seconds)
    if coarse and whole >= 120:
        whole = round(seconds / 60) * 60
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        parts = (f"{hours} h", f"{minutes} min" if minutes else "")
    else:
        parts = (f"{minutes} min" if minutes else "", f"{rest} s" if rest or not minutes else "")
    return " ".join(part for part in parts if part)


def _columns(trainer: Trainer, width: int) -> list[str]:
    """The names of the columns that fit into `width`."""
    part, _ = trainer.measured
    scores = [name for which in dict.fromkeys(("train", part)) for name in (f"{which} loss", "accuracy")]
    names = ["epoch", *scores, "lr", "time"]
    wide = [*names, "images/s", WAITING]
    return wide if len(_aligned(wide, wide, trainer)) <= width else names


def _cells(trainer: Trainer, clock: EpochClock) -> list[str]:
    """The line of the last finished epoch, for the widest table."""
    row, (part, _) = trainer.history[-1], trainer.measured
    scores = [
        _decimals(row[f"{which}_{name}"]) for which in dict.fromkeys(("train", part)) for name in ("loss", "accuracy")
    ]
    times = (f"{trainer.seconds:.1f} s", f"{clock.images_per_second:,.0f}", f"{clock.waiting:.0%}")
    return [f"{row['epoch']}/{trainer.epochs}", *scores, f"{row['lr']:.2e}", *times]


def _aligned(texts: Sequence[str], names: Sequence[str], trainer: Trainer) -> str:
    """Each text flush right in the column of its name; the widths are known before the first epoch."""
    widths = {"epoch": 2 * len(str(trainer.epochs)) + 1, "lr": 8, "images/s": 9, "time": 8}
    return GAP.join(text.rjust(max(len(name), widths.get(name, 0))) for name, text in zip(names, texts, strict=True))


def _decimals(number: float) -> str:
    return f"{number:.4f}" if number < 1e4 else f"{number:.3e}"


def _images(trainer: Trainer) -> int:
    """How many images of the running epoch have been learned from."""
    return trainer.train_loader.images_in(trainer.batch)
