"""Reading files that may be damaged: no warnings of libraries, but one error, in our own words."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpucnn.data.fork_lock import fork_lock
from gpucnn.errors import DataError

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors go to stderr where nobody asked for logs

_readers = 0
_outside: "warnings.catch_warnings[None] | None" = None


@contextmanager
def reading(path: Path, unreadable: str) -> Iterator[None]:
    """Inside, `path` is read: quietly, and what goes wrong is a DataError that names it.

    `unreadable` says what it is not, and what to do, around the reason {}, for the many kinds of errors that libraries
    raise for damaged files.
    """
    try:
        with quiet_reading():
            yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: {unreadable.format(reason)}") from None


@contextmanager
def quiet_reading() -> Iterator[None]:
    """Inside, Pillow, NumPy and pickletools warn of nothing, nor do parsers of theirs. In any number of threads.

    `warnings.catch_warnings` alone is not for threads: filters belong to the process, and one that leaves would put back
    those that it met while others still read. So the first that enters changes them, the last that leaves puts them back.
    """
    global _readers, _outside
    with _lock:
        _readers += 1
        if _readers == 1:
            _outside = warnings.catch_warnings()
            _outside.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.|numpy\.|pickletools|<unknown>")
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                assert _outside is not None
                _outside.__exit__(None, None, None)
                _outside = None


def _forget_readers() -> None:
    """In a forked child, where the threads that read are gone."""
    global _readers, _outside
    if _outside is not None:
        _outside.__exit__(None, None, None)
    _readers, _outside = 0, None


_lock = fork_lock(_forget_readers)
