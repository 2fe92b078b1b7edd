"""The lock of a run's folder: a file that names the process which writes there.

A file, and no lock of the operating system, as it holds on network folders and on Windows, and tells who has it. A process
that was killed leaves it behind; the next one recognises that, and takes the lock over.
"""

import errno
import json
import os
import secrets
import socket
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self

from gpucnn.checks import is_int
from gpucnn.errors import RunError
from gpucnn.regular_file import read_regular
from gpucnn.runs.process import namespace, start_of

NAME = "gpucnn.lock"
"""What the names of all files of a lock contain."""

TRIES = 100
"""How often a folder is made that others remove."""

PATIENCE = 1.0
"""Seconds in which a file that another process has begun must have its content."""


class Owner(NamedTuple):
    """A process that has a lock, as the lock's file tells of it."""

    pid: int
    host: str
    namespace: str
    """In which its number is known, see `namespace`."""
    started: str
    """See `start_of`."""
    since: str
    """When it took the lock, for people to read."""
    token: str
    """No other lock has it."""

    def is_here(self) -> bool:
        """Whether it is one of the processes that can be seen from here, if it still runs."""
        return (self.host, self.namespace) == (socket.gethostname(), namespace())

    def has_ended(self) -> bool:
        """Whether it has certainly ended: no process has its number, or another one has it now."""
        if not self.is_here():
            return False
        start = start_of(self.pid)
        return start is None or "" != start != self.started != ""


class RunLock:
    """The lock of the run in `folder`, which is made if it is not there; also a context manager.

    Its owner can acquire it again, and must release it once for each time. The owner is one object: another one is refused,
    also in the same process. Raises RunError, which names the process that has it and what to do, or why the lock cannot be
    made.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._own: Owner | None = None
        self._times = 0

    def acquire(self) -> None:
        """Take the lock."""
        if self._own is not None and self._own.pid != os.getpid():  # forked off: the lock stayed with the parent
            self._own, self._times = None, 0
        if self._times == 0:
            start, since = start_of(os.getpid()) or "", datetime.now().strftime("%Y-%m-%d %H:%M:%S")
            own = Owner(os.getpid(), socket.gethostname(), namespace(), start, since, secrets.token_hex(8))
            try:
                self._make_and_take(own)
            except OSError as error:
                raise RunError(
                    f"{self.path.parent}: cannot write a run there ({error.strerror or error}); choose another --out"
                ) from None
            self._own = own
        self._times += 1

    def _make_and_take(self, own: Owner) -> None:
        for _ in range(TRIES):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another process has removed the folder, as nothing was in it
                _take(self.path, own)
                _remove_leftovers(self.path)  # only now: a claim that seems left behind may be being taken over
                return
        raise FileNotFoundError(errno.ENOENT, "the folder goes again and again")

    def release(self) -> None:
        """Give it back; nothing happens if this object does not have it."""
        self._times = max(self._times - 1, 0)
        if self._times or self._own is None:
            return
        own, self._own = self._own, None
        # A process that was forked off has a copy of this object, and not the lock.
        if own.pid == os.getpid() and _read(self.path) == own:
            with suppress(OSError):
                self.path.unlink()

    def owner(self) -> Owner | None:
        """The process that has the lock; None if nobody has, and if it has ended."""
        found = _read(self.path)
        return None if found is None or found.has_ended() else found

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


class LockOfAnother(RunLock):
    """The lock that another process of the same group has: nothing is taken, or given back."""

    def acquire(self) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""


def _take(path: Path, own: Owner) -> None:
    """Make the file `path` tell of `own`. RunError if a process has it that may be running."""
    while not _create(path, own):
        found = _read(path)
        if found is None:  # released meanwhile
            continue
        if not found.has_ended():
            raise RunError(_in_use(path, found))
        # Two processes may recognise the same lock as left behind. The one that gets the claim on it replaces it, if it is
        # still there: once it is not, it never comes again, and so an old claim does no harm.
        claim = path.with_name(f"{path.name}.{found.token}")
        _take(claim, own)
        try:
            if _read(path) == found:
                _written(path, own).replace(path)
                return
        finally:
            claim.unlink(missing_ok=True)


def _create(path: Path, own: Owner) -> bool:
    """Make the file `path`, with its content at once; False if there is one."""
    written = _written(path, own)
    try:
        os.link(written, path)
    except FileExistsError:
        return False
    except OSError:  # there are no links on sticks, and in some network folders
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(_as_text(own))
        except FileExistsError:
            return False
        return _read(path) == own  # else another one took it for left behind, as it was without content for so long
    finally:
        written.unlink(missing_ok=True)
    return True


def _written(path: Path, own: Owner) -> Path:
    """A file beside `path` that tells of `own`."""
    written = path.with_name(f".{path.name}.{own.token}")
    written.write_text(_as_text(own), encoding="utf-8")
    return written


def _as_text(own: Owner) -> str:
    return json.dumps(own._asdict()) + "\n"


def _read(path: Path) -> Owner | None:
    """What a lock's file tells; None if there is no file. Of one that tells nothing, which a crash can leave: a process that has ended."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            told = json.loads(read_regular(path))
            owner = Owner(*(told.get(field, "") for field in Owner._fields))  # another gpucnn may tell more, or less
            are_texts = all(isinstance(value, str) for value in owner[1:])
            if is_int(owner.pid) and are_texts and (owner.token or "none").isalnum():
                return owner
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(
                f"{path}: cannot be read ({error.strerror or error}); remove it, if no process writes there"
            ) from None
        except (ValueError, AttributeError, RecursionError):
            pass
        if time.monotonic() > until:
            return Owner(-1, socket.gethostname(), namespace(), "", "", "unreadable")
        time.sleep(PATIENCE / 20)


def _in_use(path: Path, owner: Owner) -> str:
    folder = path.parent
    if not owner.is_here():
        return (
            f"{folder}: in use by process {owner.pid} on {owner.host} since {owner.since}; choose another folder, or, if that "
            f"process has ended, which cannot be seen from here, remove {folder / NAME}"
        )
    this = ", this one," if owner.pid == os.getpid() else ""
    return (
        f"{folder}: in use by process {owner.pid}{this} on {owner.host} since {owner.since}; choose another folder, or wait "
        f"for its end, or stop it"
    )


def _remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed left beside a lock, but not the lock itself."""
    for left in path.parent.glob(f"*{path.name}.*"):
        owner = _read(left)
        if owner is not None and owner.has_ended():
            left.unlink(missing_ok=True)
