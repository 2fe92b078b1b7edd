"""Files that appear whole or not at all."""

import os
import re
from contextlib import suppress
from pathlib import Path

_PART = re.compile(r"\..+\.\d+\.part")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, a crash, or a loss of power, sees the old content or the new, never a part.

    Raises OSError, with the file's name; the old content then stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise
    _sync_folder(path.parent)


def remove_parts(folder: Path) -> None:
    """Remove what `write_atomically` left of files in `folder` when its process was killed."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if _PART.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder written out, where the system, and the file system, knows how to."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):  # the file itself is safe, and some network file systems refuse this
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
