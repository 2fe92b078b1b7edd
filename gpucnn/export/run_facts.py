"""What a file that was made of a run says of it."""

import dataclasses
import json

from gpucnn import __version__
from gpucnn.data.catalog import is_light_on_dark
from gpucnn.data.image_file import AUTO
from gpucnn.errors import ArgumentError, RunError
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import value_text


def run_facts(trained: TrainedRun) -> dict[str, str]:
    """By their names, as text, which for `class_names` and `preprocess` is JSON.

    Also `run`, `model`, `data`, `weights` ("best" or "last"), `epoch` of these with its `test_accuracy` or `val_accuracy` where
    they are known, `background` of transparent images, `light_on_dark` ("true" where images must be so), and `gpucnn_version`.
    """
    run, config, weights = RunFolder(trained.weights.file.parent), trained.config, trained.weights
    row = weights.row
    if not row:
        try:
            row = (run.read_metrics() or [{}])[-1]
        except RunError:
            row = {}
    measured: dict[str, str] = {
        name: str(row[name]) for name in ("epoch", "test_accuracy", "val_accuracy") if name in row
    }
    return {
        "class_names": json.dumps(trained.class_names, ensure_ascii=False),
        "run": run.path.resolve().name,
        "model": str(config["create"].get("name")),
        "data": str(config["data"]),
        "weights": weights.name,
        **measured,
        "preprocess": json.dumps(dataclasses.asdict(trained.preprocess)),
        "background": str(config.get("background", AUTO)),
        "light_on_dark": json.dumps(is_light_on_dark(str(config["data"]))),
        "gpucnn_version": __version__,
    }


def check_run(owner: str, trained: object) -> None:
    """ArgumentError, which names `owner`, unless it is a run."""
    if not isinstance(trained, TrainedRun):
        raise ArgumentError(f"{owner}: trained must be a run as gpucnn.load gives it, got {value_text(trained)}")
