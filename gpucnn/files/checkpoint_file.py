"""Checkpoints: all that a run needs to go on, in one file with a checksum."""

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn import __version__
from gpucnn.atomic_file import cannot_be_written, discard
from gpucnn.checks import as_count, as_path
from gpucnn.errors import RunError
from gpucnn.files.tensor_file import read_tensors, write_tensors
from gpucnn.layers.saved_arrays import MOST_NAMED, not_finite

_KEY, _KIND, _FORMAT = "gpucnn checkpoint", "checkpoint", 3
_READ = (1, 2, _FORMAT)
_NAME = re.compile(r"step-(\d{9,18})\.safetensors")


class Checkpoint(NamedTuple):
    """What a checkpoint file holds."""

    path: Path
    arrays: dict[str, np.ndarray]
    values: dict[str, Any]
    """With `arrays` what `Trainer.state` gave and `Trainer.restore` takes."""
    config: dict[str, Any]
    """What the run was asked to do."""
    versions: dict[str, str]
    """Of gpucnn, numpy and python, when it was written."""
    warning: str = ""
    """Empty, or which newer files were passed over, and why."""


def save_checkpoint(
    path: Path, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Write a state as `Trainer.state` gives it, and the run's `config` (JSON values), to `path`.

    The file appears whole or not at all, and on the disk before this returns. Raises RunError if it cannot be written.
    """
    content = {"format": _FORMAT, "values": values, "config": config, "versions": versions()}
    text = json.dumps(content)  # in their order, which the metrics of a resumed run keep
    try:
        write_tensors(path, arrays, _KEY, f"{_checksum(arrays, text)} {text}")
    except OSError as error:
        raise RunError(f"{path}: the checkpoint {cannot_be_written(error)}") from None


def versions() -> dict[str, str]:
    """Of gpucnn, NumPy and Python."""
    return {"gpucnn": __version__, "numpy": np.__version__, "python": platform.python_version()}


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file, which needs no GPU. RunError, with the reason, if it is of another kind, damaged, or too new."""
    path = as_path(path, "load_checkpoint: path")
    try:
        arrays, metadata = read_tensors(path, _KEY, _KIND)
    except FileNotFoundError:
        raise RunError(f"{path}: no such checkpoint") from None
    checksum, _, text = metadata.partition(" ")
    if checksum != _checksum(arrays, text):
        raise RunError(f"{path}: damaged (its checksum is not that of its content)")
    try:
        content = json.loads(text)
        if content["format"] not in _READ:
            raise RunError(
                f"{path}: of format {content['format']}, written by gpucnn {content['versions']['gpucnn']}; this is gpucnn "
                f"{__version__}, which reads formats {_READ[0]} to {_FORMAT}"
            )
        values, config, versions_then = (content[name] for name in ("values", "config", "versions"))
        if not all(isinstance(part, dict) for part in (values, config, versions_then)):
            raise TypeError("values, config and versions must be objects")
        if content["format"] < 2:
            _name_layers(values)
        if content["format"] < 3:
            _forget_early_stopping(values)
        return Checkpoint(path, arrays, values, config, versions_then)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path}: not a checkpoint that gpucnn wrote ({type(error).__name__}: {error})") from None


def _name_layers(values: dict[str, Any]) -> None:
    """Values of format 1, which knew the counters of dropouts alone, as those of format 2, which has any layer's state."""
    if isinstance(calls := values.pop("dropout_calls", None), dict):
        values["layers"] = {path: {"calls": count} for path, count in calls.items()}
    if isinstance(fits := values.get("fits"), dict) and "dropouts" in fits:
        values["fits"] = {("layers with a state" if name == "dropouts" else name): fits[name] for name in fits}


def _forget_early_stopping(values: dict[str, Any]) -> None:
    """Values of format 2, in which early stopping had a state of its own, as those of format 3: it goes by the history."""
    fits, states, name = values.get("fits"), values.get("callbacks"), "EarlyStopping"
    if not isinstance(fits, dict):
        return
    names = fits.get("callbacks with a state")
    if isinstance(names, list) and isinstance(states, list) and len(names) == len(states) and name in names:
        values["callbacks"] = [state for state, owner in zip(states, names, strict=True) if owner != name]
        values["fits"] = {**fits, "callbacks with a state": [owner for owner in names if owner != name]}


class CheckpointFolder:
    """The newest checkpoints of one run, in files step-000000120.safetensors under `path`, which is made when needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own: list[Path] = []

    def files(self) -> list[Path]:
        """All checkpoint files, damaged ones, too, by step."""
        found = self.path.iterdir() if self.path.is_dir() else iter(())
        numbers = {path: int(match[1]) for path in found if (match := _NAME.fullmatch(path.name))}
        return sorted(numbers, key=lambda path: numbers[path])

    @property
    def last(self) -> Path | None:
        """The newest file of the run that is going on; None before the first."""
        return self._own[-1] if self._own else None

    def go_on(self, step: int) -> None:
        """Take the files up to `step` for those of the run that is going on. Others go at the next `save`."""
        last = self._file(step)
        self._own = [path for path in self.files() if path.name <= last.name]

    def save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        values: Mapping[str, Any],
        config: Mapping[str, Any],
        keep: int = 2,
    ) -> Path:
        """Write the checkpoint of a step, see `save_checkpoint`, then remove all but the last `keep`, and its path.

        Files that are not of this run, which an earlier one left in the folder, go, too. Raises ArgumentError unless `keep`
        is an int >= 1, RunError if the file cannot be written, which names the one that is still there.
        """
        as_count(keep, "keep")
        path = self._file(step)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            save_checkpoint(path, arrays, values, config)
        except (OSError, RunError) as error:
            reason = error if isinstance(error, RunError) else f"{self.path}: {cannot_be_written(error)}"
            last = f"{self.last} is the last one that is whole" if self.last else "there is no earlier one"
            raise RunError(f"{reason}; {last}") from None
        self._own = [*(earlier for earlier in self._own if earlier != path), path][-keep:]
        for other in self.files():
            if other not in self._own:
                discard(other)
        return path

    def load(self) -> Checkpoint:
        """The newest checkpoint that is whole, its weights no NaN; its `warning` tells of newer ones that are not.

        Raises RunError if there is none, with the reason for each file.
        """
        problems: list[str] = []
        for path in reversed(self.files()):
            try:
                checkpoint = load_checkpoint(path)
                weights = {name: array for name, array in checkpoint.arrays.items() if name.startswith("model/")}
                if spoilt := [line for line in not_finite(weights) if " NaN " in line]:
                    raise RunError(f"{path}: spoilt ({'; '.join(spoilt[:MOST_NAMED])})")
            except RunError as error:
                problems.append(str(error))
                continue
            warning = "; ".join(problems) + f"; going on from {path.name} instead" if problems else ""
            return checkpoint._replace(warning=warning)
        if not problems:
            raise RunError(f"{self.path}: no checkpoints there; train first, or give another run")
        raise RunError(f"no checkpoint of the run can be read: {'; '.join(problems)}")

    def _file(self, step: int) -> Path:
        return self.path / f"step-{step:09d}.safetensors"


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    """SHA-256, in hexadecimal, of the arrays' names, dtypes, shapes and bytes, and of `text`."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
