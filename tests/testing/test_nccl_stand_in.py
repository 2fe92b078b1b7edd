"""The stand-in's NCCL refuses what NCCL refuses, and what would make it wait for ever."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn.errors import KernelError
from gpucnn.testing import nccl_stand_in
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.emulator import Emulator
from tests.backend.thread_group import ThreadGroup, on_ranks


@pytest.fixture
def cupy() -> CupyStandIn:
    return CupyStandIn(Emulator(), devices=2)


def communicating(cupy: CupyStandIn, work: Callable[[Any, int], None], devices: tuple[int, int] = (0, 1)) -> None:
    identity = cupy.cuda.nccl.get_unique_id()

    def one(group: ThreadGroup) -> None:
        with cupy.cuda.Device(devices[group.rank]):
            work(cupy.cuda.nccl.NcclCommunicator(2, identity, group.rank), group.rank)

    on_ranks(2, one)


def test_what_would_wait_for_ever(cupy: CupyStandIn) -> None:
    nccl = cupy.cuda.nccl

    def outside(communicator: Any, rank: int) -> None:
        array = cupy.zeros(3, np.uint8)
        with pytest.raises(KernelError, match="outside of a group"):
            communicator.send(array.data.ptr, 3, nccl.NCCL_UINT8, 1 - rank, 0)

    def uneven(communicator: Any, rank: int) -> None:
        array = cupy.zeros(8, np.uint8)
        nccl.groupStart()
        communicator.send(array.data.ptr, 2 + rank, nccl.NCCL_UINT8, 1 - rank, 0)
        communicator.recv(array.data.ptr, 5, nccl.NCCL_UINT8, 1 - rank, 0)
        with pytest.raises(KernelError, match=f"rank {1 - rank} sends {3 - rank} bytes, rank {rank} receives 5"):
            nccl.groupEnd()

    communicating(cupy, outside)
    communicating(cupy, uneven)


def test_a_rank_that_does_not_come(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nccl_stand_in, "PATIENCE", 0.01)
    with pytest.raises(KernelError, match="rank 1 of 2 waited for the others in vain"):
        cupy.cuda.nccl.NcclCommunicator(2, cupy.cuda.nccl.get_unique_id(), 1)


def test_memory_that_is_not_there_or_anothers(cupy: CupyStandIn) -> None:
    nccl = cupy.cuda.nccl

    def wrong(communicator: Any, rank: int) -> None:
        array = cupy.zeros(16, np.uint8)
        with cupy.cuda.Device(1 - rank):
            foreign = cupy.zeros(16, np.uint8)
        host = np.zeros(4, np.uint8)
        nccl.groupStart()
        for address, count, words in (
            (array.data.ptr, 17, "17 bytes from .* are not in one array"),
            (host.__array_interface__["data"][0], 4, "are not in one array of a device"),
            (foreign.data.ptr, 4, f"memory of cuda:{1 - rank}, the communicator is of cuda:{rank}"),
        ):
            for call in (communicator.send, communicator.recv):
                with pytest.raises(KernelError, match=words):
                    call(address, count, nccl.NCCL_UINT8, 1 - rank, 0)
        for datatype, peer in ((7, 0), (nccl.NCCL_UINT8, 2)):
            with pytest.raises(nccl.NcclError, match="NCCL_ERROR_INVALID_ARGUMENT"):
                communicator.send(array.data.ptr, 1, datatype, peer, 0)
        nccl.groupEnd()

    communicating(cupy, wrong)


def test_two_ranks_on_one_device_and_wrong_identities(cupy: CupyStandIn) -> None:
    with pytest.raises(cupy.cuda.nccl.NcclError, match="NCCL_ERROR_INVALID_USAGE"):
        communicating(cupy, lambda communicator, rank: None, devices=(1, 1))
    with pytest.raises(ValueError, match="commId length 3 != 128"):
        cupy.cuda.nccl.NcclCommunicator(2, b"abc", 0)
    with pytest.raises(cupy.cuda.nccl.NcclError, match="NCCL_ERROR_INVALID_USAGE"):
        cupy.cuda.nccl.groupEnd()


def test_names_are_those_of_cupy() -> None:
    real = pytest.importorskip("cupy.cuda.nccl", reason="CuPy is not installed, with whose names to compare")
    if not real.available:
        pytest.skip("CuPy finds no NCCL, with whose names to compare")
    own = CupyStandIn(Emulator(), devices=1).cuda.nccl
    assert {name for name in vars(own) if not name.startswith("_")} - set(dir(real)) == set()
    assert own.NCCL_UINT8 == real.NCCL_UINT8
    assert issubclass(real.NcclError, RuntimeError)
    assert str(real.NcclError(4)).startswith("NCCL_ERROR_INVALID_ARGUMENT: ")
    assert str(real.NcclError(5)).startswith("NCCL_ERROR_INVALID_USAGE: ")
    for name in ("send", "recv", "check_async_error", "rank_id", "size", "device_id"):
        ours = list(inspect.signature(getattr(own.NcclCommunicator, name)).parameters)[1:]
        theirs = getattr(real.NcclCommunicator, name).__doc__ or ""
        assert all(parameter in theirs for parameter in ours) or not theirs, (name, theirs)
    identity = real.get_unique_id()
    assert (type(identity), len(identity)) == (bytes, 128)
