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

    def begin(self, config: dict[str, Any]) -> None:
        """Make the folder, with `config` in it; an earlier run's files there are replaced. RunError if it cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for file in (self.summary_file, self.metrics_file, self.model_file):
                file.unlink(missing_ok=True)
            _write_json(self.config_file, config)
            self.metrics_file.touch()
        except OSError as error:
            raise RunError(f"{self.path}: cannot write a run there ({error.strerror}); choose another --out") from None

    def add_metrics(self, row: dict[str, float]) -> None:
        """Add a finished epoch."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def finish(self, summary: dict[str, Any]) -> None:
        """Write how the run ended."""
        _write_json(self.summary_file, summary)

    def read_config(self) -> dict[str, Any]:
        """What `begin` wrote. RunError if the folder is no run."""
        try:
            config = json.loads(self.config_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{self.path}: no run there (no config.json); give the folder that gpucnn train made"
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config_file}: cannot be read ({error})") from None
        if not isinstance(config, dict):
            raise RunError(f"{self.config_file}: expected a JSON object, got {type(config).__name__}")
        return config

    def save_model(self, model: Layer) -> None:
        """Keep the model's parameters, in place of those of an earlier epoch."""
        save_model(self.model_file, model, self.read_config()["create"])

    def load_model(self) -> Layer:
        """The model with its parameters, on the CPU, in evaluation mode. RunError if it cannot be built from here."""
        parameters, description = load_model(self.model_file)
        try:
            model = models.create(**description)
            model.load_state_dict(parameters)
        except (TypeError, GpucnnError) as error:
            raise RunError(f"{self.model_file}: does not fit its own description ({error})") from None
        return model.eval()

    def load_preprocess(self) -> Preprocess:
        """How raw images become the model's input. RunError if config.json does not say."""
        try:
            return Preprocess(**self.read_config()["preprocess"])
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.config_file}: no valid entry 'preprocess' ({error})") from None


class RunRecorder(Callback):
    """Keeps metrics and model of every finished epoch in a run folder.

    `saved_epochs` tells of how many epochs the model there has learned.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.saved_epochs = 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.folder.save_model(trainer.model)
        self.saved_epochs = trainer.epoch + 1
        self.folder.add_metrics(trainer.history[-1])


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
