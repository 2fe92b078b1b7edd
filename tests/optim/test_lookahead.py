"""Lookahead against plain floats, step by step; state that goes round; what it leaves alone."""

import copy
from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import layers, optim
from gpucnn.errors import ArgumentError, GradientError, StateError
from tests.backends import Backend


def model_on(backend: Backend) -> layers.Sequential:
    norm = layers.BatchNorm1d(4, momentum=None)
    return layers.Sequential(layers.Linear(3, 4), norm, layers.Linear(4, 2)).to(backend.device_name)


def wander(model: layers.Layer, steps: range, after: Callable[[], None]) -> None:
    """Move all parameters and buffers from where they are, and call `after`, at every step."""
    for step in steps:
        rng = np.random.default_rng(step)
        model.load_state_dict({path: array + rng.random(array.shape) for path, array in model.state_dict().items()})
        after()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_dozen_steps_by_hand(backend: Backend, dtype: str) -> None:
    """Every third of twelve steps, the last among them, and one more beyond the end; of thirteen the last by itself."""
    for steps in (12, 13):
        model = model_on(backend).astype(dtype)
        slow = {path: array.astype(np.float64) for path, array in model.state_dict().items()}
        weights = dict(slow)
        lookahead = optim.Lookahead(model, steps, every=3, decay=0.9)
        for step in range(1, 16):
            rng = np.random.default_rng(step)
            moves = {path: rng.random(array.shape) for path, array in slow.items()}
            model.load_state_dict({path: array + moves[path] for path, array in model.state_dict().items()})
            lookahead.step()
            weights = {path: weights[path] + moves[path] for path in weights}
            if step in (3, 6, 9, 12, 15) or step == steps:
                kept = 1.0 if step == steps else 0.9 * 0.9 * 0.9 * min(step / steps, 1.0) ** 3
                for path in slow:
                    if path != "1.num_batches_tracked":
                        slow[path] = kept * slow[path] + (1 - kept) * weights[path]
                        weights[path] = slow[path]
            for path, array in model.state_dict().items():
                assert array.dtype == dtype
                np.testing.assert_allclose(array, weights[path], rtol=1e-5 if dtype == "float32" else 1e-12)
        assert lookahead.count == 15
        assert set(lookahead.state_dict()) == {*slow, "lookahead/steps"} - {"1.num_batches_tracked"}


def test_state_in_the_middle_of_an_interval_goes_on_to_the_same_bits(backend: Backend) -> None:
    model = model_on(backend)
    lookahead = optim.Lookahead(model, 20, every=4)
    wander(model, range(6), lookahead.step)
    other_model = model_on(backend)
    other = optim.Lookahead(other_model, 20, every=4)
    other_model.load_state_dict(model.state_dict())
    state = lookahead.state_dict()
    other.load_state_dict(state)
    state["0.weight"][...] = np.nan
    wander(model, range(6, 20), lookahead.step)
    wander(other_model, range(6, 20), other.step)
    for found, expected in ((other, lookahead), (other_model, model)):
        assert found.state_dict().keys() == expected.state_dict().keys()
        for path, array in expected.state_dict().items():
            np.testing.assert_array_equal(found.state_dict()[path], array)
    for path, array in lookahead.state_dict().items():
        if "/" not in path:
            np.testing.assert_array_equal(model.state_dict()[path], array)


def test_it_follows_weights_that_change_places_move_or_are_copied(backend: Backend) -> None:
    """Into an optimizer's buffers, to new arrays, to another dtype."""
    model, stays = model_on(backend), model_on(backend)
    lookahead, other = optim.Lookahead(model, 30, every=2), optim.Lookahead(stays, 30, every=2)

    def steps(first: int) -> None:
        wander(model, range(first, first + 3), lookahead.step)
        wander(stays, range(first, first + 3), other.step)
        for path, array in stays.state_dict().items():
            np.testing.assert_array_equal(model.state_dict()[path], array)

    steps(0)
    optim.SGD(model.parameters(), 0.1).gather()
    steps(3)
    model[0].bias.data = model[0].bias.data.copy()
    steps(6)
    if backend.on_cpu:
        model, lookahead = copy.deepcopy((model, lookahead))
        steps(9)
    model.astype("float64")
    wander(model, range(12, 14), lookahead.step)
    assert lookahead.state_dict()["0.weight"].dtype == np.float64


def test_frozen_weights_and_counts_stay(backend: Backend) -> None:
    model = model_on(backend)
    model.seen = layers.Buffer(np.array([3, 4]))
    model[0].requires_grad_(False)
    before = model.state_dict()
    lookahead = optim.Lookahead(model.to(backend.device_name), 4, every=2)
    for _ in range(4):
        lookahead.step()
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[path])
    assert "seen" not in lookahead.state_dict()


def test_a_graph_that_still_needs_the_weights_is_told() -> None:
    model = layers.Sequential(layers.Linear(3, 4), layers.ReLU(), layers.Linear(4, 2))
    lookahead = optim.Lookahead(model, 4, every=1)
    loss = model(np.ones((2, 3), np.float32)).sum()
    lookahead.step()
    with pytest.raises(GradientError, match=r"was changed between the forward pass and backward\(\), by Lookahead,"):
        loss.backward()


def test_what_is_refused() -> None:
    model = model_on(Backend("numpy"))
    for options, message in (
        ({"steps": 0}, "Lookahead: steps must be an int >= 1, got 0"),
        ({"steps": 9, "every": 2.5}, "Lookahead: every must be an int >= 1, got 2.5"),
        ({"steps": 9, "decay": 1.0}, "Lookahead: decay must be a number from 0 to below 1, got 1.0"),
    ):
        with pytest.raises(ArgumentError) as refused:
            optim.Lookahead(model, **options)  # type: ignore[arg-type]
        assert str(refused.value) == message
    lookahead = optim.Lookahead(model, 9)
    good = lookahead.state_dict()
    start, end = (
        "these parameters do not fit the model with slow weights: ",
        "; build the model with the arguments it was saved with",
    )
    for state, message in (
        ({}, "'lookahead/steps' is missing; load what state_dict of a Lookahead gave"),
        ({**good, "lookahead/steps": np.array(-1)}, "'lookahead/steps' must be at least 0, got -1"),
        ({key: one for key, one in good.items() if key != "0.bias"}, f"{start}0.bias is missing{end}"),
        ({**good, "2.bias": np.ones(3)}, f"{start}2.bias has shape (3,), expected (2,){end}"),
    ):
        with pytest.raises(StateError) as raised:
            lookahead.load_state_dict(state)
        assert str(raised.value) == message
        np.testing.assert_array_equal(lookahead.state_dict()["2.bias"], good["2.bias"])
    assert repr(lookahead) == "Lookahead(steps=9, every=5, decay=0.95; 0 steps done)"
