"""The runs in a folder, each with what can be told of it at a glance."""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from gpucnn.checks import as_path
from gpucnn.errors import RunError
from gpucnn.files.model_file import read_description
from gpucnn.regular_file import read_regular
from gpucnn.runs.folder import RunFolder


class RunEntry(NamedTuple):
    """What is known of a run; None stands for what its files do not tell."""

    name: str
    model: str | None
    data: str | None
    accuracy: float | None
    """On the test images: of the weights that are the run's result, or, while it is trained, after the last epoch."""
    epochs: int | None
    """How many have finished."""
    finished: datetime | None
    """When the run ended; None for one that did not."""
    state: str
    """"finished", "unfinished at epoch 3", "training in epoch 4", where a process writes at this moment, or "damaged"."""
    reason: str | None
    """Why it is damaged; None if it is not."""


def list_runs(folder: str | os.PathLike[str]) -> list[RunEntry]:
    """The runs in `folder`, or that in `folder` itself, by name, numbers in the order of their values.

    Folders without any of a run's files are left out. Raises RunError if `folder` cannot be read.
    """
    path = as_path(folder, "folder")
    try:
        inside = list(path.iterdir())
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); give the folder that holds runs") from None
    candidates = [path] if _is_run(path) else [place for place in inside if _is_run(place)]
    return [_entry(RunFolder(place)) for place in sorted(candidates, key=_by_name)]


def _is_run(path: Path) -> bool:
    run = RunFolder(path)
    return any(os.path.isfile(file) for file in (run.config_file, run.metrics_file, run.model_file, run.summary_file))


def _by_name(path: Path) -> list[tuple[int, str]]:
    """What sorts lenet5-digits-2 before lenet5-digits-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _entry(run: RunFolder) -> RunEntry:
    name = run.path.name or run.path.resolve().name
    model = data_name = accuracy = epochs = finished = reason = None
    try:
        config = run.read_config()
        model, data_name = str(config["create"].get("name")), config["data"]
        rows = _metrics(run.metrics_file)
        epochs, accuracy = len(rows), rows[-1].get("test_accuracy") if rows else None
        if epochs or run.model_file.exists():
            read_description(run.model_file)
        if run.summary_file.exists():
            # With a validation part the rows are of that, and the summary alone has the test images.
            accuracy = _summary(run.summary_file).get("test_accuracy", accuracy)
            finished = datetime.fromtimestamp(run.summary_file.stat().st_mtime, UTC)
        state = "finished" if finished else f"unfinished at epoch {epochs}" if epochs else "unfinished in epoch 1"
        if run.lock.owner() is not None:
            state = f"training in epoch {epochs + 1}"
    except (RunError, OSError) as error:
        state, reason = "damaged", " ".join(str(error).split())
    return RunEntry(name, model, data_name, accuracy, epochs, finished, state, reason)


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics, none before the first epoch's end. RunError if they are not as gpucnn writes them."""
    try:
        rows = [json.loads(line) for line in read_regular(path).decode().splitlines()]
    except FileNotFoundError:
        return []
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    names = ("test_accuracy", "val_accuracy")
    if not all(isinstance(row, dict) and all(_is_accuracy(row.get(name, 0.0)) for name in names) for row in rows):
        raise RunError(f"{path}: not lines of metrics as gpucnn train writes them")
    return rows


def _is_accuracy(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= 1


def _summary(path: Path) -> dict[str, Any]:
    """How a run ended. RunError if it is not as gpucnn writes it."""
    try:
        summary = json.loads(read_regular(path).decode())
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    if not isinstance(summary, dict) or not _is_accuracy(summary.get("test_accuracy", 0.0)):
        raise RunError(f"{path}: not a summary as gpucnn train writes it")
    return summary
