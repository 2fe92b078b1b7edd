"""Arrays by name and one text in a safetensors file, which needs no pickle and runs no code when it is read."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gpucnn.atomic_file import write_atomically
from gpucnn.errors import RunError
from gpucnn.regular_file import open_regular
from gpucnn.text_table import shortened

LONGEST = 300
"""Columns of what safetensors says, which may be a good part of the file."""


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray], key: str, text: str) -> None:
    """Write C-contiguous arrays, and `text` as the metadata entry `key`, atomically; the same content as the same bytes."""
    from safetensors.numpy import save

    # One metadata key: safetensors writes several in an order that changes from run to run.
    # And C-contiguous arrays, as safetensors 0.8.0 writes the memory of others without looking.
    write_atomically(path, save(dict(arrays), {key: text}))


def read_tensors(path: Path, key: str, kind: str) -> tuple[dict[str, np.ndarray], str]:
    """(arrays, text) from a file that `write_tensors` wrote.

    Raises FileNotFoundError, and RunError, which names the file and the expected `kind`, if it is another kind of file.
    """
    from safetensors import SafetensorError, safe_open

    text = read_text(path, key, kind)
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, text  # noqa: SIM118 (it is no dict)
    except KeyError as error:
        raise RunError(f"{path}: parameters of a dtype that NumPy does not have ({error})") from None
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise _unreadable(path, kind, error) from None


def read_text(path: Path, key: str, kind: str) -> str:
    """The text alone: cheap, and yet a file that was cut off is refused. Raises what `read_tensors` does."""
    from safetensors import SafetensorError, safe_open

    try:
        open_regular(path).close()  # safetensors calls every file that it cannot open a missing one
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise _unreadable(path, kind, error) from None
    if key not in metadata:
        raise RunError(f"{path}: a safetensors file, but not a {kind} that gpucnn wrote")
    return str(metadata[key])


def _unreadable(path: Path, kind: str, error: Exception) -> RunError:
    reason = getattr(error, "strerror", None) or error
    return RunError(f"{path}: not a {kind} that can be read ({shortened(str(reason), LONGEST)})")
