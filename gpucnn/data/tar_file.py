"""A tar file of images, as WebDataset lays them out, of which any is read by itself."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gpucnn.data.file_stamp import stamp
from gpucnn.data.fork_lock import fork_lock
from gpucnn.data.tar_format import DAMAGED, named
from gpucnn.data.tar_index import index_of
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls, open_regular

SUFFIX = ".tar"
MOST_OPEN = 256
"""Tars whose files are open at a time."""


class TarFile:
    """The images in a tar file, in the order in which they lie there. For any number of threads, also after a fork.

    - `images`, `labels`: their names, and of each the number of its class, or its name, or None.
    - `left_out`: how many members of each kind are no images.

    An image KEY.png has its label in KEY.cls, a number or a name, or as "label" in KEY.json. In a tar without such files it is
    the first folder of its name, as in cat/1.png. Raises DataError, with the member and what to do, for a tar that is damaged,
    compressed, or has what is no file or folder in it, and for an image that has two labels.
    """

    def __init__(self, path: Path, timed: TimedCalls) -> None:
        self.path, self._name = path, str(path)
        with _telling(path), _opened(path, timed) as file:
            self.stamp = stamp(os.fstat(file.fileno()))
            found = index_of(path, file, self.stamp, timed)
        self.images, self.labels, self.left_out = [image.name for image in found.images], found.labels, found.left_out
        self._members = {image.name: (image.offset, image.size) for image in found.images}

    def read(self, name: str) -> bytes:
        """The bytes of an image. DataError if the tar is not what it was; FileNotFoundError if there is none of this name."""
        offset, size = self._member(name)
        handle = _handles.of(self._name)
        now = stamp(os.fstat(handle.number))
        # While it is open it may be removed or get other rights, which its status tells; its content stays.
        if handle.stamp != self.stamp or now[:2] != self.stamp[:2]:
            raise DataError(f"{self.path}: has changed since its images were found; start again")
        parts, left = [], size
        while left:
            part = handle.read(left, offset + size - left)
            if not part:
                raise DataError(f"{self.path}: {named(name)}: ends after {size - left:,} of {size:,} bytes; {DAMAGED}")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _member(self, name: str) -> tuple[int, int]:
        if name not in self._members:
            raise FileNotFoundError(2, os.strerror(2), f"{self.path}/{name}")
        return self._members[name]


class _Handle:
    """A file that is open until nobody holds this any more."""

    def __init__(self, path: str) -> None:
        with open_regular(path) as file:
            self.number = os.dup(file.fileno())
            self.stamp = stamp(os.fstat(self.number))

    def read(self, count: int, offset: int) -> bytes:
        """Some of the bytes from `offset` on."""
        if hasattr(os, "pread"):
            return os.pread(self.number, min(count, 1 << 30), offset)
        with _lock:  # Windows: a file is at one place at a time
            os.lseek(self.number, offset, os.SEEK_SET)
            return os.read(self.number, min(count, 1 << 30))

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self.number)


class _Handles:
    """The files that were asked for last, open."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Handle] = OrderedDict()

    def of(self, path: str) -> _Handle:
        with _lock:
            handle = self._open.get(path)
            if handle is not None:
                self._open.move_to_end(path)
                return handle
        handle = _Handle(path)
        with _lock:
            self._open[path] = handle
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return handle

    def forget(self, path: str) -> None:
        """Open a file anew when it is next asked for."""
        with _lock:
            self._open.pop(path, None)


_lock = fork_lock()
_handles = _Handles()


def open_tar(path: Path, timed: TimedCalls) -> TarFile:
    """The tar at `path`, looked at anew if it has changed."""
    _handles.forget(str(path))
    return TarFile(path, timed)


@contextmanager
def _opened(path: Path, timed: TimedCalls) -> Iterator[BinaryIO]:
    """A file, open inside. After an interruption it stays so: to close it would wait for a thread that may still read it."""
    file = timed(path, lambda: open_regular(path))
    try:
        yield file
    except TimeoutError:
        raise
    except (DataError, OSError):
        file.close()
        raise
    file.close()


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Inside, an OSError becomes a DataError with the file and the reason."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
