"""The folder that a training run is kept in.

config.json         what was asked for, and what the model needs to be built and fed again
metrics.jsonl       one line for every finished epoch
model.safetensors   the parameters after the last finished epoch
summary.json        how it ended; only there when the run has finished
"""

import json
import os
from pathlib import Path
from typing import Any

from gpucnn import models
from gpucnn.data import Preprocess
from gpucnn.errors import GpucnnError, RunError
from gpucnn.layers import Layer
from gpucnn.training.callback import Callback
from gpucnn.training.model_file import load_model, save_model, write_atomically
from gpucnn.training.trainer import Trainer


class RunFolder:
    """One run's files under `path`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.model_file = self.path / "model.safetensors"
        self.summary_file = self.path / "summary.json"

    @classmethod
    def next_in(cls, parent: Path, name: str) -> "RunFolder":
        """The first of parent/name-1, parent/name-2, ... that is not there yet."""
        number = 1
        while (parent / f"{name}-{number}").exists():
            number += 1
        return cls(parent / f"{name}-{number}")

    def prepare(self) -> None:
        """Make the folder, and see that a run can be written there; an earlier run stays until an epoch is added.

        Raises RunError if the folder cannot be written, or holds files that are no run of gpucnn.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                self.read_config()
            write_atomically(self.path / ".writable", b"")
            (self.path / ".writable").unlink()
        except OSError as error:
            raise RunError(f"{self.path}: cannot write a run there ({error.strerror}); choose another --out") from None
        except RunError:
            raise RunError(f"{self.path}: holds files that are no run of gpucnn; choose another --out") from None

    def add_epoch(self, model: Layer, config: dict[str, Any], row: dict[str, float], first: bool) -> None:
        """Keep the model after a finished epoch, in place of that of an earlier one, and the epoch's metrics.

        The `first` epoch of a run also writes `config`, whose entry "create" has the model's arguments, and so takes
        the place of an earlier run. Each file is replaced whole; if one cannot be written, the others stay readable.
        """
        line = json.dumps(row, allow_nan=False) + "\n"
        if first:
            self.summary_file.unlink(missing_ok=True)
        save_model(self.model_file, model, config["create"])
        if first:
            _write_json(self.config_file, config)
        earlier = "" if first else self.metrics_file.read_text(encoding="utf-8")
        write_atomically(self.metrics_file, (earlier + line).encode())

    def finish(self, summary: dict[str, Any]) -> None:
        """Write how the run ended."""
        _write_json(self.summary_file, summary)

    def read_config(self) -> dict[str, Any]:
        """The config of the run. RunError if the folder is no run."""
        try:
            config = json.loads(self.config_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{self.path}: no run there (no config.json); give the folder that gpucnn train made"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.config_file}: cannot be read ({error})") from None
        needed = {"create": dict, "preprocess": dict, "class_names": list, "data": str}
        for key, kind in needed.items():
            if not isinstance(config, dict) or not isinstance(config.get(key), kind):
                raise RunError(f"{self.config_file}: no entry {key!r} as gpucnn train writes it")
        return dict(config)

    def load_model(self) -> Layer:
        """The model with its parameters, on the CPU, in evaluation mode. RunError if it cannot be built from here."""
        parameters, create = load_model(self.model_file)
        try:
            model = models.create(**create)
            model.load_state_dict(parameters)
        except (TypeError, GpucnnError) as error:
            raise RunError(f"{self.model_file}: does not fit its own description ({error})") from None
        return model.eval()

    def load_preprocess(self) -> Preprocess:
        """How raw images become the model's input. RunError if config.json does not say."""
        try:
            return Preprocess(**self.read_config()["preprocess"])
        except (TypeError, GpucnnError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(f"{self.config_file}: no valid entry 'preprocess' ({error})") from None


class RunRecorder(Callback):
    """Keeps a run in a folder: its `config` at the end of the first epoch, model and metrics at the end of each.

    So an earlier run in the folder is only replaced by something better than nothing. `saved_epochs` tells of how many
    epochs the model there has learned. Raises RunError at once if a run cannot be written there.
    """

    def __init__(self, folder: RunFolder, config: dict[str, Any]) -> None:
        self.folder, self.config = folder, config
        self.saved_epochs = 0
        folder.prepare()

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.folder.add_epoch(trainer.model, self.config, trainer.history[-1], first=self.saved_epochs == 0)
        self.saved_epochs += 1


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
