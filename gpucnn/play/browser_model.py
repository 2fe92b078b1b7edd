"""A trained model as the page takes it: its network, and what belongs to it, for JSON."""

import json
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from gpucnn.data.catalog import FOLDER, is_light_on_dark
from gpucnn.play.browser_graph import browser_graph
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.list import list_runs
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.training.best_epoch import judged_by


def browser_model(trained: TrainedRun) -> dict[str, Any]:
    """All that a page needs to show images to a trained model, ready for JSON.

    - `nodes`, `arrays`, `input_shape`: see `browser_graph`.
    - `class_names`, and `preprocess`, the fields of the run's `Preprocess`; `is_light_on_dark`, whether its data are known to be.
    - `name` of the model, `parameters`, how many numbers it has learnt, and `facts`: of which `run`, on which `data`, over how
      many `epochs`, which `weights`, and their `accuracy` on images of the part `accuracy_of`, None where that is not known.

    Raises GraphError for a model that no graph can follow, with a function that the browser does not know, or too large for it.
    """
    side = trained.preprocess.image_size
    create = trained.config.get("create")
    return {
        **browser_graph(trained.model, (1, trained.preprocess.channels, side, side)),
        "name": str(create.get("name")) if isinstance(create, dict) else type(trained.model).__name__,
        "parameters": sum(parameter.size for parameter in trained.model.parameters()),
        "class_names": list(trained.class_names),
        "preprocess": asdict(trained.preprocess),
        "is_light_on_dark": is_light_on_dark(str(trained.config.get("data"))),
        "facts": _facts(trained),
    }


def json_for_script(value: Any) -> str:
    """`value` as JSON that may stand in a script, in a file or a page: no text in it can end the script, or its line."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII alone
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data_name(trained: TrainedRun) -> str:
    """The data set's name; of a folder of images that of the folder."""
    name, folder = str(trained.config.get("data")), trained.config.get("data_dir")
    return PurePath(folder).name or name if name == FOLDER and isinstance(folder, str) else name


def _facts(trained: TrainedRun) -> dict[str, Any]:
    row, folder = trained.weights.row, trained.weights.file.parent
    entry = list_runs(folder)[0]
    is_result = row or RunFolder(folder).weights().name == trained.weights.name
    part = judged_by(row) if row else "test"
    return {
        "run": folder.name,
        "data": _data_name(trained),
        "epochs": entry.epochs,
        "weights": str(trained.weights),
        "accuracy": row.get(f"{part}_accuracy") if row else entry.accuracy if is_result else None,
        "accuracy_of": part,
    }
