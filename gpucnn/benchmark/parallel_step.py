"""A step of two processes beside one: what communication takes, with and without early slices, and how well they share.

    GPUCNN_NUM_THREADS=1 mpiexec -n 2 python -m gpucnn.benchmark.parallel_step [MODEL [BATCH]]

All turns are interleaved, every other one in the opposite order, and of the same shards, one a process: rank 0 alone, which
computes all of them, while the others sleep; all together, sending slices early; all together, sending all at the end; and each
for itself, at the same time, a step on its shard alone, which tells what the machine allows: its cores share memory and clock.
Times are ratios of medians.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np

from gpucnn.backend import Array, Device
from gpucnn.backend.group import Exchange, Group, SingleProcess
from gpucnn.backend.mpi import world
from gpucnn.backend.threads import thread_count
from gpucnn.benchmark.training_step import CLASSES, LEARNING_RATE, MOMENTUM, Workload
from gpucnn.data import ArrayDataset, DataLoader
from gpucnn.models import create
from gpucnn.optim import SGD
from gpucnn.training import Trainer
from gpucnn.training.sharded_step import ShardedStep
from gpucnn.training.sharding import Sharding

WARM_UP, TURNS = 5, 20
ALONE, EARLY, LATE, APART = range(4)
"""Columns of what is measured."""


class TimedGroup:
    """A group, and the seconds that its calls have taken, waiting for others among them."""

    def __init__(self, group: Group) -> None:
        self._group, self.rank, self.size, self.seconds = group, group.rank, group.size, 0.0

    def timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What the call gives."""
        start = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            self.seconds += time.perf_counter() - start

    def exchange(self, sent: Sequence[Array], received: Sequence[Array]) -> Exchange:
        """See `Group.exchange`."""
        return _TimedExchange(self, self.timed(self._group.exchange, sent, received))

    def gather(self, value: Any) -> list[Any]:
        """See `Group.gather`."""
        return list(self.timed(self._group.gather, value))

    def abort(self, status: int) -> NoReturn:
        """See `Group.abort`."""
        self._group.abort(status)


class _TimedExchange:
    def __init__(self, group: TimedGroup, exchange: Exchange) -> None:
        self._group, self._exchange = group, exchange

    def advance(self) -> None:
        """See `Exchange.advance`."""
        self._group.timed(self._exchange.advance)

    def wait(self) -> None:
        """See `Exchange.wait`."""
        self._group.timed(self._exchange.wait)


class Shares(NamedTuple):
    """What was measured of steps of several processes."""

    early: float
    """The share of a step in communication, waiting included, of the process that spends most on it; slices go early."""
    late: float
    """The same; all is sent after the backward pass."""
    late_over_early: float
    """How long a step takes without early slices, over one with them."""
    efficiency: float
    """How long one process takes, over that of all together, times their number; slices go early."""
    allowed: float
    """The same of processes that wait for nobody: how long the slowest takes for a batch of its shard's size."""


def measure(group: Group, workload: Workload, turns: int = TURNS) -> Shares | None:
    """The shares, on rank 0; None on the others. All ranks call it."""
    groups = [TimedGroup(one) for one in (SingleProcess(), group, group, SingleProcess())]
    steps = [_step(workload, group.size, one) for one in groups[:APART]]
    steps.append(_step(Workload(workload.model, workload.batch_size // group.size), 1, groups[APART]))
    cast(ShardedStep, steps[LATE].trainer.training_step)._payload.cuts = ()
    seconds = np.zeros((turns, len(steps)))
    waited = np.zeros_like(seconds)
    for turn in range(-WARM_UP, turns):
        for way in (ALONE, EARLY, LATE, APART)[:: -1 if turn % 2 else 1]:
            group.gather(None)
            groups[way].seconds = 0.0
            took = steps[way]() if way != ALONE or group.rank == 0 else 0.0
            if turn >= 0:
                seconds[turn, way], waited[turn, way] = took, groups[way].seconds
    everywhere = group.gather((seconds, waited))
    if group.rank:
        return None
    both = slice(EARLY, APART)
    shares = [np.median(spent[:, both] / times[:, both], axis=0) for times, spent in everywhere]
    one, with_early, without = (statistics.median(seconds[:, way]) for way in (ALONE, EARLY, LATE))
    apart = statistics.median(np.max([times[:, APART] for times, _ in everywhere], axis=0))
    early_share, late_share = (float(max(rank[way] for rank in shares)) for way in range(2))
    return Shares(
        early_share, late_share, without / with_early, one / with_early / group.size, one / apart / group.size
    )


class _Step:
    """A trainer's step on one batch."""

    def __init__(self, trainer: Trainer, batch: tuple[np.ndarray, np.ndarray]) -> None:
        self.trainer, self._batch = trainer, batch

    def __call__(self) -> float:
        """Seconds of a step."""
        start = time.perf_counter()
        self.trainer.train_step(*self._batch)
        return time.perf_counter() - start


def _step(workload: Workload, shards: int, group: Group) -> _Step:
    images, labels = workload.batch()
    model = create(workload.model, CLASSES, seed=0).to(Device())
    loader = DataLoader(ArrayDataset(images, labels), len(labels))
    optimizer = SGD(model.parameters(), LEARNING_RATE, MOMENTUM)
    return _Step(Trainer(model, optimizer, loader, sharding=Sharding(shards, group)), (images, labels))


def main(model: str = "resnet20", batch_size: str = "128") -> None:
    """Measure, and print it on rank 0."""
    group = world()
    found = measure(group, Workload(model, int(batch_size)))
    if found is not None:
        print(
            f"{model}, batch of {batch_size} in {group.size} shards, {thread_count()} thread(s) a process, {TURNS} turns\n"
            f"share of a step in communication   {found.early:.3f} with early slices, {found.late:.3f} without\n"
            f"a step without early slices        {found.late_over_early:.3f} of one with them\n"
            f"efficiency of {group.size} processes          {found.efficiency:.3f} (one process: 1), {found.allowed:.3f} if they wait for nobody"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
