"""Schedules: literal rates, ends, and what is refused. PyTorch's view of them is in tests/pytorch."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import optim
from gpucnn.errors import ArgumentError


def rates(schedule: optim.Schedule, steps: int) -> list[float]:
    return [schedule(step) for step in range(steps)]


HALF = (1 + math.sqrt(0.5)) / 2
LITERAL: list[tuple[optim.Schedule, list[float]]] = [
    (optim.constant(0.3), [0.3, 0.3, 0.3]),
    (optim.step_decay(1.0, 2), [1, 1, 0.1, 0.1, 0.01]),
    (optim.step_decay(1.0, 1, 0.5), [1, 0.5, 0.25]),
    (optim.multi_step(1.0, [1, 3]), [1, 0.1, 0.1, 0.01, 0.01]),
    (optim.multi_step(1.0, (), 0.5), [1, 1, 1]),
    (optim.exponential(8.0, 0.5), [8, 4, 2, 1]),
    (optim.cosine(1.0, 4), [1, HALF, 0.5, 1 - HALF, 0, 0, 0]),
    (optim.cosine(3.0, 2, end=1.0), [3, 2, 1, 1]),
    (optim.cosine_restarts(1.0, 2), [1, 0.5, 1, 0.5, 1]),
    (optim.cosine_restarts(1.0, 1, growth=2), [1, 1, 0.5, 1, HALF, 0.5, 1 - HALF, 1]),
    (optim.cosine_restarts(3.0, 2, end=1.0), [3, 2, 3, 2]),
    (optim.one_cycle(1.0, 5, 0.6), [0.04, 0.52, 1, 0.500002, 4e-6, 4e-6]),
    (optim.polynomial(1.0, 4), [1, 0.75, 0.5, 0.25, 0, 0]),
    (optim.polynomial(1.0, 2, power=2.0), [1, 0.25, 0]),
    (optim.polynomial(3.0, 2, end=1.0), [3, 2, 1, 1]),
    (optim.polynomial(3.0, 2, power=0.0), [3, 3, 0]),
    (optim.triangle(1.0, 10, 0.2, 0.5, 0.2), [0.5, 0.75, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2]),
    (optim.triangle(2.0, 2, 0.25, 0, 0), [0, 2 * 2 / 3, 0, 0]),
    (optim.warm_up(optim.constant(1.0), 4), [0, 0.25, 0.5, 0.75, 1, 1]),
    (optim.warm_up(optim.constant(1.0), 2, start=0.5), [0.5, 0.75, 1, 1]),
    (optim.warm_up(optim.polynomial(1.0, 4), 2), [0, 0.375, 0.5, 0.25, 0]),
]


def test_literal_rates() -> None:
    for schedule, expected in LITERAL:
        assert rates(schedule, len(expected)) == pytest.approx(expected, abs=1e-15)


def test_a_rate_is_a_function_of_its_step_alone() -> None:
    """A resumed run asks for a late step first."""
    for schedule in (optim.cosine_restarts(1.0, 3, 2), optim.step_decay(1.0, 5), optim.one_cycle(1.0, 50)):
        forwards = rates(schedule, 50)
        assert [schedule(step) for step in reversed(range(50))] == forwards[::-1]


def test_very_late_steps_have_rates() -> None:
    assert optim.cosine_restarts(1.0, 10)(10**12 + 5) == pytest.approx(0.5)
    assert optim.exponential(1.0, 0.5)(10**6) == 0.0


def test_one_cycle_rises_and_falls() -> None:
    rate = optim.one_cycle(0.1, 100)
    rates = [rate(step) for step in range(100)]
    top = int(np.argmax(rates))
    assert top == 29
    assert rates[0] == pytest.approx(0.004)
    assert rates[top] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.1 / 25e4)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rate(1000) == rates[-1]
    assert [optim.one_cycle(1.0, 1)(0), optim.one_cycle(1.0, 2)(5)] == [pytest.approx(4e-6)] * 2


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: optim.constant(-1), "lr must be a number >= 0, got -1"),
    (lambda: optim.step_decay(math.nan, 1), "peak must be a number >= 0, got nan"),
    (lambda: optim.step_decay(1.0, 0), "every must be an int >= 1, got 0"),
    (lambda: optim.step_decay(1.0, 1, 1.0), "factor must be a number from 0 to below 1, got 1.0"),
    (lambda: optim.multi_step("1", [1]), "peak must be a number >= 0, got '1'"),  # type: ignore[arg-type]
    (lambda: optim.multi_step(1.0, [2, 1]), "milestones must be rising ints >= 1, e.g. [100, 200], got [2, 1]"),
    (lambda: optim.multi_step(1.0, [1, 1]), "milestones must be rising ints >= 1, e.g. [100, 200], got [1, 1]"),
    (lambda: optim.multi_step(1.0, [0, 1]), "milestones must be rising ints >= 1, e.g. [100, 200], got [0, 1]"),
    (lambda: optim.multi_step(1.0, [1.5]), "milestones must be rising ints >= 1, e.g. [100, 200], got [1.5]"),  # type: ignore[list-item]
    (lambda: optim.multi_step(1.0, 5), "milestones must be rising ints >= 1, e.g. [100, 200], got 5"),  # type: ignore[arg-type]
    (lambda: optim.multi_step(1.0, "12"), "milestones must be rising ints >= 1, e.g. [100, 200], got '12'"),  # type: ignore[arg-type]
    (lambda: optim.multi_step(1.0, [1], -1), "factor must be a number from 0 to below 1, got -1"),
    (lambda: optim.exponential(1.0, 2), "factor must be a number from 0 to below 1, got 2"),
    (lambda: optim.exponential(math.inf, 0.5), "peak must be a number >= 0, got inf"),
    (lambda: optim.cosine(0.1, 0), "total_steps must be an int >= 1, got 0"),
    (lambda: optim.cosine(0.1, 5, end=0.2), "end, the last rate, must not be above peak=0.1, got 0.2"),
    (lambda: optim.cosine(0.1, 5, end=-1), "end must be a number >= 0, got -1"),
    (lambda: optim.cosine_restarts(0.1, 0), "period must be an int >= 1, got 0"),
    (lambda: optim.cosine_restarts(0.1, 1, 0.5), "growth must be an int >= 1, got 0.5"),  # type: ignore[arg-type]
    (lambda: optim.cosine_restarts(0.1, 1, end=1), "end, the last rate, must not be above peak=0.1, got 1.0"),
    (lambda: optim.one_cycle(0.1, 0), "total_steps must be an int >= 1, got 0"),
    (lambda: optim.one_cycle(0.1, 5, 1.0), "warmup, the share of steps in which the rate rises, must be between 0 and 1, got 1.0"),
    (lambda: optim.one_cycle(0.1, 5, "a"), "warmup, the share of steps in which the rate rises, must be between 0 and 1, got 'a'"),  # type: ignore[arg-type]
    (lambda: optim.polynomial(0.1, True), "total_steps must be an int >= 1, got True"),
    (lambda: optim.polynomial(0.1, 5, power=-1), "power must be a number >= 0, got -1"),
    (lambda: optim.polynomial(0.1, 5, end=1), "end, the last rate, must not be above peak=0.1, got 1.0"),
    (lambda: optim.triangle(0.1, 0), "total_steps must be an int >= 1, got 0"),
    (lambda: optim.triangle(-1, 5), "peak must be a number >= 0, got -1"),
    (lambda: optim.triangle(0.1, 5, 0), "warmup, the share of steps in which the rate rises, must be between 0 and 1, got 0"),
    (lambda: optim.triangle(0.1, 5, start=2), "start, a share of the peak, must be at most 1, got 2.0"),
    (lambda: optim.triangle(0.1, 5, end=1.5), "end, a share of the peak, must be at most 1, got 1.5"),
    (lambda: optim.triangle(0.1, 5, end=-1), "end must be a number >= 0, got -1"),
    (lambda: optim.warm_up(optim.constant(0.1), 0), "steps must be an int >= 1, got 0"),
    (lambda: optim.warm_up(optim.constant(0.1), 1, -1), "start must be a number >= 0, got -1"),
    (lambda: optim.warm_up(0.1, 5), "schedule must be a function of the step, e.g. cosine(0.1, 1000), got 0.1"),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_what_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        call()
    assert str(raised.value) == message


def test_a_plateau_is_not_wrapped() -> None:
    with pytest.raises(ArgumentError, match=r"schedule must be a function of the step, .* got ReduceOnPlateau"):
        optim.warm_up(optim.ReduceOnPlateau(0.1), 5)
