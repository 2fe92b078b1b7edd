"""The stand-in's NCCL, `cupy.cuda.nccl`: threads of one process are the ranks, each with a device of the stand-in's.

It moves the bytes when a group of calls ends, and refuses what NCCL refuses, by the same error. What would make NCCL wait for
ever is a KernelError: sizes that differ, a call outside a group, a rank that does not come; and so is what it would not
notice: memory that is not there, or is another device's.
"""

import ctypes
import secrets
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gpucnn.errors import KernelError
from gpucnn.testing.cupy_memory import block_at

NCCL_UINT8 = 1
PATIENCE = 60
"""Seconds after which a rank that waits for another one is told that it does not come."""

_INVALID_ARGUMENT, _INVALID_USAGE = 4, 5
_WORDS = {
    _INVALID_ARGUMENT: "NCCL_ERROR_INVALID_ARGUMENT: invalid argument (run with NCCL_DEBUG=WARN for details)",
    _INVALID_USAGE: "NCCL_ERROR_INVALID_USAGE: invalid usage (run with NCCL_DEBUG=WARN for details)",
}
_ID_BYTES = 128


class NcclError(RuntimeError):
    """`cupy.cuda.nccl.NcclError`."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(_WORDS[status])


class _Room:
    """Where the ranks of one identity meet."""

    def __init__(self, size: int) -> None:
        self.devices: dict[int, int] = {}
        self.barrier = threading.Barrier(size)
        self.wires: dict[tuple[int, int], SimpleQueue[bytes]] = {
            (source, target): SimpleQueue() for source in range(size) for target in range(size)
        }


class _Call(NamedTuple):
    """A send or a receive that is to be done when its group ends."""

    communicator: "NcclCommunicator"
    sends: bool
    address: int
    nbytes: int
    peer: int


class _Group(threading.local):
    """Of each thread the calls of the group that has begun; None outside of one."""

    calls: list[_Call] | None = None


class NcclCommunicator:
    """`cupy.cuda.nccl.NcclCommunicator`."""

    _cupy: ClassVar[Any]
    _rooms: ClassVar[dict[bytes, _Room]]
    _lock: ClassVar[threading.Lock]
    _group: ClassVar[_Group]
    _alone: ClassVar[bool]

    def __init__(self, ndev: int, commId: bytes, rank: int, config: None = None) -> None:
        if len(commId) != _ID_BYTES:
            raise ValueError(f"commId length {len(commId)} != {_ID_BYTES}.")
        if not 0 <= rank < ndev:
            raise NcclError(_INVALID_ARGUMENT)
        with self._lock:
            self._room = self._rooms.setdefault(commId, _Room(ndev))
            self._room.devices[rank] = self._cupy._current.index
        self._rank, self._size = rank, ndev
        self._device: int = self._cupy._current.index
        if self._alone:
            return
        try:
            self._room.barrier.wait(PATIENCE)
        except threading.BrokenBarrierError:
            raise KernelError(f"NCCL: rank {rank} of {ndev} waited for the others in vain") from None
        if len(set(self._room.devices.values())) < ndev:  # "Duplicate GPU detected"
            raise NcclError(_INVALID_USAGE)

    def rank_id(self) -> int:
        return self._rank

    def size(self) -> int:
        return self._size

    def device_id(self) -> int:
        return self._device

    def check_async_error(self) -> None:
        """There is none."""

    def send(self, sendbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._note(True, sendbuf, count, datatype, peer, stream)

    def recv(self, recvbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._note(False, recvbuf, count, datatype, peer, stream)

    def _note(self, sends: bool, address: int, count: int, datatype: int, peer: int, stream: int) -> None:
        if datatype != NCCL_UINT8 or not 0 <= peer < self._size:
            raise NcclError(_INVALID_ARGUMENT)
        if self._group.calls is None:
            raise KernelError(
                "NCCL: a send or receive outside of a group waits until the other rank's begins: for ever, if both send"
            )
        if not isinstance(stream, int):
            raise TypeError("an integer is required")
        self._check_memory(address, count)
        self._group.calls.append(_Call(self, sends, address, count, peer))

    def _check_memory(self, address: int, count: int) -> None:
        block = block_at(address)
        if block is None or address + count > block.end:
            raise KernelError(f"NCCL: {count} bytes from {address:#x} are not in one array of a device")
        if block.device != self._device:
            raise KernelError(f"NCCL: memory of cuda:{block.device}, the communicator is of cuda:{self._device}")

    def _send(self, call: _Call) -> None:
        self._room.wires[self._rank, call.peer].put(_memory(call).tobytes())

    def _receive(self, call: _Call) -> None:
        try:
            came = self._room.wires[call.peer, self._rank].get(timeout=PATIENCE)
        except Empty:
            raise KernelError(f"NCCL: rank {self._rank} waited for rank {call.peer} in vain") from None
        if len(came) != call.nbytes:
            raise KernelError(
                f"NCCL: rank {call.peer} sends {len(came)} bytes, rank {self._rank} receives {call.nbytes}: both wait for ever"
            )
        _memory(call)[...] = np.frombuffer(came, np.uint8)


def _memory(call: _Call) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_ubyte * call.nbytes).from_address(call.address))


def make_nccl(cupy: Any, make_module: Callable[..., ModuleType], alone: bool = False) -> ModuleType:
    """`cupy.cuda.nccl` for one stand-in. `alone`: one rank plays, nothing comes, and all is noted."""
    group = _Group()

    def group_start() -> None:
        group.calls = []

    def group_end() -> None:
        calls, group.calls = group.calls, None
        if calls is None:
            raise NcclError(_INVALID_USAGE)
        if not calls:
            return
        sent, received = (sum(call.nbytes for call in calls if call.sends is way) for way in (True, False))
        away = sum(call.nbytes for call in calls if call.sends and call.peer != call.communicator.rank_id())
        cupy.operation_log.add("exchange", "nccl", (len(calls), away), sent, received)
        if not alone:
            for call in calls:
                if call.sends:
                    call.communicator._send(call)
            for call in calls:
                if not call.sends:
                    call.communicator._receive(call)

    bound = {"_cupy": cupy, "_rooms": {}, "_lock": threading.Lock(), "_group": group, "_alone": alone}
    return make_module(
        "cupy.cuda.nccl",
        available=True,
        NCCL_UINT8=NCCL_UINT8,
        NcclError=NcclError,
        NcclCommunicator=type("NcclCommunicator", (NcclCommunicator,), {**bound, "__module__": "cupy.cuda.nccl"}),
        get_unique_id=lambda: secrets.token_bytes(_ID_BYTES),
        get_version=lambda: 22900,
        groupStart=group_start,
        groupEnd=group_end,
    )
