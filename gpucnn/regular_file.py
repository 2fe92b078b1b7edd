"""Regular files, read so that nothing waits for ever: not for who may write into a named pipe, nor for a dead drive."""

import errno
import functools
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

ANSWER_SECONDS = 60.0
"""Seconds that the operating system may take for an answer. Of a network drive that has gone it would never give one."""

SIGNAL_SECONDS = 0.25
"""Seconds waited at once: a signal that comes as a wait begins is heard only when it ends."""

CHUNK = 1 << 24
"""Bytes that are asked for at once."""

AT_ONCE = 8
"""Files read at once: to wait for another thread takes longer than to read a small file."""

KINDS = {stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
"""What a file can be that is neither regular nor a folder."""

T = TypeVar("T")


class TimedCalls:
    """Calls of the operating system, each with a time limit. In a `with` statement.

    They are made in another thread, since one that waits for a dead drive cannot be woken, not even by a signal. It ends
    with the `with` statement, or, if it still waits then, with the process.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._thread = Thread(target=self._work, name="gpucnn files", daemon=True)
        self._is_waiting = False
        self._progress = 0

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
        """What `call`, which is about `path`, returns or raises.

        TimeoutError if there is neither an answer in `ANSWER_SECONDS` nor any progress.
        """
        self._is_waiting = True
        self._calls.put(call)
        before, since = self._progress, time.monotonic()
        while True:
            try:
                answer, error = self._answers.get(timeout=min(SIGNAL_SECONDS, ANSWER_SECONDS))
                break
            except Empty:
                if self._progress != before:
                    before, since = self._progress, time.monotonic()
                elif time.monotonic() - since >= ANSWER_SECONDS:
                    reason = f"no answer in {ANSWER_SECONDS:g} seconds; is its drive, or the network, still there?"
                    raise TimeoutError(errno.ETIMEDOUT, reason, os.fspath(path)) from None
        self._is_waiting = False
        if error is not None:
            raise error
        return answer  # type: ignore[no-any-return]

    def read_each(self, paths: Sequence[str | os.PathLike[str]]) -> Iterator[bytes]:
        """The contents of regular files, each as `read_regular` has it."""
        for start in range(0, len(paths), AT_ONCE):
            some = paths[start : start + AT_ONCE]
            for content in self(some[0], functools.partial(self._read_some, some)):
                if isinstance(content, OSError):
                    raise content
                yield content

    def status_of_each(self, paths: Sequence[str | os.PathLike[str]]) -> Iterator[os.stat_result | None]:
        """What `os.stat` tells of each; None where it raises OSError."""
        for start in range(0, len(paths), AT_ONCE):
            some = paths[start : start + AT_ONCE]
            yield from self(some[0], functools.partial(_status_of_some, some))

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._answers.put((call(), None))
            except BaseException as error:
                self._answers.put((None, error))

    def _read_some(self, paths: Sequence[str | os.PathLike[str]]) -> list[bytes | OSError]:
        """As many as can be read: what comes after an error is not asked for."""
        contents: list[bytes | OSError] = []
        for path in paths:
            try:
                contents.append(self._read(path))
            except OSError as error:
                return [*contents, error]
        return contents

    def _read(self, path: str | os.PathLike[str]) -> bytes:
        self._progress += 1
        file, size = _opened(path)
        try:
            parts = [os.read(file, min(size, CHUNK) or CHUNK)]  # some drives call the size of every file 0
            if len(parts[0]) == size <= CHUNK:
                return parts[0]
            while parts[-1]:
                self._progress += 1
                parts.append(os.read(file, CHUNK))
        finally:
            os.close(file)
        return b"".join(parts)


def _status_of_some(paths: Sequence[str | os.PathLike[str]]) -> list[os.stat_result | None]:
    found: list[os.stat_result | None] = []
    for path in paths:
        try:
            found.append(os.stat(path))
        except OSError:
            found.append(None)
    return found


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, or what a link to one leads to, opened to be read as bytes.

    Raises OSError, whose `strerror` says what is there instead, e.g. "a named pipe, expected a file"; FileNotFoundError;
    TimeoutError if there is no answer in `ANSWER_SECONDS`.
    """
    with TimedCalls() as timed:
        return timed(path, lambda: _open(path))


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """The content of a regular file. Raises what `open_regular` does."""
    with TimedCalls() as timed:
        return next(timed.read_each([path]))


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    return os.fdopen(_opened(path)[0], "rb")


def _opened(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The descriptor of a file, opened to be read, and its size."""
    _check(os.stat(path).st_mode, path)  # before it is opened, which alone can make a device do something
    # Should it have become a named pipe meanwhile, it must not wait; on regular files that changes nothing.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    file = os.open(path, flags)
    try:
        status = os.fstat(file)
        _check(status.st_mode, path)
    except OSError:
        os.close(file)
        raise
    return file, status.st_size


def _check(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"a {kind}, expected a file", os.fspath(path))
