"""gpucnn's own files, which lie in a folder or in a zip file on Python's path (a zipapp, PySpark's --py-files)."""

import os
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parents[2]
"""What holds the package: a folder, or the zip file."""


def read(path: Path) -> bytes:
    """The content of a file beside the code, given by its module's `__file__`, or of any other file. Raises OSError."""
    if path.is_file():
        return path.read_bytes()
    loader: Any = __spec__.loader
    content: bytes = loader.get_data(str(path))
    return content


def environment() -> dict[str, str]:
    """The environment of a new Python that is to import this gpucnn, and not another one that is installed."""
    places = [str(PLACE), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
