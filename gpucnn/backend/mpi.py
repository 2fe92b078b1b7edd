"""A group of processes that MPI has started, on any cluster or on one machine."""

import importlib.util
import os
import pickle
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from gpucnn.backend.arrays import Array
from gpucnn.backend.device import device_of, overwrite, to_host
from gpucnn.errors import LibraryError

SPINS, NAP = 200, 1e-4
"""How often a wait looks before it begins to sleep between looks, and for how many seconds: others may need the core."""


FIX = "on a cluster load its MPI and `pip install mpi4py`, else `pip install mpi4py mpich`"


def check() -> None:
    """LibraryError, with the fix, without mpi4py. MPI is not started."""
    if importlib.util.find_spec("mpi4py") is None:
        raise LibraryError(f"several processes need mpi4py; {FIX}")


def world() -> "MpiGroup":
    """All processes that were started together. LibraryError, with the fix, without mpi4py, or an MPI for it."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LibraryError(f"several processes need mpi4py and an MPI ({error}); {FIX}") from error
    return MpiGroup(MPI.COMM_WORLD)


class MpiGroup:
    """The processes of an MPI communicator. MPI moves bytes, and computes nothing."""

    def __init__(self, communicator: Any) -> None:
        self._own = communicator.Dup()
        self.rank: int = communicator.Get_rank()
        self.size: int = communicator.Get_size()

    def host(self) -> tuple[int, int]:
        """Which of the processes on this machine this is, from 0, and how many there are here."""
        from mpi4py import MPI

        here = self._own.Split_type(MPI.COMM_TYPE_SHARED)
        found = here.Get_rank(), here.Get_size()
        here.Free()
        return found

    def exchange(self, sent: Sequence[Array], received: Sequence[Array]) -> "_Transfers":
        """See `Group.exchange`. Arrays on a GPU go by way of the host."""
        out = [to_host(array) for array in sent]
        places = [array if device_of(array).kind == "cpu" else to_host(array) for array in received]
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
        sizes = self._own.alltoall([len(text)] * self.size)
        parts = [bytearray(size) for size in sizes]
        requests = [self._own.Irecv(part, other) for other, part in enumerate(parts) if other != self.rank]
        requests += [self._own.Isend(text, other) for other in range(self.size) if other != self.rank]
        _wait(requests)
        return [value if other == self.rank else pickle.loads(part) for other, part in enumerate(parts)]

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
    """Return when all is done. MPI's own wait would keep a core busy that another rank may need."""
    from mpi4py import MPI

    looks = 0
    while not MPI.Request.Testall(requests):
        looks += 1
        if looks > SPINS:
            time.sleep(NAP)
