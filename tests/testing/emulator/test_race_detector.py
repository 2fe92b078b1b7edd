"""The race detector against all pairs of accesses, in random programs."""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import gpucnn
from gpucnn.errors import KernelError
from gpucnn.testing.emulator import EmulatedFunction, Emulator

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


COPY, WAIT = 6, 7

COPYING_SOURCE = """
extern "C" __global__ void interpret_copies(
    const int* operations, const int* cells, const int* barriers, const int* source, int steps)
{
    __shared__ int memory[64];
    const int thread = threadIdx.x;
    volatile int* plain = memory;
    plain[thread] = 0;
    __syncthreads();
    for (int step = 0; step < steps; ++step) {
        int* cell = memory + cells[step * blockDim.x + thread];
        switch (operations[step * blockDim.x + thread]) {
            case 1: (void)*(volatile int*)cell; break;
            case 2: *(volatile int*)cell = 1; break;
            case 3: atomicAdd(cell, 1); break;
            case 6: copy_async<4>(cell, source); break;
        }
        if (barriers[step] == 4) __syncwarp();
        if (barriers[step] == 5) __syncthreads();
        if (barriers[step] == 7) wait_for_all_copies();
    }
    wait_for_all_copies();
}
"""


class Moment(NamedTuple):
    """Of an access, of the start of a copy, or of its being waited for, later in the same step."""

    thread: int
    step: float
    warp_epoch: int
    epoch: int


class Stretch(NamedTuple):
    """An access, or a copy from its start until it was waited for."""

    operation: int
    cell: int
    start: Moment
    end: Moment


def comes_before(first: Moment, second: Moment) -> bool:
    if first.thread == second.thread:
        return first.step < second.step
    same_warp = first.thread // 32 == second.thread // 32
    return first.epoch < second.epoch or (same_warp and first.warp_epoch < second.warp_epoch)


def stretches_race(first: Stretch, second: Stretch) -> bool:
    """By definition: two of one cell of which one writes, not both atomic, neither of which ends before the other starts."""
    if first.cell != second.cell or (first.operation, second.operation) in ((READ, READ), (ATOMIC, ATOMIC)):
        return False
    return not (comes_before(first.end, second.start) or comes_before(second.end, first.start))


def interpreter_of_copies(order: str) -> EmulatedFunction:
    header = Path(gpucnn.__file__).parent / "kernels" / "warp.cuh"
    return Emulator("check", order).module(header.read_text() + COPYING_SOURCE).function("interpret_copies")


def test_a_copy_after_atomics_of_two_threads() -> None:
    operations, cells = np.zeros((3, THREADS), np.int32), np.zeros((3, THREADS), np.int32)
    operations[0, :2], operations[1, 1], operations[2, 1] = ATOMIC, COPY, READ
    barriers = np.array([SYNCTHREADS, WAIT, NOTHING], np.int32)
    interpreter_of_copies("forward")((1,), (THREADS,), (operations, cells, barriers, np.ones(1, np.int32), np.int32(3)))


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_copies_against_all_pairs(order: str) -> None:
    function = interpreter_of_copies(order)
    rng, steps, verdicts = np.random.default_rng(20261130), 6, []
    for _ in range(300):
        shape = (steps, THREADS)
        # Now and then four threads share a few cells, so that the same ones come to a cell again and again.
        few = rng.random() < 0.5
        busy = (rng.random(shape) < rng.uniform(0, 0.3 if few else 0.05)) & (
            np.arange(THREADS) % 32 < (2 if few else 32)
        )
        chosen = rng.choice([READ, WRITE, ATOMIC, COPY], shape, p=rng.dirichlet([0.5, 0.3, 1, 0.7]))
        operations = np.where(busy, chosen, NOTHING).astype(np.int32)
        cells = rng.integers(0, 3 if few else 64, shape, np.int32)
        barriers = rng.choice([NOTHING, SYNCWARP, SYNCTHREADS, WAIT], steps, p=[0.1, 0.2, 0.3, 0.4]).astype(np.int32)
        epochs, warp_epochs = (np.cumsum(np.insert(barriers == kind, 0, 0)) for kind in (SYNCTHREADS, SYNCWARP))

        def moment(thread: int, step: int, later: float = 0, counts: tuple[Any, Any] = (warp_epochs, epochs)) -> Moment:
            return Moment(thread, step + later, int(counts[0][step]), int(counts[1][step]))

        made = []
        for step, thread in np.argwhere(operations != NOTHING).tolist():
            operation, start = int(operations[step, thread]), moment(thread, step)
            waits = [at for at in range(step, steps) if barriers[at] == WAIT]
            end = moment(thread, waits[0] if waits else steps, 0.5) if operation == COPY else start
            made.append(Stretch(operation, int(cells[step, thread]), start, end))
        expected = any(stretches_race(first, second) for first, second in itertools.combinations(made, 2))
        report = ""
        try:
            function((1,), (THREADS,), (operations, cells, barriers, np.ones(1, np.int32), np.int32(steps)))
        except KernelError as error:
            report = str(error)
        assert report.startswith("interpret_copies: race on byte ") == expected, report
        verdicts.append(expected)
    assert 60 < sum(verdicts) < 240, "programs of both kinds"
