"""Models in safetensors files: parameters by path and, as one JSON text, how to build the model again."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.errors import RunError, StateError
from gpucnn.files.tensor_file import read_tensors, read_text, write_tensors
from gpucnn.layers import Layer
from gpucnn.layers.saved_arrays import refuse_not_finite

_KEY = "gpucnn"


def save_model(path: Path, model: Layer, description: dict[str, Any]) -> None:
    """Write the parameters, and `description` (JSON values), to `path`. The same model always gives the same bytes.

    The file appears whole or not at all: a crash while writing leaves the old one.
    """
    write_tensors(path, model.state_dict(), _KEY, json.dumps(description, sort_keys=True))


def load_model(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(parameters by path, description) from a file that `save_model` wrote.

    RunError, which names the file, if it is of another kind, or if a parameter has NaN or infinite values.
    """
    description = read_description(path)
    parameters, _ = read_tensors(path, _KEY, "model")
    try:
        refuse_not_finite("the model", parameters)
    except StateError as error:
        raise RunError(f"{path}: {error}") from None
    return parameters, description


def read_description(path: Path) -> dict[str, Any]:
    """The description alone, without reading the parameters. Raises what `load_model` does, also for a file cut short."""
    try:
        description = json.loads(read_text(path, _KEY, "model"))
    except FileNotFoundError:
        raise RunError(f"{path}: no such model file; train first") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path}: not a model that can be read ({error})") from None
    if not isinstance(description, dict):
        raise RunError(f"{path}: not a model that gpucnn wrote (its description is no JSON object)")
    return description
