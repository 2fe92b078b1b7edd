"""Callbacks that keep a run in its folder: model and metrics after each epoch, and checkpoints, also when the process is asked to end."""

import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from gpucnn.checks import as_count
from gpucnn.errors import Terminated
from gpucnn.runs.folder import RunFolder
from gpucnn.text import quoted
from gpucnn.training.callback import Callback
from gpucnn.training.sharding import Sharding
from gpucnn.training.trainer import Trainer

NOTHING_SAVED = "no checkpoint was saved"


class _Writer(Callback):
    """A callback that writes to a run's folder: makes it ready, and locks it while training runs."""

    def __init__(self, folder: RunFolder, config: dict[str, Any]) -> None:
        self.folder, self.config = folder, config
        self._held = ExitStack()
        folder.check_images(config)
        folder.prepare()

    def on_train_begin(self, trainer: Trainer) -> None:
        self._held.enter_context(self.folder.writing(trainer.step, trainer.history, self.config))

    def on_train_end(self, trainer: Trainer) -> None:
        self._held.close()


class RunRecorder(_Writer):
    """Keeps a run in a folder: at the end of each epoch model and metrics, at that of the first its `config`, too.

    `saved_epochs` tells of how many epochs the model there has learned, 0 before the first. A `CheckpointWriter` beside it
    takes the same `folder` object. While training runs the folder is locked, see `RunLock`. Raises RunError at once if a run
    cannot be written there, or if another process writes there.
    """

    saved_epochs = 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        with trainer.evaluation_weights():
            self.folder.add_epoch(trainer.model, self.config, trainer.history, trainer.seconds)
        self.saved_epochs = len(trainer.history)


class Stopping(Callback):
    """Has training end at the next savepoint after SIGTERM or Ctrl-C, on all processes of a group at the same one.

    It ends with Terminated, or KeyboardInterrupt. A second Ctrl-C ends it at once. That holds while training runs in the main
    thread, the only one that gets signals; one that the process ignores stays ignored.
    """

    def __init__(self) -> None:
        self._sharding: Sharding | None = None
        self._earlier_handlers: dict[int, Any] = {}

    @property
    def saved(self) -> str:
        """What is told of what was saved."""
        return NOTHING_SAVED

    def on_train_begin(self, trainer: Trainer) -> None:
        self._sharding = trainer.sharding
        trainer.sharding.signal = trainer.sharding.agreed = None
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                earlier = signal.getsignal(number)
                if earlier is not signal.SIG_IGN:
                    self._earlier_handlers[number] = signal.signal(number, self._handle)

    def on_savepoint(self, trainer: Trainer) -> None:
        asked = trainer.sharding.stop_signal  # looked at once: a signal that comes later is for the next step
        self.save(trainer, asked is not None)
        if asked is not None:
            name, kind = ("SIGTERM", Terminated) if asked == signal.SIGTERM else ("Ctrl-C", KeyboardInterrupt)
            raise kind(f"stopped by {name} after step {trainer.step}; {self.saved}")

    def save(self, trainer: Trainer, is_asked: bool) -> None:
        """Save the state, if it is to be; before training ends if it `is_asked` to."""

    def on_train_end(self, trainer: Trainer) -> None:
        for number, handler in self._earlier_handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._earlier_handlers = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        assert self._sharding is not None
        if number == signal.SIGINT and self._sharding.signal is not None:
            raise KeyboardInterrupt(f"stopped by Ctrl-C at once; {self.saved}")
        self._sharding.signal = number


class CheckpointWriter(Stopping):
    """Saves the trainer's state in a run folder, so that whatever ends the process, little is lost.

    - `folder`: where the run is kept. `config`: what it was asked to do, JSON values, saved with each checkpoint.
    - `every`: steps from checkpoint to checkpoint, with one more at the end; 0 for one after every epoch.
    - `keep`: how many checkpoints stay.

    At SIGTERM and Ctrl-C a checkpoint is saved at the end of the running step, and training ends: with Terminated, or
    KeyboardInterrupt, whose message says how to go on. A second Ctrl-C ends it at once. That holds while training runs in
    the main thread, the only one that gets signals; one that the process ignores stays ignored.
    Windows ends a process without asking: there it is Ctrl-C alone, and what is killed leaves its last checkpoint.

    A state whose weights are not finite is not saved: the next step fails, and the last checkpoint is a good one. An error
    that ends training gets a note of how to go on from it.
    While training runs the folder is locked, see `RunLock`. Raises ArgumentError for numbers out of range, and RunError at
    once if the folder cannot be written, or if another process writes there.
    """

    def __init__(self, folder: RunFolder, config: dict[str, Any], every: int = 0, keep: int = 2) -> None:
        super().__init__()
        self.every = as_count(every, "every, the steps from checkpoint to checkpoint,", 0)
        self.keep = as_count(keep, "keep")
        self._saved = NOTHING_SAVED
        self._writer = _Writer(folder, config)
        self.folder, self.config = folder, config

    @property
    def saved(self) -> str:
        return self._saved

    def on_train_begin(self, trainer: Trainer) -> None:
        self._writer.on_train_begin(trainer)
        self._saved = NOTHING_SAVED
        if trainer.step and self.folder.checkpoints.last is not None:
            self._saved = self._tell(self.folder.checkpoints.last)
        super().on_train_begin(trainer)

    def save(self, trainer: Trainer, is_asked: bool) -> None:
        if is_asked or self._is_due(trainer):
            arrays, values = trainer.state()
            if all(np.isfinite(arrays[f"model/{path}"]).all() for path, _ in trainer.model.named_parameters()):
                path = self.folder.add_checkpoint(trainer.step, arrays, values, self.config, self.keep)
                self._saved = self._tell(path)

    def on_failure(self, trainer: Trainer) -> None:
        last = self.folder.checkpoints.last
        assert trainer.error is not None
        if last is None or trainer.failed_step is None:
            trainer.error.add_note(self._saved)
        else:
            trainer.error.add_note(
                f"{last} is the last good checkpoint; gpucnn train --resume {quoted(self.folder.path)} goes on from "
                f"there, and with the same settings leads here again"
            )

    def on_train_end(self, trainer: Trainer) -> None:
        super().on_train_end(trainer)
        self._writer.on_train_end(trainer)

    def _is_due(self, trainer: Trainer) -> bool:
        if trainer.batch == 0:  # an epoch has ended
            return self.every == 0 or trainer.finished
        return self.every > 0 and trainer.step % self.every == 0

    def _tell(self, path: Path) -> str:
        return f"{path} is saved, go on with: gpucnn train --resume {quoted(self.folder.path)}"
