"""TimedFile: a file that is read bit by bit, also by a library, without waiting for ever for a drive that has gone."""

import io
import os
from pathlib import Path
from typing import cast

from gpucnn.data.file_stamp import FileStamp, stamp
from gpucnn.regular_file import TimedCalls, open_regular


class TimedFile(io.RawIOBase):
    """A regular file, opened to be read as bytes. For one thread at a time.

    Each read asks for some bytes with a time limit, in a thread of its own: for blocks of about a megabyte, not for a few
    bytes. TimeoutError if there is no answer; what `open_regular` raises.
    """

    _has_answered = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        # Without a buffer, whose lock a thread that waits for the drive would hold: to close it would wait, too.
        self._file: io.RawIOBase = cast(io.BufferedReader, open_regular(path)).detach()
        with TimedCalls() as timed:
            self.stamp: FileStamp = timed(path, lambda: stamp(os.fstat(self._file.fileno())))
        self._has_answered = True
        self.size = self.stamp[0]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def read(self, count: int | None = -1) -> bytes:
        """So many bytes, fewer only at the end; all without a count."""
        wanted = self.size if count is None or count < 0 else count
        parts, left = [], wanted
        while left:
            part = self._read(left)
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, count: int) -> bytes:
        self._has_answered = False
        with TimedCalls() as timed:
            try:
                part = timed(self.path, lambda: self._answer(count))
            except TimeoutError:
                raise
            except OSError:
                self._has_answered = True
                raise
        self._has_answered = True
        return part

    def _answer(self, count: int) -> bytes:
        part = self._file.read(count)
        if self.closed:  # it comes too late
            self._file.close()
        return part or b""

    def close(self) -> None:
        """Without waiting for a read that has no answer: should one come, the file is closed then."""
        if not self.closed and self._has_answered:
            self._file.close()
        super().close()
