"""The runs in a folder, each with what can be told of it at a glance."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from gpucnn.checks import as_path, is_finite, matching, nearest
from gpucnn.errors import ArgumentError, RunError
from gpucnn.files.model_file import read_description
from gpucnn.regular_file import read_regular
from gpucnn.runs.config import BESIDE, RunConfig
from gpucnn.runs.folder import RunFolder, is_accuracy
from gpucnn.runs.image_list import ENTRY
from gpucnn.text import value_text
from gpucnn.training.best_epoch import best_epoch


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
    settings: dict[str, Any]
    """What it was asked for, by name, as in its config.json; of a run from before a setting existed, what it is by default."""
    results: dict[str, Any]
    """What came of it, by name: the last line of its metrics, then its summary, and "best_epoch"."""

    def value(self, column: str) -> Any:
        """What `column` is for this run: a field, a setting or a result; the first of these that there is, or None."""
        own = {name: getattr(self, "name" if name == "run" else name) for name in COLUMNS}
        return next((known[column] for known in (own, self.settings, self.results) if column in known), None)


COLUMNS = ("run", "model", "data", "accuracy", "epochs", "finished", "state")
"""What every run has a value for, beside settings and results."""
MEASURED = ("val_loss", "val_accuracy", "best_epoch")
"""Results that may be asked for where no run has them yet."""


def column_names(entries: Iterable[RunEntry], asked: Sequence[str]) -> list[str]:
    """The names in `asked` as they are written in runs, see `RunEntry.value`. ArgumentError, with the nearest, for an unknown one."""
    known = list(
        dict.fromkeys([*COLUMNS, *MEASURED, *(name for one in entries for name in (*one.settings, *one.results))])
    )
    found = []
    for name in asked:
        if (like := matching(name, known)) is None:
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"expected one of {', '.join(known)}"
            raise ArgumentError(f"unknown column {value_text(name)}; {hint}")
        found.append(like)
    return found


def differing(entries: Sequence[RunEntry]) -> list[str]:
    """The settings that are not the same in all of `entries` that tell theirs, in the order of a config."""
    known = [one.settings for one in entries if one.settings]
    names = dict.fromkeys(name for one in known for name in one)
    return [name for name in names if any(one.get(name) != known[0].get(name) for one in known)]


def ordered(entries: Iterable[RunEntry], column: str) -> list[RunEntry]:
    """The runs by `column`, the highest accuracy or else the lowest value first; those without one last."""
    sign = -1 if column.endswith("accuracy") else 1

    def key(entry: RunEntry) -> tuple[int, float, str]:
        value = entry.value(column)
        if isinstance(value, datetime):
            value = value.timestamp()
        if is_finite(value) or isinstance(value, bool):
            return 0, sign * value, ""
        return (2, 0, "") if value is None else (1, 0, str(value))

    return sorted(entries, key=key)


def list_runs(folder: str | os.PathLike[str]) -> list[RunEntry]:
    """The runs in `folder`, or that in `folder` itself, by name, numbers in the order of their values.

    Those in a folder in it, as of several seeds, are called "folder/run". Folders without any of a run's files are left out.
    Raises RunError if `folder` cannot be read.
    """
    path = as_path(folder, "folder")
    if _is_run(path):
        return [_entry(RunFolder(path), path.name or path.resolve().name)]
    try:
        inside = _folders_in(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); give the folder that holds runs") from None
    places = []
    for place in inside:
        if _is_run(place):
            places.append(place)
            continue
        with suppress(OSError):  # what cannot be looked into is no run
            places += [deeper for deeper in _folders_in(place) if _is_run(deeper)]
    named = sorted(((place.relative_to(path).as_posix(), place) for place in places), key=lambda one: _by_name(one[0]))
    return [_entry(RunFolder(place), name) for name, place in named]


def _folders_in(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        return [path / entry.name for entry in entries if entry.is_dir()]


def _is_run(path: Path) -> bool:
    run = RunFolder(path)
    return any(os.path.isfile(file) for file in (run.config_file, run.metrics_file, run.model_file, run.summary_file))


def _by_name(name: str) -> list[tuple[int, str]]:
    """What sorts lenet5-digits-2 before lenet5-digits-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _entry(run: RunFolder, name: str) -> RunEntry:
    model = data_name = accuracy = epochs = finished = reason = None
    settings: dict[str, Any] = {}
    results: dict[str, Any] = {}
    try:
        config = run.read_config()
        model, data_name = str(config["create"].get("name")), config["data"]
        own = {key: value for key, value in config.items() if key not in (*BESIDE, ENTRY)}
        settings = _plain({**RunConfig().to_json(), **own})
        rows = run.read_metrics()
        epochs, accuracy = len(rows), rows[-1].get("test_accuracy") if rows else None
        best = best_epoch(rows)
        results = _plain({**(rows[-1] if rows else {}), **({} if best is None else {"best_epoch": best})})
        if epochs or run.model_file.exists():
            read_description(run.model_file)
        if run.summary_file.exists():
            # With a validation part the rows are of that, and the summary alone has the test images.
            summary = _summary(run.summary_file)
            accuracy = summary.get("test_accuracy", accuracy)
            results |= _plain(summary)
            finished = datetime.fromtimestamp(run.summary_file.stat().st_mtime, UTC)
        state = "finished" if finished else f"unfinished at epoch {epochs}" if epochs else "unfinished in epoch 1"
        if run.lock.owner() is not None:
            state = f"training in epoch {epochs + 1}"
    except (RunError, OSError) as error:
        state, reason = "damaged", " ".join(str(error).split())
    return RunEntry(name, model, data_name, accuracy, epochs, finished, state, reason, settings, results)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of `values` those that are numbers, texts, nothing, or lists of such: what files hold may be anything."""

    def is_plain(value: Any) -> bool:
        if isinstance(value, list):
            return all(map(is_plain, value))
        return value is None or isinstance(value, str | bool) or is_finite(value)

    return {name: value for name, value in values.items() if is_plain(value)}


def _summary(path: Path) -> dict[str, Any]:
    """How a run ended. RunError if it is not as gpucnn writes it."""
    try:
        summary = json.loads(read_regular(path).decode())
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    if not isinstance(summary, dict) or not is_accuracy(summary.get("test_accuracy", 0.0)):
        raise RunError(f"{path}: not a summary as gpucnn train writes it")
    return summary
