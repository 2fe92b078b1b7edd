"""Timing rivals side by side, so that what the machine does meanwhile does them equal harm, or none.

They take turns, in blocks: A B C, C B A, and so on. Three things have falsified such measurements by factors of two to
four, and are taken care of:

- Thread pools spin. After a call, the other threads of OpenBLAS or OpenMP wait actively for some 25 ms, and take the cores
  from whoever comes next. Each block so begins with a pause, and with calls that are not timed.
- New memory costs page faults, which may take longer than the arithmetic. C libraries adapt to what a program frees, so
  the first calls are not timed, and the page faults of the others are counted. See `machine.keep_freed_memory` for a run without them.
- Other processes disturb. A block during which they had more than a small share of a core does not count.
"""

import math
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from gpucnn.benchmark.stopwatch import Run, Stopwatch

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

STAT = Path("/proc/stat")

PAUSE = 0.04
BLOCK = 0.1
"""Seconds that the timed calls of a block take, or more."""
MOST_CALLS = 1000
WARM_UP_CALLS = 2
ROUNDS, FEWEST_ROUNDS = 9, 2
"""Undisturbed blocks of each rival: the first number if there is time, the second unless the time is three times over."""
DISTURBED_SHARE = 0.06
"""Of one core, while a block ran."""

Key = TypeVar("Key")


class Surroundings:
    """The clock, other processes, and the operating system's work for this one. Tests have others."""

    tick: float = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
    """The seconds that processor time of other processes is counted in."""

    def now(self) -> float:
        """Seconds, from some beginning."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Do nothing for that long."""
        time.sleep(seconds)

    def others(self) -> float | None:
        """Seconds of processor time that others than this process have had, of all cores, from some beginning.

        Those that a virtual machine's host took away count, too. None where the system does not tell (only Linux does).
        """
        try:
            fields = STAT.read_text().split("\n", 1)[0].split()[1:9]
        except OSError:
            return None
        user, nice, system, _, _, irq, softirq, steal = map(int, fields)
        return (user + nice + system + irq + softirq + steal) * self.tick - time.process_time()

    def page_faults(self) -> int:
        """How many pages this process has been given so far; 0 where the system does not tell."""
        return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_minflt


class Timed(NamedTuple):
    """What to call, and what measures it."""

    run: Run
    stopwatch: Stopwatch


class Block(NamedTuple):
    """Some calls in a row."""

    seconds: float
    """Of each."""
    page_faults: float
    """Of each."""
    disturbance: float
    """The share of a core that other processes had meanwhile, beyond what the system's clock cannot tell."""

    @property
    def disturbed(self) -> bool:
        """Whether the block does not count."""
        return self.disturbance > DISTURBED_SHARE


class Timing(NamedTuple):
    """All blocks of one rival."""

    blocks: list[Block]

    @property
    def counted(self) -> list[Block]:
        """Those that were not disturbed; if all were, the one that was least."""
        return self.undisturbed or [min(self.blocks, key=lambda block: block.disturbance)]

    @property
    def undisturbed(self) -> list[Block]:
        """Those that were not disturbed."""
        return [block for block in self.blocks if not block.disturbed]

    @property
    def median(self) -> float:
        """Seconds of a call: the median of the blocks that count."""
        return statistics.median(block.seconds for block in self.counted)

    @property
    def page_faults(self) -> float:
        """Page faults of a call: the median of the blocks that count."""
        return statistics.median(block.page_faults for block in self.counted)


def measure(rivals: Mapping[Key, Timed], budget: float, surroundings: Surroundings | None = None) -> dict[Key, Timing]:
    """Time the rivals in turns until each has ROUNDS undisturbed blocks, or until `budget` seconds are over."""
    around = surroundings or Surroundings()
    calls = {key: _calls_in_a_block(one) for key, one in rivals.items()}
    timings = {key: Timing([]) for key in rivals}
    start, turns = around.now(), list(rivals)
    while True:
        for key in turns:
            if len(timings[key].undisturbed) < ROUNDS:
                timings[key].blocks.append(_block(rivals[key], calls[key], around))
        turns.reverse()
        elapsed, fewest = around.now() - start, min(len(timing.undisturbed) for timing in timings.values())
        if fewest == ROUNDS or (elapsed > budget and fewest >= FEWEST_ROUNDS) or elapsed > 3 * budget:
            return timings


def _calls_in_a_block(timed: Timed) -> int:
    for _ in range(WARM_UP_CALLS):
        timed.run()
    seconds = timed.stopwatch(timed.run, 1)
    return MOST_CALLS if seconds * MOST_CALLS < BLOCK else math.ceil(BLOCK / seconds)


def _block(timed: Timed, calls: int, around: Surroundings) -> Block:
    around.sleep(PAUSE)
    timed.run()
    others, faults, start = around.others(), around.page_faults(), around.now()
    seconds = timed.stopwatch(timed.run, calls)
    elapsed, faults, others_after = around.now() - start, around.page_faults() - faults, around.others()
    disturbance = 0.0
    if others is not None and others_after is not None and elapsed > 0:
        disturbance = max(0.0, others_after - others - around.tick) / elapsed
    return Block(seconds, faults / calls, disturbance)
