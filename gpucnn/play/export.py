"""The page as files in a folder, which any browser opens from there, or from any web server."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from gpucnn.atomic_file import discard, write_atomically
from gpucnn.errors import ArgumentError


def export(files: Mapping[str, bytes], folder: str | os.PathLike[str]) -> Path:
    """Write the page's files into `folder`, which is made if it is not there; the path of the page.

    An earlier page there is replaced, and what an export left that was killed. ArgumentError if the folder holds anything else, OSError if it cannot be written.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise ArgumentError(f"{place}: a file, not a folder; give a folder that is new or empty")
    if place.is_symlink() and not place.exists():
        raise ArgumentError(f"{place}: a link to what is not there; give a folder that is new or empty")
    part = re.compile(rf"\.({'|'.join(map(re.escape, files))})\.\d+\.part")  # of write_atomically
    others = [path for path in place.iterdir() if path.name not in files] if place.exists() else []
    strange = sorted(path.name for path in others if not part.fullmatch(path.name))
    if strange:
        raise ArgumentError(f"{place}: holds other things, e.g. {strange[0]}; give a folder that is new or empty")
    for path in others:
        discard(path)
    place.mkdir(parents=True, exist_ok=True)
    face, *rest = files
    for name in (*rest, face):  # what loads the others comes last
        write_atomically(place / name, files[name])
    return place / face
