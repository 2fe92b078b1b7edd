"""The weights that a run keeps: those of the last epoch and of the best one, with that epoch's row of the metrics."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpucnn.checks import is_int
from gpucnn.errors import ArgumentError, GpucnnError, RunError
from gpucnn.files.model_file import load_model, read_description, save_model
from gpucnn.layers import Layer
from gpucnn.regular_file import read_regular
from gpucnn.runs.network import build
from gpucnn.text import value_text
from gpucnn.text_table import LONGEST, shortened
from gpucnn.training.best_epoch import is_better, judged_by

BEST, LAST = WEIGHTS = ("best", "last")
"""The weights that a run has kept: of its best epoch, and of the last one that has finished."""

EPOCH = "epoch"
"""What stands beside a model's arguments in the file of the best weights: the epoch's row of the metrics."""


class BestWeights:
    """The weights of the best epoch so far, in `file`. Rows of all epochs are in `metrics_file`."""

    def __init__(self, file: Path, metrics_file: Path) -> None:
        self.file, self._metrics_file = file, metrics_file

    def row(self) -> dict[str, Any] | None:
        """The row of the metrics of the epoch that the best weights are of: None without any, empty where it is not known.

        RunError for a file that is no use.
        """
        if not self.file.exists():
            return None
        row = read_description(self.file).get(EPOCH, {})
        if not (row == {} or _is_measured(row)):
            raise RunError(f"{self.file}: its entry {EPOCH!r} is no row of metrics as gpucnn train writes it")
        return dict(row)

    def keep(self, model: Layer, create: Mapping[str, Any], row: Mapping[str, float]) -> None:
        """Put the weights of the epoch with this `row` into the file, if it is better than the one that is there.

        - `create`: the arguments of the model.
        """
        if self._is_better(row):
            save_model(self.file, model, {**create, EPOCH: dict(row)})

    def go_on(self, history: Sequence[Mapping[str, float]]) -> None:
        """Drop them if they are of an epoch after `history`, which comes again.

        The version before kept the first epoch of the highest accuracy, and not which one that was: it is noted now.
        """
        try:
            row = self.row()
            if row == {}:
                row = self._highest_row(history)
                if row:
                    create = read_description(self.file)
                    save_model(self.file, model_in(self.file), {**create, EPOCH: row})
        except RunError:  # a file that is no use
            row = {}
        if row is not None and not 0 < row.get("epoch", 0) <= len(history):
            self.file.unlink(missing_ok=True)

    def _is_better(self, row: Mapping[str, float]) -> bool:
        """Whether an epoch is better than the one whose weights are there."""
        try:
            best = self.row()
        except RunError:  # a file that is no use
            best = None
        return _is_measured(row) and (best is None or is_better(row, best))

    def _highest_row(self, history: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        """Of the first epoch with the highest accuracy so far; empty if that is none of `history`."""
        try:
            rows = [json.loads(line) for line in read_regular(self._metrics_file).decode().splitlines()]
            accuracies = [float(row.get("val_accuracy", row.get("test_accuracy"))) for row in rows]
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}
        place = max(range(len(rows)), key=accuracies.__getitem__, default=len(history))
        return dict(history[place]) if place < len(history) else {}


def model_in(file: Path) -> Layer:
    """The model with the parameters of a file that a run keeps. RunError if it cannot be read, or built from there."""
    parameters, description = load_model(file)
    create = {name: value for name, value in description.items() if name != EPOCH}
    try:
        model = build(create, file.parent)
        model.load_state_dict(parameters)
    except (TypeError, GpucnnError) as error:
        raise RunError(f"{file}: does not fit its own description ({shortened(str(error), LONGEST)})") from None
    return model.eval()


def check_wanted(weights: str | None) -> None:
    """ArgumentError for a word that is none of `WEIGHTS`; None stands for what a run chooses itself."""
    if weights is not None and weights not in WEIGHTS:
        raise ArgumentError(f'weights must be "best" or "last", got {value_text(weights)}')


def _is_measured(row: object) -> bool:
    """Whether it is a row of metrics of an epoch that was measured."""
    if not isinstance(row, dict) or not is_int(row.get("epoch")) or (part := judged_by(row)) == "train":
        return False
    scores = [row.get(f"{part}_accuracy"), row.get(f"{part}_loss", 0.0)]
    return all(isinstance(score, int | float) and not isinstance(score, bool) for score in scores)
