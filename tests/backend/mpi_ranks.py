"""What `test_mpi.py` runs on several ranks: it says "fine" on each, or fails."""

import sys
import time

import numpy as np

from gpucnn.backend import Device, mpi
from gpucnn.backend.group import SingleProcess
from gpucnn.optim.shard_sum import ShardSum

SHARDS, LENGTH = 7, 100_003


def given(rank: int, other: int, dtype: str) -> np.ndarray:
    """What a rank sends another one: nothing, a little, or more than MPI sends at once."""
    size = ((rank * 2 + other) % 4) * 60_000 + rank * (rank + other) % 2
    return np.random.default_rng([rank, other]).integers(0, 200, size).astype(dtype)


def check_exchange(group: mpi.MpiGroup) -> None:
    ranks, under_way = range(group.size), []
    for dtype in ("f4", "f8", "u1", "i8"):  # all at the same time
        received = [np.full(given(other, group.rank, dtype).shape, 99, dtype) for other in ranks]
        under_way.append(
            (dtype, received, group.exchange([given(group.rank, other, dtype) for other in ranks], received))
        )
    assert group.gather(group.rank) == list(ranks)
    for dtype, received, exchange in under_way:
        exchange.wait()
        for other, array in enumerate(received):
            assert array.tobytes() == given(other, group.rank, dtype).tobytes()


def check_gather(group: mpi.MpiGroup) -> None:
    assert group.gather({"text": "x" * group.rank * 100_000}) == [
        {"text": "x" * rank * 100_000} for rank in range(group.size)
    ]
    rank, here = group.host()
    assert (rank, here) == (group.rank, group.size)


def check_sums(group: mpi.MpiGroup) -> None:
    values = np.random.default_rng(1).standard_normal((SHARDS, LENGTH)).astype(np.float32)
    values *= 10.0 ** np.random.default_rng(2).integers(-3, 4, values.shape).astype(np.float32)
    found = []
    for one in (group, SingleProcess()):
        total = ShardSum(one, SHARDS, LENGTH, np.dtype("f4"), Device())
        for shard in total.own:
            total.place(shard)[...] = values[shard]
            total.add(shard, 0, 50_000)
            total.add(shard, 50_000)
        found.append(total.total().tobytes())
    assert found[0] == found[1]


def check_naps(group: mpi.MpiGroup) -> None:
    """Who waits long sleeps."""
    slept: list[float] = []
    sleep = time.sleep
    if group.rank == 0:
        sleep(0.2)
    else:
        mpi.time.sleep = lambda seconds: (slept.append(seconds), sleep(seconds))[1]
    group.gather(None)
    mpi.time.sleep = sleep
    assert group.rank == 0 or mpi.NAP in slept


def main() -> None:
    group = mpi.world()
    print("in memory", *mpi._shared_memory("self"), flush=True)
    for check in (check_exchange, check_gather, check_sums, check_naps):
        check(group)
    print("fine", flush=True)
    if "abort" in sys.argv:
        if group.rank == 1:
            group.abort(3)
        group.gather(None)  # where the others wait for it


main()
