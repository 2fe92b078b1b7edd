"""Learning-rate schedules: functions from the step's number to its learning rate, so that a resumed run goes on alike.

Steps count from 0, over all epochs; who calls a `Scheduler` once an epoch has epochs for steps. Each raises ArgumentError for numbers out of range.
"""

import functools
import inspect
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Real
from typing import ParamSpec, TypeAlias

from gpucnn.checks import as_count, as_number, is_int
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text

Schedule: TypeAlias = Callable[[int], float]
Arguments = ParamSpec("Arguments")


class _Named:
    """A schedule that says what it was made of: cosine(peak=0.1, total_steps=1000)."""

    def __init__(self, text: str, rate: Schedule) -> None:
        self._text, self._rate = text, rate

    def __call__(self, step: int) -> float:
        return self._rate(step)

    def __repr__(self) -> str:
        return self._text


def _named(make: Callable[Arguments, Schedule]) -> Callable[Arguments, Schedule]:
    """`make`, whose schedules say what they were made of."""

    @functools.wraps(make)
    def made(*args: Arguments.args, **options: Arguments.kwargs) -> Schedule:
        rate = make(*args, **options)
        given = inspect.signature(make).bind(*args, **options).arguments
        return _Named(
            f"{make.__name__}({', '.join(f'{name}={value_text(value)}' for name, value in given.items())})", rate
        )

    return made


@_named
def constant(lr: float) -> Schedule:
    """`lr` at every step."""
    lr = as_number(lr, "lr")
    return lambda step: lr


@_named
def step_decay(peak: float, every: int, factor: float = 0.1) -> Schedule:
    """`peak`, multiplied by `factor`, a number from 0 to below 1, after every `every` steps.

    PyTorch's StepLR.
    """
    peak, every, factor = as_number(peak, "peak"), as_count(every, "every"), as_number(factor, "factor", below=1)
    return lambda step: peak * factor ** (step // every)


@_named
def multi_step(peak: float, milestones: Sequence[int], factor: float = 0.1) -> Schedule:
    """`peak`, multiplied by `factor`, a number from 0 to below 1, at each of `milestones`, rising numbers of steps >= 1.

    PyTorch's MultiStepLR.
    """
    peak, factor = as_number(peak, "peak"), as_number(factor, "factor", below=1)
    steps = list(milestones) if isinstance(milestones, Sequence) and not isinstance(milestones, str) else [None]
    if not all(is_int(step) and step >= 1 for step in steps) or any(a >= b for a, b in pairwise(steps)):
        raise ArgumentError(f"milestones must be rising ints >= 1, e.g. [100, 200], got {value_text(milestones)}")
    return lambda step: peak * factor ** bisect_right(steps, step)


@_named
def exponential(peak: float, factor: float) -> Schedule:
    """`peak`, multiplied by `factor`, a number from 0 to below 1, after every step. PyTorch's ExponentialLR."""
    peak, factor = as_number(peak, "peak"), as_number(factor, "factor", below=1)
    return lambda step: peak * factor**step


@_named
def cosine(peak: float, total_steps: int, end: float = 0.0) -> Schedule:
    """Fall from `peak` to `end`, not above it, on half a cosine, which is through after `total_steps`; there `end` holds.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017; PyTorch's
    CosineAnnealingLR.
    """
    peak, end = _falling(peak, end)
    total_steps = as_count(total_steps, "total_steps")
    return lambda step: _cosine(peak, end, min(1.0, step / total_steps))


@_named
def cosine_restarts(peak: float, period: int, growth: int = 1, end: float = 0.0) -> Schedule:
    """Fall from `peak` towards `end`, not above it, on half a cosine, in `period` steps, and begin anew, again and again.

    Each period is `growth`, an int >= 1, times as long as the one before.
    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017; PyTorch's
    CosineAnnealingWarmRestarts.
    """
    peak, end = _falling(peak, end)
    period, growth = as_count(period, "period"), as_count(growth, "growth")

    def rate(step: int) -> float:
        length = period
        if growth == 1:
            step %= period
        while step >= length:
            step, length = step - length, length * growth
        return _cosine(peak, end, step / length)

    return rate


@_named
def one_cycle(peak: float, total_steps: int, warmup: float = 0.3) -> Schedule:
    """Rise from peak / 25 to `peak` over the share `warmup` of all steps, then fall to almost nothing, on cosines.

    Past `total_steps` the last rate holds.
    Source: Smith and Topin, "Super-convergence", 2018; the shape is that of PyTorch's OneCycleLR.
    """
    as_number(peak, "peak")
    as_count(total_steps, "total_steps")
    _as_warmup(warmup)
    start, end = peak / 25, peak / 25e4
    top, last = warmup * total_steps - 1, total_steps - 1

    def rate(step: int) -> float:
        if step < top:
            return _cosine(start, peak, step / top)
        return _cosine(peak, end, min(1.0, (step - top) / (last - top)) if last > top else 1.0)

    return rate


@_named
def polynomial(peak: float, total_steps: int, power: float = 1.0, end: float = 0.0) -> Schedule:
    """Fall from `peak` to `end`, not above it, as (1 - step / total_steps)^power; then `end` holds.

    On a line unless `power` is another number >= 0 than 1. With `end` 0 it is PyTorch's PolynomialLR.
    """
    peak, end = _falling(peak, end)
    total_steps, power = as_count(total_steps, "total_steps"), as_number(power, "power")

    def rate(step: int) -> float:
        return end if step >= total_steps else end + (peak - end) * (1 - step / total_steps) ** power

    return rate


@_named
def triangle(peak: float, total_steps: int, warmup: float = 0.23, start: float = 0.2, end: float = 0.07) -> Schedule:
    """Rise on a line from `start` times `peak` to `peak` over the share `warmup` of all steps, then fall on one to `end` times it.

    The peak is reached at step warmup * total_steps, `end` at `total_steps`, from where it holds. `start` and `end` are from 0 to 1.
    Source: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, whose numbers are the defaults.
    """
    peak, total_steps = as_number(peak, "peak"), as_count(total_steps, "total_steps")
    warmup = _as_warmup(warmup)
    shares = {"start": as_number(start, "start"), "end": as_number(end, "end")}
    for name, share in shares.items():
        if share > 1:
            raise ArgumentError(f"{name}, a share of the peak, must be at most 1, got {value_text(share)}")
    top = warmup * total_steps

    def rate(step: int) -> float:
        if step < top:
            return peak * (shares["start"] + (1 - shares["start"]) * step / top)
        return peak * (1 + (shares["end"] - 1) * min(1.0, (step - top) / (total_steps - top)))

    return rate


@_named
def warm_up(schedule: Schedule, steps: int, start: float = 0.0) -> Schedule:
    """Rise on a line from `start`, the rate of step 0, to `schedule`, which is reached at step number `steps`.

    The time of `schedule` runs from step 0: `warm_up(cosine(0.1, 1000), 100)` ends after 1000 steps. PyTorch's LinearLR,
    together with another. A `ReduceOnPlateau` is refused, as nothing could tell it the loss any more.
    """
    if not callable(schedule) or hasattr(schedule, "observe"):
        raise ArgumentError(
            f"schedule must be a function of the step, e.g. cosine(0.1, 1000), got {value_text(schedule)}"
        )
    steps, start = as_count(steps, "steps"), as_number(start, "start")

    def rate(step: int) -> float:
        return schedule(step) if step >= steps else start + (schedule(step) - start) * step / steps

    return rate


def _as_warmup(warmup: float) -> float:
    if not isinstance(warmup, Real) or not 0 < warmup < 1:
        raise ArgumentError(
            f"warmup, the share of steps in which the rate rises, must be between 0 and 1, got {value_text(warmup)}"
        )
    return warmup


def _falling(peak: float, end: float) -> tuple[float, float]:
    peak, end = as_number(peak, "peak"), as_number(end, "end")
    if end > peak:
        raise ArgumentError(f"end, the last rate, must not be above peak={peak:g}, got {value_text(end)}")
    return peak, end


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
