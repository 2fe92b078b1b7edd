"""A group of processes whose GPUs exchange arrays directly, by NCCL, through CuPy.

NCCL moves bytes, and adds up nothing. Another group, MPI's, starts it: it brings the number that all must know.
"""

import importlib
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

from gpucnn.backend import cuda
from gpucnn.backend.arrays import Array
from gpucnn.backend.device import Device, current, device_of
from gpucnn.backend.group import Exchange, Group
from gpucnn.errors import DeviceError

_LOOK = "start again with NCCL_DEBUG=INFO in the environment, which tells more"
_FIXES = {
    "NCCL_ERROR_UNHANDLED_CUDA_ERROR": "an earlier kernel may have failed; run with CUDA_LAUNCH_BLOCKING=1 to see which",
    "NCCL_ERROR_SYSTEM_ERROR": "a machine may not be reached: name the network in NCCL_SOCKET_IFNAME; or /dev/shm may be full",
    "NCCL_ERROR_INVALID_USAGE": "the processes' versions of NCCL may differ; see `gpucnn doctor` on each machine",
    "NCCL_ERROR_REMOTE_ERROR": "another process has ended; see what it printed",
}


class NcclGroup:
    """The processes of `group`, each of which has a GPU of its own, `device`. All of them make one at the same time.

    Arrays on the GPU go straight to the other GPUs, while both go on computing; others go by way of `group`, and so does all
    else. DeviceError, on every process alike, if one has no NCCL, or two share a GPU.
    """

    def __init__(self, group: Group, device: Device) -> None:
        self._group, self._device = group, device
        self.rank, self.size = group.rank, group.size
        self._cupy = cuda.cupy()
        with current(device):
            found = self._group.gather((self._missing(), self._gpu()))
            _refuse(found)
            with self._named("cannot be started"):
                identity = self._nccl.get_unique_id() if self.rank == 0 else None
                identity = group.gather(identity)[0]
                self._communicator = self._nccl.NcclCommunicator(self.size, identity, self.rank)
            self._stream = self._cupy.cuda.Stream(non_blocking=True)

    def exchange(self, sent: Sequence[Array], received: Sequence[Array]) -> Exchange:
        """See `Group.exchange`. One launch, on a stream of its own, which begins when what is sent has been computed."""
        if any(device_of(array) != self._device for array in (*sent, *received)):
            return self._group.exchange(sent, received)
        with current(self._device):
            self._stream.wait_event(self._cupy.cuda.get_current_stream().record(self._event()))
            with self._named("could not exchange arrays"):
                self._nccl.groupStart()
                try:
                    for other, (out, into) in enumerate(zip(sent, received, strict=True)):
                        if out.size:
                            self._communicator.send(*self._bytes(out), other, self._stream.ptr)
                        if into.size:
                            self._communicator.recv(*self._bytes(into), other, self._stream.ptr)
                finally:
                    self._nccl.groupEnd()
            return _Arrays(self, self._stream.record(self._event()))

    def gather(self, value: Any) -> list[Any]:
        """See `Group.gather`."""
        return self._group.gather(value)

    def abort(self, status: int) -> NoReturn:
        """See `Group.abort`."""
        self._group.abort(status)

    def wait_for(self, event: Any) -> None:
        """Have what is asked of the GPU from now on begin after `event`. The host goes on."""
        with current(self._device), self._named("could not exchange arrays"):
            self._communicator.check_async_error()
            self._cupy.cuda.get_current_stream().wait_event(event)

    def _bytes(self, array: Array) -> tuple[int, int, int]:
        return array.data.ptr, array.nbytes, self._nccl.NCCL_UINT8

    def _event(self) -> Any:
        return self._cupy.cuda.Event(disable_timing=True)

    def _missing(self) -> str:
        """What NCCL lacks here, and the fix; empty where it is there."""
        own = getattr(self._cupy.cuda, "nccl", None)  # CuPy's is there when it was imported; a stand-in has it
        with warnings.catch_warnings(action="ignore"):  # CuPy's, that it finds none
            self._nccl: Any = importlib.import_module("cupy.cuda.nccl") if own is None else own
        if self._nccl.available:
            return ""
        major = self._cupy.cuda.runtime.runtimeGetVersion() // 1000
        return f"CuPy finds no NCCL, which moves arrays between GPUs; fix: pip install nvidia-nccl-cu{major} there"

    def _gpu(self) -> "_Gpu":
        own = self._cupy.cuda.runtime.getDeviceProperties(self._device.index)
        slot = own["pciDomainID"], own["pciBusID"], own["pciDeviceID"], bytes(own["uuid"])
        return _Gpu(str(self._device), socket.gethostname(), slot)

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """An error of NCCL's as one that names this process, and the fix."""
        try:
            yield
        except self._nccl.NcclError as error:
            fix = next((fix for word, fix in _FIXES.items() if str(error).startswith(word)), _LOOK)
            raise DeviceError(
                f"rank {self.rank} of {self.size}: NCCL {what} from {self._device} ({error}); fix: {fix}"
            ) from error


class _Arrays:
    """What NCCL sends and receives."""

    def __init__(self, group: NcclGroup, end: Any) -> None:
        self._group, self._end = group, end

    def advance(self) -> None:
        """See `Exchange.advance`. The GPU needs nobody for it."""

    def wait(self) -> None:
        """See `Exchange.wait`: whoever asks for the arrays on the GPU's current stream gets them as they have come."""
        self._group.wait_for(self._end)


class _Gpu(NamedTuple):
    """Where a process computes; two of one machine and one slot are one."""

    name: str
    machine: str
    slot: tuple[int, int, int, bytes]
    """Where it is on the bus, and its number, as machines may have one name."""


def _refuse(found: list[tuple[str, _Gpu]]) -> None:
    """DeviceError for the first rank without NCCL, or without a GPU of its own."""
    for rank, (missing, gpu) in enumerate(found):
        if missing:
            raise DeviceError(f"rank {rank} of {len(found)}: {missing}")
        first = next(one for one, (_, other) in enumerate(found) if other[1:] == gpu[1:])
        if first != rank:
            raise DeviceError(
                f"ranks {first} and {rank} of {len(found)} have one GPU, {gpu.name} of {gpu.machine}; fix: start as many processes as "
                f"there are GPUs, and leave out --device, or give each its own"
            )
