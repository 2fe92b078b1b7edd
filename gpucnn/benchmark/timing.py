"""Timing contestants side by side, so that what the machine does meanwhile does them equal harm, or none.

They take turns, in blocks: A B C, C B A, and so on. Three things have falsified such measurements by factors of two to
four, and are taken care of:

- Thread pools spin. After a call, the other threads of OpenBLAS or OpenMP wait actively for some 25 ms, and take the cores
  from whoever comes next. Each block so begins with a pause, and with calls that are not timed.
- New memory costs page faults, which may take longer than the arithmetic. C libraries adapt to what a program frees, so
  the first calls are not timed, and the page faults of the others are counted. See `malloc` for a run without them.
- Other processes disturb. A block during which they had more than a small share of a core does not count.
"""

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from gpucnn.benchmark.stopwatch import Run, Stopwatch
from gpucnn.benchmark.surroundings import Surroundings

PAUSE = 0.04
BLOCK = 0.1
"""Seconds that the timed calls of a block take, or more."""
MOST_CALLS = 1000
WARM_UP_CALLS = 2
ROUNDS, FEWEST_ROUNDS = 9, 2
"""Undisturbed blocks of each contestant: as many if there is time, so many in any case unless it is three times over."""
DISTURBED_SHARE = 0.06
"""Of one core, while a block ran."""

Key = TypeVar("Key")


class Contestant(NamedTuple):
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
    """All blocks of a contestant."""

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


def measure(
    contestants: Mapping[Key, Contestant], budget: float, surroundings: Surroundings | None = None
) -> dict[Key, Timing]:
    """Time the contestants in turns until each has ROUNDS undisturbed blocks, or until `budget` seconds are over."""
    around = surroundings or Surroundings()
    calls = {key: _calls_in_a_block(one) for key, one in contestants.items()}
    timings = {key: Timing([]) for key in contestants}
    start, turns = around.now(), list(contestants)
    while True:
        for key in turns:
            if len(timings[key].undisturbed) < ROUNDS:
                timings[key].blocks.append(_block(contestants[key], calls[key], around))
        turns.reverse()
        elapsed, fewest = around.now() - start, min(len(timing.undisturbed) for timing in timings.values())
        if fewest == ROUNDS or (elapsed > budget and fewest >= FEWEST_ROUNDS) or elapsed > 3 * budget:
            return timings


def _calls_in_a_block(contestant: Contestant) -> int:
    for _ in range(WARM_UP_CALLS):
        contestant.run()
    seconds = contestant.stopwatch(contestant.run, 1)
    return MOST_CALLS if seconds * MOST_CALLS < BLOCK else math.ceil(BLOCK / seconds)


def _block(contestant: Contestant, calls: int, around: Surroundings) -> Block:
    around.sleep(PAUSE)
    contestant.run()
    others, faults, start = around.others(), around.page_faults(), around.now()
    seconds = contestant.stopwatch(contestant.run, calls)
    elapsed, faults, others_after = around.now() - start, around.page_faults() - faults, around.others()
    disturbance = 0.0
    if others is not None and others_after is not None and elapsed > 0:
        disturbance = max(0.0, others_after - others - around.tick) / elapsed
    return Block(seconds, faults / calls, disturbance)
