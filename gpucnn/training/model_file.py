"""Models in safetensors files: parameters by path and, as one JSON text, how to build the model again."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.errors import RunError
from gpucnn.layers import Layer

_KEY = "gpucnn"


def save_model(path: Path, model: Layer, description: dict[str, Any]) -> None:
    """Write the parameters, and `description` (JSON values), to `path`. The same model always gives the same bytes.

    The file appears whole or not at all: a crash while writing leaves the old one.
    """
    from safetensors.numpy import save

    # All in one metadata key: safetensors writes several in an order that changes from run to run.
    # state_dict's arrays are C-contiguous, which safetensors 0.8.0 relies on without looking.
    metadata = {_KEY: json.dumps(description, sort_keys=True)}
    write_atomically(path, save(model.state_dict(), metadata))


def load_model(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(parameters by path, description) from a file that `save_model` wrote. RunError, naming it, if it is none."""
    from safetensors import SafetensorError, safe_open

    description = read_description(path)
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, description  # noqa: SIM118 (it is no dict)
    except KeyError as error:
        raise RunError(f"{path}: parameters of a dtype that NumPy does not have ({error})") from None
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise RunError(f"{path}: not a model that can be read ({error})") from None


def read_description(path: Path) -> dict[str, Any]:
    """The description alone, from a file whose length fits its header. RunError, naming it, if `save_model` did not write it."""
    from safetensors import SafetensorError, safe_open

    try:
        path.open("rb").close()  # safetensors calls every file that it cannot open a missing one
        with safe_open(path, "numpy") as file:
            description = json.loads((file.metadata() or {})[_KEY])
    except FileNotFoundError:
        raise RunError(f"{path}: no such model file; train first") from None
    except KeyError:
        raise RunError(f"{path}: a safetensors file, but not one that gpucnn wrote") from None
    except (SafetensorError, OSError, TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: not a model that can be read ({error})") from None
    if not isinstance(description, dict):
        raise RunError(f"{path}: not a model that gpucnn wrote (its description is no JSON object)")
    return description


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
