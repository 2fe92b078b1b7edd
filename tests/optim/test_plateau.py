"""ReduceOnPlateau: literal rates, state that goes round as JSON, and what is refused."""

import json
import math

import numpy as np
import pytest

from gpucnn import optim
from gpucnn.errors import ArgumentError, StateError

CUT_SHORT = f"1{'0' * 37}...{'0' * 39}"
"""10^400 as messages print it."""


def rates(plateau: optim.ReduceOnPlateau, losses: list[float]) -> list[float]:
    seen = []
    for loss in losses:
        plateau.observe(loss)
        seen.append(plateau(len(seen)))
    return seen


def test_the_rate_falls_after_more_than_patience_epochs() -> None:
    plateau = optim.ReduceOnPlateau(1.0, factor=0.5, patience=2)
    assert plateau(0) == 1.0
    assert rates(plateau, [3, 2, 2, 2, 2, 2, 2, 2]) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    plateau = optim.ReduceOnPlateau(1.0, factor=0.5, patience=1)
    assert rates(plateau, [3, 3, 2, 2, 1, 1, 1]) == [1, 1, 1, 1, 1, 1, 0.5]


def test_a_loss_must_fall_by_more_than_the_threshold() -> None:
    losses = [1.0, 0.95, 0.92]
    assert rates(optim.ReduceOnPlateau(1.0, 0.5, 0, threshold=0.1), losses) == [1, 0.5, 0.25]
    assert rates(optim.ReduceOnPlateau(1.0, 0.5, 0, threshold=0.01), losses) == [1, 1, 1]
    assert rates(optim.ReduceOnPlateau(1.0, 0.5, 0, threshold=0.1), [-1.0, -1.05, -1.2]) == [1, 0.5, 0.5]


def test_epochs_after_a_reduction_are_not_counted() -> None:
    plateau = optim.ReduceOnPlateau(1.0, 0.5, patience=0, cooldown=2)
    assert rates(plateau, [1, 1, 1, 1, 1, 1]) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_the_rate_has_a_floor() -> None:
    assert rates(optim.ReduceOnPlateau(1.0, 0.1, 0, least=0.05), [1, 1, 1, 1]) == [1, 0.1, 0.05, 0.05]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_no_better(bad: float) -> None:
    plateau = optim.ReduceOnPlateau(1.0, 0.5, patience=1)
    assert rates(plateau, [bad, bad, 1.0, bad, bad]) == [1, 0.5, 0.5, 0.5, 0.25]
    assert plateau.best == 1.0


@pytest.mark.parametrize("cut", range(12))
def test_saved_and_loaded_state_goes_on_alike(cut: int) -> None:
    def make() -> optim.ReduceOnPlateau:
        return optim.ReduceOnPlateau(0.1, 0.7, patience=1, cooldown=2, least=0.001)

    losses = [math.nan, 3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 1.0, 1.5, 1.5, 1.5, 1.5]
    straight = rates(make(), losses)
    first, second = make(), make()
    before = rates(first, losses[:cut])
    state = json.loads(json.dumps(first.state_dict(), allow_nan=False))
    second.load_state_dict(state)
    assert before + rates(second, losses[cut:]) == straight


def test_numpy_losses_are_kept_as_floats() -> None:
    plateau = optim.ReduceOnPlateau(0.1)
    plateau.observe(np.float32(0.5))
    assert json.dumps(plateau.state_dict()) == '{"lr": 0.1, "best": 0.5, "bad_epochs": 0, "cooldown_left": 0}'


def test_what_is_refused() -> None:
    wrong = [
        (lambda: optim.ReduceOnPlateau(-1), "lr must be a number >= 0, got -1"),
        (lambda: optim.ReduceOnPlateau(0.1, 1.0), "factor must be a number from 0 to below 1, got 1.0"),
        (lambda: optim.ReduceOnPlateau(0.1, patience=-1), "patience must be an int >= 0, got -1"),
        (lambda: optim.ReduceOnPlateau(0.1, cooldown=1.5), "cooldown must be an int >= 0, got 1.5"),  # type: ignore[arg-type]
        (lambda: optim.ReduceOnPlateau(0.1, threshold=-1), "threshold must be a number from 0 to below 1, got -1"),
        (lambda: optim.ReduceOnPlateau(0.1, least=1), "least, where the rate stops falling, must not be above lr=0.1, got 1"),
        (lambda: optim.ReduceOnPlateau(0.1).observe("1"), "loss must be a number, got '1'"),  # type: ignore[arg-type]
    ]  # fmt: skip
    for call, message in wrong:
        with pytest.raises(ArgumentError) as raised:
            call()
        assert str(raised.value) == message


def test_foreign_state_is_refused() -> None:
    plateau = optim.ReduceOnPlateau(0.1)
    plateau.observe(0.5)
    good = plateau.state_dict()
    wrong = [
        ({}, "ReduceOnPlateau: expected a state of lr, best, bad_epochs, cooldown_left, got none"),
        ({"lr": 1}, "ReduceOnPlateau: expected a state of lr, best, bad_epochs, cooldown_left, got lr"),
        ({**good, "lr": "1"}, "ReduceOnPlateau: lr must be a number >= 0, got '1'"),
        ({**good, "best": math.nan}, "ReduceOnPlateau: best must be a finite number or None, got nan"),
        ({**good, "lr": 10**400}, f"ReduceOnPlateau: lr must be a number >= 0, got {CUT_SHORT}"),
        ({**good, "best": 10**400}, f"ReduceOnPlateau: best must be a finite number or None, got {CUT_SHORT}"),
        ({**good, "best": "1"}, "ReduceOnPlateau: best must be a finite number or None, got '1'"),
        ({**good, "bad_epochs": -1}, "ReduceOnPlateau: bad_epochs must be an int >= 0, got -1"),
        ({**good, "cooldown_left": 1.5}, "ReduceOnPlateau: cooldown_left must be an int >= 0, got 1.5"),
    ]
    for state, message in wrong:
        with pytest.raises(StateError) as raised:
            plateau.load_state_dict(state)
        assert str(raised.value) == message
        assert plateau.state_dict() == good
