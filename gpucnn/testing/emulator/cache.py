"""Compiled libraries on disk: one .so and, beside it, a .json that says what is in it.

Processes may share the folder. Files appear under their names by `os.replace` alone, never half written, and builds can
be repeated bit by bit, so it does not matter which of two processes wrote which file. A library is loaded only if its
digest is the one that its .json gives: to load a damaged one could end the process.
"""

import atexit
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Build = Callable[[Path, Path], dict[str, Any]]


def digest(*parts: str) -> str:
    """A name for what was made from `parts`."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def fetch(name: str, build: Build) -> tuple[Path, dict[str, Any]]:
    """The library `name` and its description, from the cache, or built and put there.

    `build(folder, library)` makes the file `library` in an empty folder of its own, and returns the description.
    """
    folder = cache_folder(os.environ.get("GPUCNN_EMULATOR_CACHE", ""))
    library, description = folder / f"{name}.so", folder / f"{name}.json"
    found = _read(library, description)
    if found is not None:
        return library, found
    with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=folder) as work:
        made = Path(work) / library.name
        found = build(Path(work), made)
        text = json.dumps({"sha256": _file_digest(made), "content": found})
        (Path(work) / description.name).write_text(text)
        os.replace(made, library)
        os.replace(Path(work) / description.name, description)
    return library, found


@functools.cache
def cache_folder(named: str) -> Path:
    """The folder `named`, or ~/.cache/gpucnn/emulator if that is empty; a temporary one if it cannot be written."""
    try:
        folder = Path(named) if named else Path.home() / ".cache" / "gpucnn" / "emulator"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.resolve()
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return temporary_folder()


def temporary_folder() -> Path:
    """A new folder that goes away with the process."""
    folder = tempfile.mkdtemp(prefix="gpucnn-emulator-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _read(library: Path, description: Path) -> dict[str, Any] | None:
    try:
        entry = json.loads(description.read_text())
        content: dict[str, Any] = entry["content"]
        return content if entry["sha256"] == _file_digest(library) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
