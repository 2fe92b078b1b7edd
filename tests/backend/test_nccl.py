"""Groups whose GPUs exchange arrays by NCCL: threads are the ranks, each with a device of the stand-in's."""

import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gpucnn.backend import Device, current, nccl, to_device, to_host
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.backend.nccl import NcclGroup
from gpucnn.errors import DeviceError
from gpucnn.optim.shard_sum import ShardSum
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.emulator import Emulator, compiler
from tests.backend.thread_group import ThreadGroup, on_ranks

needs_compiler = pytest.mark.skipif(compiler() is None, reason="kernels on the emulator need g++")


@pytest.fixture
def cupy() -> Iterator[CupyStandIn]:
    stand_in = CupyStandIn(Emulator(), devices=4)
    with use_in_place_of_cupy(stand_in):
        yield stand_in


def on_gpus(size: int, work: Callable[[NcclGroup, Device], Any]) -> list[Any]:
    def one(group: ThreadGroup) -> Any:
        device = Device("cuda", group.rank)
        return work(NcclGroup(group, device), device)

    return on_ranks(size, one)


def given(rank: int, other: int, dtype: type) -> np.ndarray:
    """What `rank` sends to `other`: nothing, or a little, or more."""
    return np.random.default_rng([rank, other]).integers(0, 200, (rank * 5 + other * 3) % 11 * 7).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64])
def test_each_gets_what_the_others_send_it(cupy: CupyStandIn, dtype: type) -> None:
    def exchanged(group: NcclGroup, device: Device) -> list[np.ndarray]:
        sent = [to_device(given(group.rank, other, dtype), device) for other in range(group.size)]
        with current(device):
            received = [cupy.full(given(other, group.rank, dtype).shape, 99, dtype) for other in range(group.size)]
        for _ in range(2):
            group.exchange(sent, received).wait()
        return [to_host(array) for array in received]

    for size in (1, 2, 4):
        with cupy.operation_log.recorded() as operations:
            found = on_gpus(size, exchanged)
        for rank, arrays in enumerate(found):
            for other, array in enumerate(arrays):
                assert array.dtype == dtype
                assert array.tobytes() == given(other, rank, dtype).tobytes(), (other, rank)
        launches = [operation for operation in operations if operation.kind == "exchange"]
        nbytes = sum(given(rank, other, dtype).nbytes for rank in range(size) for other in range(size))
        has_some = [
            any(given(rank, other, dtype).size + given(other, rank, dtype).size for other in range(size))
            for rank in range(size)
        ]
        assert len(launches) == 2 * sum(has_some), "one launch a rank and exchange"
        assert sum(one.read for one in launches) == sum(one.written for one in launches) == 2 * nbytes


@needs_compiler
def test_sums_over_shards_are_those_of_one_process(cupy: CupyStandIn) -> None:
    shards, length = 7, 29
    draws = np.random.default_rng(0).standard_normal((shards, length)) * 10.0 ** np.arange(shards)[:, None]
    values = draws.astype(np.float32)
    a, b, c, d, e, f, g = values
    expected = ((a + b) + (c + d)) + ((e + f) + g)
    assert np.isfinite(expected).all()

    def summed(group: NcclGroup, device: Device) -> bytes:
        total = ShardSum(group, shards, length, np.dtype(np.float32), device)
        for _ in range(2):
            for shard in total.own:
                with current(device):
                    total.place(shard)[...] = to_device(values[shard], device)
                for start, stop in ((0, 3), (3, length)):
                    total.add(shard, start, stop)
            found = to_host(total.total()).tobytes()
        return found

    for size in (1, 2, 3, 4):
        assert set(on_gpus(size, summed)) == {expected.tobytes()}, size


def test_arrays_of_the_host_go_by_way_of_the_other_group(cupy: CupyStandIn) -> None:
    def exchanged(group: NcclGroup, device: Device) -> list[int]:
        received = [np.zeros(1, np.int64) for _ in range(group.size)]
        group.exchange([np.array([10 * group.rank + other]) for other in range(group.size)], received).wait()
        assert group.gather(group.rank) == [0, 1, 2]
        return [int(one[0]) for one in received]

    with cupy.operation_log.recorded() as operations:
        assert on_gpus(3, exchanged) == [[0, 10, 20], [1, 11, 21], [2, 12, 22]]
    assert not [one for one in operations if one.kind == "exchange"]


def test_streams_wait_for_each_other(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL begins when what it sends is there; whoever asks for what came waits for NCCL, and the host for nobody."""
    told: list[tuple[str, object, object]] = []
    stream = type(cupy.cuda.Stream(non_blocking=True))
    wait, record = stream.wait_event, stream.record
    monkeypatch.setattr(
        stream, "wait_event", lambda self, event: (told.append(("waits", self, event)), wait(self, event))[1]
    )
    monkeypatch.setattr(
        stream, "record", lambda self, event: (told.append(("records", self, event)), record(self, event))[1]
    )
    end = cupy.cuda.nccl.groupEnd
    monkeypatch.setattr(cupy.cuda.nccl, "groupEnd", lambda: (told.append(("ends", None, None)), end())[1])

    def exchanged(group: NcclGroup, device: Device) -> None:
        with current(device):
            sent, received = cupy.ones(4, np.float32), cupy.zeros(4, np.float32)
            with cupy.cuda.Stream() as own:
                one = group.exchange([sent], [received])
                one.wait()
            (first, computes, computed), (second, moves, before), (third, *_), (fourth, also, arrived), last = told
            assert (first, second, third, fourth) == ("records", "waits", "ends", "records")
            assert computes == own
            assert before is computed
            assert moves == also != own
            assert last == ("waits", own, arrived)

    with cupy.operation_log.recorded() as operations:
        on_gpus(1, exchanged)
    assert not [one for one in operations if one.kind in ("synchronize", "download")]


def test_two_ranks_on_one_gpu_are_refused_everywhere(cupy: CupyStandIn) -> None:
    def refused(group: ThreadGroup) -> str:
        with pytest.raises(DeviceError) as info:
            NcclGroup(group, Device("cuda", max(group.rank - 1, 0)))
        return str(info.value)

    (text,) = set(on_ranks(3, refused))
    assert re.fullmatch(
        r"ranks 0 and 1 of 3 have one GPU, cuda:0 of .+; fix: start as many processes as there are GPUs, and leave out "
        r"--device, or give each its own",
        text,
    )


def test_equal_names_of_machines_and_slots_are_no_fault(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nccl, "socket", ModuleType("socket"))
    names = iter(["a", "b"])
    monkeypatch.setattr(nccl.socket, "gethostname", lambda: next(names), raising=False)
    with pytest.raises(DeviceError, match="NCCL_ERROR_INVALID_USAGE"):  # the stand-in's one machine
        on_ranks(2, lambda group: NcclGroup(group, Device("cuda", 0)))


def test_no_nccl_is_refused_everywhere(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cupy.cuda, "nccl", ModuleType("cupy.cuda.nccl"))
    cupy.cuda.nccl.available = False

    def refused(group: ThreadGroup) -> str:
        with pytest.raises(DeviceError) as info:
            NcclGroup(group, Device("cuda", group.rank))
        return str(info.value)

    assert set(on_ranks(2, refused)) == {
        "rank 0 of 2: CuPy finds no NCCL, which moves arrays between GPUs; fix: pip install nvidia-nccl-cu13 there"
    }


@pytest.mark.parametrize(
    ("word", "fix"),
    [
        ("NCCL_ERROR_REMOTE_ERROR: remote process exited", "another process has ended; see what it printed"),
        ("NCCL_ERROR_SYSTEM_ERROR: unhandled system error", "a machine may not be reached: name the network in NCCL_SOCKET_IFNAME; or /dev/shm may be full"),
        ("NCCL_ERROR_INTERNAL_ERROR: internal error", "start again with NCCL_DEBUG=INFO in the environment, which tells more"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["groupEnd", "check_async_error", "get_unique_id"])
def test_errors_name_rank_and_fix(
    cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch, word: str, fix: str, place: str
) -> None:
    library = cupy.cuda.nccl

    def fails(*_: object) -> None:
        error = library.NcclError(4)
        error.args = (word,)
        raise error

    monkeypatch.setattr(library if hasattr(library, place) else library.NcclCommunicator, place, fails)
    what = "cannot be started" if place == "get_unique_id" else "could not exchange arrays"

    def exchanged(group: NcclGroup, device: Device) -> None:
        with current(device):
            group.exchange([cupy.ones(1)], [cupy.ones(1)]).wait()

    with pytest.raises(DeviceError) as info:
        on_gpus(1, exchanged)
    assert str(info.value) == f"rank 0 of 1: NCCL {what} from cuda:0 ({word}); fix: {fix}"


def test_abort_is_the_other_groups(cupy: CupyStandIn) -> None:
    def aborted(group: NcclGroup, device: Device) -> None:
        with pytest.raises(SystemExit, match="3"):
            group.abort(3)

    on_gpus(1, aborted)
