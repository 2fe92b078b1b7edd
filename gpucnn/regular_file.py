"""Regular files, read so that nothing waits for ever: not for who may write into a named pipe, nor for a dead drive."""

import errno
import os
import stat
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

ANSWER_SECONDS = 60.0
"""The operating system may take so long for an answer. Of a network drive that has gone it would never give one."""

CHUNK = 1 << 24
"""Bytes that are asked for at once."""

KINDS = {
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
"""What a file can be that is neither regular nor a folder."""

T = TypeVar("T")


class TimedCalls:
    """Calls of the operating system, each with a time limit. In a `with` statement.

    They are made in another thread, since one that waits for a dead drive cannot be woken, not even by a signal. It ends
    with the `with` statement, or else with the process.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._thread = Thread(target=self._work, name="gpucnn files", daemon=True)
        self._is_waiting = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.put(None)
        if not self._is_waiting:
            self._thread.join()

    def __call__(self, path: str | os.PathLike[str], call: Callable[[], T]) -> T:
        """What `call`, which is about `path`, returns or raises. TimeoutError if there is no answer in `ANSWER_SECONDS`."""
        self._is_waiting = True
        self._calls.put(call)
        try:
            answer, error = self._answers.get(timeout=ANSWER_SECONDS)
        except Empty:
            reason = f"no answer in {ANSWER_SECONDS:g} seconds; is its drive, or the network, still there?"
            raise TimeoutError(errno.ETIMEDOUT, reason, os.fspath(path)) from None
        self._is_waiting = False
        if error is not None:
            raise error
        return answer  # type: ignore[no-any-return]

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._answers.put((call(), None))
            except BaseException as error:
                self._answers.put((None, error))


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, or what a link to one leads to, opened to be read as bytes.

    Raises OSError, whose `strerror` says what is there instead, e.g. "a named pipe, expected a file"; FileNotFoundError;
    TimeoutError if there is no answer in `ANSWER_SECONDS`.
    """
    with TimedCalls() as timed:
        return timed(path, lambda: _open(path))


def read_regular(path: str | os.PathLike[str], timed: TimedCalls | None = None) -> bytes:
    """The content of a regular file, read with `timed`, which need not be made for each file. Raises what `open_regular` does."""
    if timed is None:
        with TimedCalls() as timed:
            return read_regular(path, timed)
    content, file = timed(path, lambda: _beginning(path))
    if file is None:
        return content
    parts = [content]
    while parts[-1]:
        parts.append(timed(path, lambda: file.read(CHUNK)))
    timed(path, file.close)  # there, too: it would wait for a read that has not come to an end
    return b"".join(parts)


def _beginning(path: str | os.PathLike[str]) -> tuple[bytes, BinaryIO | None]:
    """What of a file is read at once, and the file, unless that was all of it."""
    file = _open(path)
    size = os.fstat(file.fileno()).st_size
    content = file.read(min(size, CHUNK) or CHUNK)  # some drives call the size of every file 0
    if len(content) == size <= CHUNK:
        file.close()
        return content, None
    return content, file


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    _check(os.stat(path).st_mode, path)  # before it is opened, which alone can make a device do something
    # Should it have become a named pipe meanwhile, it must not wait; on regular files that changes nothing.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def _check(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"a {kind}, expected a file", os.fspath(path))
