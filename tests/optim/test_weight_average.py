"""Averages of weights against plain floats; the model comes back whatever happens; state that goes round."""

import copy
from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import layers, optim
from gpucnn.errors import ArgumentError, StateError, TrainingError
from gpucnn.optim import weight_average
from tests.backends import Backend, host
from tests.recording import Recording


def model_on(backend: Backend) -> layers.Sequential:
    return layers.Sequential(layers.Linear(3, 4), layers.BatchNorm1d(4), layers.Linear(4, 2)).to(backend.device_name)


def wander(model: layers.Layer, steps: range, after: Callable[[], None]) -> list[dict[str, np.ndarray]]:
    """Give all parameters and buffers new values, and call `after`, at every step. What they were, step by step."""
    seen = []
    for step in steps:
        rng = np.random.default_rng(step)
        model.load_state_dict({path: rng.random(array.shape) for path, array in model.state_dict().items()})
        seen.append(model.state_dict())
        after()
    return seen


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averages_follow_and_buffers_are_the_latest(backend: Backend, decay: float, dtype: str) -> None:
    model = model_on(backend).astype(dtype)
    expected = {path: array.astype(np.float64) for path, array in model.state_dict().items()}
    average = optim.WeightAverage(model, decay)
    for number, seen in enumerate(wander(model, range(30), average.update)):
        kept = min(decay, (1 + number) / (10 + number))
        for path, array in seen.items():
            expected[path] = array if "running" in path else kept * expected[path] + (1 - kept) * array
    state = average.state_dict()
    assert state.pop("average/updates") == average.updates == 30
    assert set(state) == set(expected)
    for path, array in state.items():
        assert array.dtype == dtype
        np.testing.assert_allclose(array, expected[path], rtol=1e-5 if dtype == "float32" else 1e-12)


def test_weights_that_stay_are_their_own_average(backend: Backend) -> None:
    model = model_on(backend)
    average = optim.WeightAverage(model)
    for _ in range(5):
        average.update()
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(average.state_dict()[path], array)


def test_inside_applied_the_model_is_the_average(backend: Backend) -> None:
    model = model_on(backend)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    optimizer.gather()
    average = optim.WeightAverage(model, 0.5)
    wander(model, range(3), average.update)
    own, averages = model.state_dict(), average.state_dict()
    averages.pop("average/updates")
    places = [parameter.data for parameter in model.parameters()]
    with average.applied():
        for path, array in model.state_dict().items():
            np.testing.assert_array_equal(array, averages[path])
            assert "running" in path or (array != own[path]).any()
        model[0].weight.assign(np.zeros((4, 3)))
        model[1].running_mean.assign(np.zeros(4))
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, own[path])
        if path in averages:
            np.testing.assert_array_equal(average.state_dict()[path], averages[path])
    assert all(parameter.data is place for parameter, place in zip(model.parameters(), places, strict=True))


def test_the_model_comes_back_after_an_error(backend: Backend) -> None:
    model = model_on(backend)
    average = optim.WeightAverage(model, 0.5)
    wander(model, range(3), average.update)
    own = model.state_dict()
    with pytest.raises(KeyboardInterrupt), average.applied():
        raise KeyboardInterrupt
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, own[path])
    average.update()


def test_the_model_comes_back_if_an_average_cannot_be_put_in(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_on(backend)
    average = optim.WeightAverage(model, 0.5)
    wander(model, range(3), average.update)
    own = model.state_dict()
    original, calls = layers.Parameter.assign, []

    def assign(self: layers.Parameter, values: object) -> None:
        calls.append(self.path)
        if len(calls) == 3:
            raise MemoryError
        original(self, values)

    monkeypatch.setattr(layers.Parameter, "assign", assign)
    with pytest.raises(MemoryError), average.applied():
        pytest.fail("the averages are not all in place")
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, own[path])


def test_averages_are_not_averaged_with_themselves() -> None:
    average = optim.WeightAverage(model_on(Backend("numpy")))
    with average.applied():
        with pytest.raises(TrainingError) as raised:
            average.update()
        assert str(raised.value) == "WeightAverage.update was called inside applied(); update after a training step"
        with pytest.raises(TrainingError) as raised, average.applied():
            pass
        assert str(raised.value) == (
            "WeightAverage.applied was called inside applied(); the averages are in place already"
        )
    average.update()


def test_state_that_goes_round_goes_on_to_the_same_bits(backend: Backend) -> None:
    model = model_on(backend)
    average = optim.WeightAverage(model, 0.9)
    wander(model, range(4), average.update)
    state = average.state_dict()
    other = optim.WeightAverage(model, 0.9)
    other.load_state_dict(state)
    wander(model, range(4, 9), lambda: (average.update(), other.update()))
    assert other.updates == 9
    for path, array in average.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[path], array)
    state["0.weight"][...] = np.nan
    assert not np.isnan(other.state_dict()["0.weight"]).any()


def test_a_copied_average_follows_the_copied_model() -> None:
    model = model_on(Backend("numpy"))
    average = optim.WeightAverage(model, 0.5)
    twin, twin_average = copy.deepcopy((model, average))
    wander(twin, range(2), twin_average.update)
    assert (twin_average.updates, average.updates) == (2, 0)
    assert (twin_average.state_dict()["0.weight"] != average.state_dict()["0.weight"]).any()


def test_averages_move_with_their_model(backend: Backend) -> None:
    model, stays = model_on(Backend("numpy")), model_on(Backend("numpy"))
    average, other = optim.WeightAverage(model, 0.5), optim.WeightAverage(stays, 0.5)
    wander(model, range(2), average.update)
    wander(stays, range(2), other.update)
    model.to(backend.device_name)
    with average.applied():
        np.testing.assert_array_equal(host(model[0].weight.data), other.state_dict()["0.weight"])
    wander(model, range(2, 4), average.update)
    wander(stays, range(2, 4), other.update)
    for path, array in other.state_dict().items():
        np.testing.assert_allclose(average.state_dict()[path], array, rtol=1e-6)
    model.astype("float64")
    average.update()
    assert average.state_dict()["0.weight"].dtype == np.float64


def test_what_is_refused() -> None:
    model = model_on(Backend("numpy"))
    for decay in (1.0, -0.1, "0.9"):
        with pytest.raises(ArgumentError) as refused:
            optim.WeightAverage(model, decay)  # type: ignore[arg-type]
        assert str(refused.value) == f"decay must be a number from 0 to below 1, got {decay!r}"
    average = optim.WeightAverage(model)
    good = average.state_dict()
    start = "these parameters do not fit the averaged model: "
    end = "; build the model with the arguments it was saved with"
    wrong = [
        ({key: array for key, array in good.items() if key != "0.bias"}, f"{start}0.bias is missing{end}"),
        ({**good, "9.bias": good["0.bias"]}, f"{start}9.bias is unknown{end}"),
        (
            {"average/updates": good["average/updates"]},
            f"{start}0.weight is missing; 0.bias is missing; 1.weight is missing; 1.bias is missing; and 4 more{end}",
        ),
        ({**good, "2.bias": np.ones(3)}, f"{start}2.bias has shape (3,), expected (2,){end}"),
        ({**good, "2.bias": "text"}, f"{start}2.bias: expected numbers, got str of dtype <U4{end}"),
        ({}, "'average/updates' is missing; load what state_dict of a WeightAverage gave"),
        ({**good, "average/updates": np.array(-1)}, "'average/updates' must be at least 0, got -1"),
        (
            {**good, "average/updates": np.array(1.5)},
            "'average/updates' must be integers of shape (), got float64 of shape ()",
        ),
    ]
    for state, message in wrong:
        with pytest.raises(StateError) as raised:
            average.load_state_dict({path: array + 1 if path == "0.weight" else array for path, array in state.items()})
        assert str(raised.value) == message
        np.testing.assert_array_equal(average.state_dict()["0.weight"], good["0.weight"])


def test_averages_follow_weights_that_change_places(backend: Backend) -> None:
    """Into an optimizer's buffers, in another order, to new arrays, and in copies of the average."""
    model, stays = model_on(backend), model_on(backend)
    average, other = optim.WeightAverage(model, 0.9), optim.WeightAverage(stays, 0.9)

    def steps(first: int) -> None:
        wander(model, range(first, first + 2), average.update)
        wander(stays, range(first, first + 2), other.update)
        for path, array in other.state_dict().items():
            np.testing.assert_array_equal(average.state_dict()[path], array)

    steps(0)
    optim.SGD(model.parameters(), 0.1).gather()
    steps(2)
    optim.SGD(model.parameters(), 0.1, decay_vectors=False).gather()
    steps(4)
    model[0].bias.data = backend.array(np.ones(4, np.float32))
    steps(6)
    average.load_state_dict(other.state_dict())
    steps(8)
    if backend.on_cpu:
        model, average = copy.deepcopy((model, average))
        steps(10)


def test_weights_of_several_dtypes_frozen_empty_or_not_finite(backend: Backend) -> None:
    model = layers.Sequential(layers.Linear(5, 4), layers.Linear(4, 3), layers.Linear(3, 2), layers.Linear(2, 2))
    model.unused = layers.Parameter((0, 3), lambda _, shape: np.zeros(shape))
    for layer, dtype in zip(model, ("float16", "float32", "float64"), strict=False):
        layer.astype(dtype)
    model[3].requires_grad_(False)
    model.to(backend.device_name)
    optim.SGD([*model.parameters()], 0.1, decay_vectors=False).gather()
    average = optim.WeightAverage(model, 0.9)
    expected = {path: array.astype(np.float64) for path, array in model.state_dict().items()}
    rng = np.random.default_rng(0)
    for number in range(6):
        for path, parameter in model.named_parameters():
            values = rng.standard_normal(parameter.shape).astype(parameter.dtype)
            if (path, number) == ("1.bias", 3):
                values[0], values[1] = np.nan, np.inf
            parameter.assign(values)
            kept = min(0.9, (1 + number) / (10 + number))
            with np.errstate(invalid="ignore"):
                expected[path] += (1 - kept) * (values.astype(np.float64) - expected[path])
        with np.errstate(invalid="ignore"):
            average.update()
    assert np.isnan(expected["1.bias"][:2]).all()  # infinity - infinity
    for path, array in expected.items():
        found = average.state_dict()[path]
        assert found.dtype == model.state_dict()[path].dtype
        tolerance = {"float16": 4e-3, "float32": 1e-6, "float64": 1e-14}[str(found.dtype)]
        np.testing.assert_allclose(found, array, rtol=tolerance, atol=tolerance)


def test_a_recorded_update_takes_the_share_of_each_replay(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded before the first update was counted. Buffers are copied where they stand, so there are none."""
    model, stays = (layers.Linear(3, 4).to(backend.device_name) for _ in range(2))
    for net in (model, stays):
        wander(net, range(1), lambda: None)
    average, other = optim.WeightAverage(model, 0.9), optim.WeightAverage(stays, 0.9)
    steps = Recording()
    monkeypatch.setattr(weight_average, "follow", steps.note(weight_average.follow))
    steps.make(average.apply)
    monkeypatch.undo()
    for step in range(1, 5):
        for net in (model, stays):
            for parameter in net.parameters():
                parameter.data[...] = backend.array(np.full(parameter.shape, step, np.float32))
        average.advance()
        steps.replay()
        other.update()
    for path, array in other.state_dict().items():
        np.testing.assert_array_equal(average.state_dict()[path], array)
