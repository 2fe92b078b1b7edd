"""The race detector against all pairs of accesses, in random programs."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from gpucnn.errors import KernelError
from gpucnn.testing.emulator import Emulator

BLOCKS, THREADS, STEPS = 2, 64, 4
NOTHING, READ, WRITE, ATOMIC, SYNCWARP, SYNCTHREADS = range(6)

SOURCE = """
extern "C" __global__ void interpret(const int* operations, const int* cells, const int* barriers, int* memory, int steps)
{
    const int count = gridDim.x * blockDim.x;
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    volatile int* plain = memory;
    for (int step = 0; step < steps; ++step) {
        const int cell = cells[step * count + thread];
        switch (operations[step * count + thread]) {
            case 1: (void)plain[cell]; break;
            case 2: plain[cell] = 1; break;
            case 3: atomicAdd(&memory[cell], 1); break;
        }
        if (barriers[step] == 4) __syncwarp();
        if (barriers[step] == 5) __syncthreads();
    }
}
"""


class Access(NamedTuple):
    operation: int
    cell: int
    block: int
    thread: int
    warp_epoch: int
    epoch: int


def races(first: Access, second: Access) -> bool:
    """By definition: two accesses of one cell of which one writes, not both atomic, that nothing orders."""
    if first.cell != second.cell or (first.operation, second.operation) in ((READ, READ), (ATOMIC, ATOMIC)):
        return False
    if first.block != second.block:
        return True
    same_warp = first.thread // 32 == second.thread // 32
    ordered = (
        first.thread == second.thread
        or first.epoch != second.epoch
        or (same_warp and first.warp_epoch != second.warp_epoch)
    )
    return not ordered


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_against_all_pairs(order: str) -> None:
    function = Emulator("check", order).module(SOURCE).function("interpret")
    rng = np.random.default_rng(20261124)
    verdicts = []
    for _ in range(150):
        shape = (STEPS, BLOCKS, THREADS)
        operations = np.where(
            rng.random(shape) < rng.uniform(0, 0.1),
            rng.choice([READ, WRITE, ATOMIC], shape, p=rng.dirichlet([1, 0.3, 1])),
            NOTHING,
        ).astype(np.int32)
        # Sometimes the two blocks have cells of their own, so that it is left to barriers to make a program clean.
        cells = rng.integers(0, 60, shape, np.int32) + 60 * rng.integers(0, 2, (1, BLOCKS, 1), np.int32)
        barriers = rng.choice([NOTHING, SYNCWARP, SYNCTHREADS], STEPS).astype(np.int32)
        epochs, warp_epochs = (np.cumsum(np.insert(barriers == kind, 0, 0)) for kind in (SYNCTHREADS, SYNCWARP))
        accesses = [
            Access(int(operations[i]), int(cells[i]), i[1], i[2], int(warp_epochs[i[0]]), int(epochs[i[0]]))
            for i in np.ndindex(shape)
            if operations[i] != NOTHING
        ]
        expected = any(races(first, second) for first, second in itertools.combinations(accesses, 2))
        memory = np.zeros(1000, np.int32)
        report = ""
        try:
            function((BLOCKS,), (THREADS,), (operations, cells, barriers, memory, np.int32(STEPS)))
        except KernelError as error:
            report = str(error)
        assert report.startswith("interpret: race on byte ") == expected, report
        verdicts.append(expected)
    assert 30 < sum(verdicts) < 120, "programs of both kinds"
