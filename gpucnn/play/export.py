"""The page as files in a folder, which any browser opens from there, or from any web server."""

import os
from collections.abc import Mapping
from pathlib import Path

from gpucnn.atomic_file import write_atomically
from gpucnn.errors import ArgumentError


def export(files: Mapping[str, bytes], folder: str | os.PathLike[str]) -> Path:
    """Write the page's files into `folder`, which is made if it is not there; the path of the page.

    An earlier page there is replaced. ArgumentError if the folder holds anything else, OSError if it cannot be written.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise ArgumentError(f"{place}: a file, not a folder; give a folder that is new or empty")
    others = sorted(path.name for path in place.iterdir() if path.name not in files) if place.exists() else []
    if others:
        raise ArgumentError(f"{place}: holds other things, e.g. {others[0]}; give a folder that is new or empty")
    place.mkdir(parents=True, exist_ok=True)
    face, *rest = files
    for name in (*rest, face):  # what loads the others comes last
        write_atomically(place / name, files[name])
    return place / face
