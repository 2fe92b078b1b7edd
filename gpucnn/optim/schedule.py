"""Learning-rate schedules: functions from the step's number to its learning rate, so that a resumed run goes on alike."""

import math
from collections.abc import Callable
from typing import TypeAlias

from gpucnn.checks import as_count, as_number
from gpucnn.errors import ArgumentError

Schedule: TypeAlias = Callable[[int], float]


def one_cycle(peak: float, total_steps: int, warmup: float = 0.3) -> Schedule:
    """Rise from peak / 25 to `peak` over the share `warmup` of all steps, then fall to almost nothing, on cosines.

    Steps count from 0; past `total_steps` the last rate holds. Raises ArgumentError for numbers out of range.
    Source: Smith and Topin, "Super-convergence", 2018; the shape is that of PyTorch's OneCycleLR.
    """
    as_number(peak, "peak")
    as_count(total_steps, "total_steps")
    if not 0 < warmup < 1:
        raise ArgumentError(
            f"warmup, the share of steps in which the rate rises, must be between 0 and 1, got {warmup!r}"
        )
    start, end = peak / 25, peak / 25e4
    top, last = warmup * total_steps - 1, total_steps - 1

    def rate(step: int) -> float:
        if step < top:
            return _cosine(start, peak, step / top)
        return _cosine(peak, end, min(1.0, (step - top) / (last - top)) if last > top else 1.0)

    return rate


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
