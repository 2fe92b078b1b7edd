"""A group of processes that MPI has started, on any cluster or on one machine."""

import atexit
import importlib.util
import os
import pickle
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from gpucnn.backend.arrays import Array
from gpucnn.backend.device import device_of, overwrite, to_host
from gpucnn.errors import LibraryError, Terminated

SPINS, YIELDS, NAP = 100, 200, 1e-4
"""How often a wait looks at once, which takes some 0.1 ms; how often before it sleeps between looks, and for how many seconds.

Small sums come in half the time so, and who waits for long leaves the core to others.
"""


FIX = "on a cluster load its MPI and `pip install mpi4py`, else `pip install mpi4py mpich`"
OTHER_MPI = (
    "mpiexec and mpi4py are of two MPIs; start with the mpiexec of mpi4py's, which gpucnn doctor names, or build mpi4py for the "
    "other: `pip install --force-reinstall --no-binary=mpi4py mpi4py`"
)

MPIEXEC_LISTENS_AT, STARTED_BY_MPIEXEC = "PMI_FD", "MPI_LOCALNRANKS"
"""Variables that MPICH's mpiexec sets, and others of its family: a number of a file, and how many it has started here."""
PATIENCE = 1.0
"""Seconds that a process which cannot begin gives the others to tell the same of themselves."""

SHARED_MEMORY = Path("/dev/shm")
SETTLED = 2.0
"""Seconds after which a file there that no process has in its memory is nobody's."""


def check() -> None:
    """LibraryError, with the fix, without mpi4py. MPI is not started."""
    if importlib.util.find_spec("mpi4py") is None:
        raise LibraryError(f"several processes need mpi4py; {FIX}")


def world() -> "MpiGroup":
    """All processes that were started together. LibraryError, with the fix, without mpi4py, or an MPI for it.

    An exception that nobody catches, in any of them, is told with its rank from then on, and ends all: the others would wait for
    ever else. What MPICH has in /dev/shm loses its name here, so that nothing stays there however the processes end.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        atexit.register(_end_who_waits)
        raise LibraryError(f"several processes need mpi4py and an MPI ({error}); {FIX}") from error
    except KeyboardInterrupt as error:  # or Terminated, while MPI began
        _end_alone(error)
    try:
        return _begun(MPI)
    except KeyboardInterrupt as error:
        _end_alone(error)


def _end_alone(error: KeyboardInterrupt) -> NoReturn:
    """End all processes when a signal comes as they begin: one that left in peace would wait for the others, and they for it."""
    os.write(2, f"gpucnn: {str(error) or 'stopped by Ctrl-C'}\n".encode())
    number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
    signal.signal(number, signal.SIG_DFL)
    os.kill(
        os.getpid(), number
    )  # MPICH's mpiexec ends the others after a signal, not after an exit before MPI has begun
    os._exit(1)


def _end_who_waits() -> None:
    """End those that can begin, and wait for this process, which cannot: MPICH's mpiexec does not see to that.

    What it does for MPI's Abort is asked of it in its own words, version 1 of the Process Management Interface.
    """
    if MPIEXEC_LISTENS_AT in os.environ and STARTED_BY_MPIEXEC in os.environ:
        time.sleep(PATIENCE)  # and mpiexec passes on what was told
        with suppress(OSError, ValueError):
            os.write(int(os.environ[MPIEXEC_LISTENS_AT]), b"cmd=abort exitcode=1\n")


def _end_all_after_an_exception(group: "MpiGroup") -> None:
    """Have an exception that nobody catches end all. MPI ends with this process, and waits for the others there."""
    earlier = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        earlier(kind, error, trace)
        with suppress(OSError, ValueError):  # of a stream that is closed
            sys.stdout.flush()
            print(f"rank {group.rank} of {group.size} ends all with this", file=sys.stderr, flush=True)
        group.abort(130 if issubclass(kind, KeyboardInterrupt) else 1)

    sys.excepthook = hook


def _begun(MPI: Any) -> "MpiGroup":
    """The group, once all of this machine have opened what they share."""
    group = MpiGroup(MPI.COMM_WORLD)
    if group.size > 1:
        _end_all_after_an_exception(group)
    group.host()
    for place in _shared_memory("self"):
        place.unlink(missing_ok=True)
    remove_left_behind()
    return group


def remove_left_behind() -> None:
    """Remove what processes of this user left in /dev/shm that were killed before all of their group had begun."""
    with suppress(OSError):  # of a file that goes meanwhile
        left = {path: path.stat() for path in SHARED_MEMORY.glob("mpich_shm_*")}
        old = {path for path, one in left.items() if one.st_uid == os.getuid() and time.time() - one.st_mtime > SETTLED}
        used = {
            path for process in os.listdir("/proc") if old and process.isdecimal() for path in _shared_memory(process)
        }
        for path in old - used:
            path.unlink()


def _shared_memory(process: str) -> set[Path]:
    """MPICH's files in /dev/shm that a process has in its memory; it removes them at the end, but not after an abort."""
    try:
        lines = Path("/proc", process, "maps").read_text(errors="replace").splitlines()
    except OSError:  # it has ended, or is another user's, or there is no /proc
        return set()
    return {Path(line[line.index("/") :]) for line in lines if f"{SHARED_MEMORY}/mpich_shm_" in line}


class MpiGroup:
    """The processes of an MPI communicator. MPI moves bytes, and computes nothing."""

    def __init__(self, communicator: Any) -> None:
        self._own, self._last = communicator.Dup(), communicator.Dup()
        self.rank: int = communicator.Get_rank()
        self.size: int = communicator.Get_size()

    def host(self) -> tuple[int, int]:
        """Which of the processes on this machine this is, from 0, and how many there are here. All ranks call it."""
        from mpi4py import MPI

        here = self._own.Split_type(MPI.COMM_TYPE_SHARED)
        found = here.Get_rank(), here.Get_size()
        here.Barrier()
        here.Free()
        return found

    def exchange(self, sent: Sequence[Array], received: Sequence[Array]) -> "_Transfers":
        """See `Group.exchange`. Arrays on a GPU go by way of the host."""
        out = [to_host(array) for array in sent]
        places = [array if device_of(array).kind == "cpu" else np.empty(array.shape, array.dtype) for array in received]
        requests = [
            self._own.Irecv(_bytes(place), other)
            for other, place in enumerate(places)
            if other != self.rank and place.size
        ]
        requests += [
            self._own.Isend(_bytes(array), other)
            for other, array in enumerate(out)
            if other != self.rank and array.size
        ]
        places[self.rank][...] = out[self.rank]
        back = [(place, array) for place, array in zip(places, received, strict=True) if place is not array]
        return _Transfers(requests, out, back)

    def gather(self, value: Any) -> list[Any]:
        """See `Group.gather`."""
        text = pickle.dumps(value)
        sizes = np.empty(self.size, np.int64)
        _wait([self._own.Ialltoall(np.full(self.size, len(text)), sizes)])
        parts = [bytearray(size) for size in sizes]
        requests = [self._own.Irecv(part, other) for other, part in enumerate(parts) if other != self.rank]
        requests += [self._own.Isend(text, other) for other in range(self.size) if other != self.rank]
        _wait(requests)
        return [value if other == self.rank else pickle.loads(part) for other, part in enumerate(parts)]

    def last_words(self, text: str, seconds: float) -> list[str | None]:
        """What each process that ends, too, tells within some seconds, by rank; None of those that do not."""
        from mpi4py import MPI

        heard: list[str | None] = [text if rank == self.rank else None for rank in range(self.size)]
        sent = [self._last.isend(text, rank) for rank in range(self.size) if rank != self.rank]
        until = time.monotonic() + seconds
        while None in heard and time.monotonic() < until:
            told = MPI.Status()
            if self._last.iprobe(status=told):
                heard[told.Get_source()] = self._last.recv(source=told.Get_source())
            else:
                time.sleep(NAP)
        if None not in heard:
            _wait(sent)
        return heard

    def abort(self, status: int) -> NoReturn:
        """See `Group.abort`."""
        self._own.Abort(status)
        os._exit(status)  # Abort may return


class _Transfers:
    """What MPI sends and receives."""

    def __init__(self, requests: list[Any], kept: list[Array], back: list[tuple[Array, Array]]) -> None:
        self._requests, self._kept, self._back = requests, kept, back

    def advance(self) -> None:
        """See `Exchange.advance`."""
        from mpi4py import MPI

        MPI.Request.Testall(self._requests)

    def wait(self) -> None:
        """See `Exchange.wait`."""
        _wait(self._requests)
        for place, array in self._back:
            overwrite(array, place)
        self._kept, self._back = [], []


def _bytes(array: Array) -> Any:
    return array.reshape(-1).view("u1")


def _wait(requests: list[Any]) -> None:
    """Return when all is done. MPI's own wait would keep a core busy that another rank, or a thread that loads, may need."""
    from mpi4py import MPI

    looks = 0
    while not MPI.Request.Testall(requests):
        looks += 1
        if looks > SPINS:
            time.sleep(0 if looks < YIELDS else NAP)
