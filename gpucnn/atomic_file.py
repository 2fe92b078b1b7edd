"""Files that appear whole or not at all."""

import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gpucnn.errors import RunError
from gpucnn.regular_file import KINDS

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

WAITS = [0.01 * 2**number for number in range(7)]
"""Seconds between tries to replace a file that another program has open: 1.3 in all."""

_PART = re.compile(r"\..+\.\d+\.part")
_FIXES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within your quota",
    errno.EROFS: "have the disk mounted for writing",
    errno.EACCES: "have the folder made writable",
    errno.EPERM: "have the folder made writable",
    errno.ENOENT: "the folder is gone: make it again",
    errno.EEXIST: "a file is in the folder's place: move it away",
    errno.ENOTDIR: "a file is in the folder's place: move it away",
}
_HELD_OPEN = (
    "another program may have it open (a viewer, a virus scanner, one that copies folders into a cloud): "
    "close the file there, and see that it is not write-protected"
)


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file so that a reader, a crash, or a loss of power, sees the old content or the new, never a part.

    `content` may come in pieces, one after another. A link stays, and what it leads to is written.

    Raises OSError, with the file's name, also for a device or the like, in whose place no file is put; the old content then
    stays.
    """
    if path.is_symlink():
        path = path.resolve()
    if kind := special_kind(path):
        raise OSError(errno.EINVAL, f"a {kind}, expected a file", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            _sync(file.fileno())
        _replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # why it cannot be written matters more
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise
    _sync_folder(path.parent)


def check_place(path: Path) -> None:
    """RunError for a path where no file can be: before the work whose result it is, not after it."""
    if path.is_dir():
        raise RunError(f"{path}: cannot be written (a folder); give the name of a file")
    if kind := special_kind(path):
        raise RunError(f"{path}: cannot be written (a {kind}, expected a file); give the name of a file")
    if not path.parent.is_dir():
        raise RunError(f"{path}: cannot be written (no folder {path.parent}); make it first")


def special_kind(path: Path) -> str | None:
    """What is there, or where a link leads, if that is neither a file nor a folder: device, named pipe, socket."""
    try:
        return KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except OSError:  # nothing is there, or it cannot be seen
        return None


@contextmanager
def telling_of(path: Path) -> Iterator[None]:
    """Inside, an OSError becomes a RunError with the file, or else `path`, the reason and the fix."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{error.filename or path}: {cannot_be_written(error)}") from None


class HeldOpenError(PermissionError):
    """A file that cannot be replaced, in a folder that can be written to."""


def cannot_be_written(error: OSError) -> str:
    """That a file cannot be, why, and what helps, where that is known."""
    fix = _HELD_OPEN if isinstance(error, HeldOpenError) else _FIXES.get(error.errno or 0)
    return f"cannot be written ({error.strerror or error}){f'; {fix}' if fix else ''}"


def remove_parts(folder: Path) -> None:
    """Remove what `write_atomically` left of files in `folder` when its process was killed."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if _PART.fullmatch(path.name):
            discard(path)


def discard(path: Path) -> None:
    """Remove a file that nobody needs, if it is there. What Windows keeps, as another program has it open, stays."""
    with suppress(PermissionError):
        path.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    """Give a file that was written beside `path` that name, if need be after some tries.

    Windows does not replace a file that a program has open, as many have for a moment only.
    """
    for wait in (*WAITS, None):
        try:
            temporary.replace(path)
        except PermissionError as error:
            if wait is None:
                raise HeldOpenError(error.errno, error.strerror) from None
            time.sleep(wait)
        else:
            return


def _sync(handle: int) -> None:
    """Have a file written out, past the disk's own cache: macOS does that only when it is asked in these words."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):  # a file system that does not know them
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
    os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder written out, where the system, and the file system, knows how to."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):  # the file itself is safe, and some network file systems refuse this
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _sync(handle)
        finally:
            os.close(handle)
