"""What a recorded step on the CPU takes beside its loops."""

import time

from gpucnn.benchmark.training_step import Recorded
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler.recording import CallList
from gpucnn.kernels.ways import use
from gpucnn.training.recorder import FIRST

TURNS = 200


def seconds_outside_of_loops(recorded: Recorded, turns: int = TURNS) -> float | None:
    """How long a step takes at best whose loops do nothing: what Python and threads take. None for one that is not recorded.

    It is recorded for that, and is of no more use afterwards.
    """
    with use("jit"):
        for _ in range(FIRST + 1):
            recorded()
        found = recorded.step.recorder.replayed()
        if found is None:
            return None
        assert isinstance(found.recording, CallList)
        found.recording = found.recording.calling(loop.nothing())
        return min(_seconds(recorded) for _ in range(turns))


def _seconds(recorded: Recorded) -> float:
    start = time.perf_counter()
    recorded()
    return time.perf_counter() - start
