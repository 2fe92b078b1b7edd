"""Update rules against their formulas on plain floats, state that goes round, and what is refused."""

import math

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, StateError
from tests.backends import Backend

GRADIENTS = [0.5, -1.0, 2.0, 0.25, -0.75]


def run(backend: Backend, make: object, start: float = 1.0) -> list[float]:
    """A single parameter through GRADIENTS, its value after every step."""
    layer = layers.Linear(1, 1, bias=False).astype("float64").to(backend.device_name)
    layer.load_state_dict({"weight": np.array([[start]])})
    optimizer = make(layer.parameters())  # type: ignore[operator]
    values = []
    for gradient in GRADIENTS:
        optimizer.zero_grad()
        (layer.weight * gradient).sum().backward()
        optimizer.step()
        values.append(layer.weight.data.item())
    return values


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd(backend: Backend, momentum: float, decay: float, nesterov: bool) -> None:
    value, velocity, expected = 1.0, 0.0, []
    for gradient in GRADIENTS:
        slope = gradient + decay * value
        velocity = momentum * velocity + slope
        value -= 0.1 * (slope + momentum * velocity if nesterov else velocity)
        expected.append(value)
    values = run(backend, lambda p: optim.SGD(p, 0.1, momentum, decay, nesterov))
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam(backend: Backend, decay: float) -> None:
    value, mean, square, expected = 1.0, 0.0, 0.0, []
    for step, gradient in enumerate(GRADIENTS, 1):
        slope = gradient + decay * value
        mean = 0.8 * mean + 0.2 * slope
        square = 0.95 * square + 0.05 * slope**2
        value -= 0.1 * (mean / (1 - 0.8**step)) / (math.sqrt(square / (1 - 0.95**step)) + 1e-3)
        expected.append(value)
    values = run(backend, lambda p: optim.Adam(p, 0.1, (0.8, 0.95), 1e-3, decay))
    np.testing.assert_allclose(values, expected, rtol=1e-12)


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.05),
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: optim.Adam(p, 0.01),
}


def small_model(device: str = "cpu") -> layers.Sequential:
    return layers.Sequential(layers.Linear(4, 8), layers.ReLU(), layers.Linear(8, 3)).to(device)


def train(model: layers.Layer, optimizer: optim.Optimizer, steps: range) -> None:
    for step in steps:
        draw = np.random.default_rng(step)
        loss = F.cross_entropy(model(draw.standard_normal((6, 4))), draw.integers(0, 3, 6))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_saved_and_loaded_state_goes_on_to_the_same_bits(backend: Backend, name: str) -> None:
    straight = small_model(backend.device_name)
    train(straight, OPTIMIZERS[name](straight.parameters()), range(10))

    first = small_model(backend.device_name)
    before = OPTIMIZERS[name](first.parameters())
    train(first, before, range(4))
    state, weights = before.state_dict(), first.state_dict()
    second = small_model(backend.device_name)
    second.load_state_dict(weights)
    after = OPTIMIZERS[name](second.parameters())
    after.load_state_dict(state)
    train(second, after, range(4, 10))
    for path, array in straight.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[path], array)
    assert after.state_dict().keys() == before.state_dict().keys()


def test_state_is_keyed_by_path_and_copied() -> None:
    model = small_model()
    optimizer = optim.Adam(model.parameters())
    assert optimizer.state_dict() == {}
    train(model, optimizer, range(2))
    state = optimizer.state_dict()
    assert set(state) == {f"{path}/{name}" for path in model.state_dict() for name in ("mean", "square", "steps")}
    assert state["0.weight/steps"] == 2
    state["0.weight/mean"][...] = np.nan
    assert not np.isnan(optimizer.state_dict()["0.weight/mean"]).any()


def test_a_parameter_without_gradient_stays(backend: Backend) -> None:
    model = small_model(backend.device_name)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1.0)
    before = model.state_dict()
    (model[0].weight * 1.0).sum().backward()
    optimizer.step()
    changed = {path for path, array in model.state_dict().items() if (array != before[path]).any()}
    assert changed == {"0.weight"}
    assert set(optimizer.state_dict()) == {"0.weight/momentum"}
    optimizer.zero_grad()
    assert model[0].weight.grad is None


def test_float32_stays_float32() -> None:
    for make in OPTIMIZERS.values():
        model = small_model()
        optimizer = make(model.parameters())
        train(model, optimizer, range(2))
        assert all(parameter.data.dtype == np.float32 for parameter in model.parameters())
        arrays = optimizer.state_dict()
        assert all(array.dtype == np.float32 for name, array in arrays.items() if not name.endswith("steps"))


def test_what_is_refused() -> None:
    model = small_model()
    wrong = [
        (lambda: optim.SGD([]), "SGD: got no parameters; pass model.parameters(), fresh for each use"),
        (lambda: optim.SGD([Tensor([1.0])]), "SGD: expected parameters, got Tensor; pass model.parameters()"),
        (lambda: optim.SGD(model), "SGD: expected parameters, got Linear; pass model.parameters()"),  # type: ignore[arg-type]
        (lambda: optim.SGD(model.parameters(), True), "lr must be a number >= 0, got True"),
        (lambda: optim.SGD(model.parameters(), -1), "lr must be a number >= 0, got -1"),
        (lambda: optim.SGD(model.parameters(), float("nan")), "lr must be a number >= 0, got nan"),
        (lambda: optim.SGD(model.parameters(), 0.1, 1.0), "momentum must be a number from 0 to below 1, got 1.0"),
        (lambda: optim.SGD(model.parameters(), 0.1, nesterov=True), "SGD: nesterov=True needs momentum > 0, got 0"),
        (lambda: optim.Adam(model.parameters(), betas=(0.9, 1)), "betas[1] must be a number from 0 to below 1, got 1"),
        (lambda: optim.Adam(model.parameters(), betas=(0.9,)), "Adam: betas must be two numbers, got (0.9,)"),  # type: ignore[arg-type]
        (
            lambda: optim.SGD([*layers.Linear(1, 1).parameters(), *layers.Linear(1, 1).parameters()]),
            "SGD: two parameters have the path 'weight'; make their models attributes of one Layer, and pass its parameters()",
        ),
        (lambda: optim.one_cycle(0.1, 0), "total_steps must be an int >= 1, got 0"),
        (lambda: optim.one_cycle(0.1, 5, 1.0), "warmup, the share of steps in which the rate rises, must be between 0 and 1, got 1.0"),
    ]  # fmt: skip
    for call, message in wrong:
        with pytest.raises(ArgumentError) as raised:
            call()
        assert str(raised.value) == message


def test_foreign_state_is_refused() -> None:
    optimizer = optim.SGD(small_model().parameters(), 0.1, 0.9)
    with pytest.raises(
        StateError, match=r"SGD has no place for '7.weight/momentum'; load the state into the optimizer"
    ):
        optimizer.load_state_dict({"7.weight/momentum": np.ones(1)})
    with pytest.raises(StateError, match=r"no place for '0\.weight/mean'"):
        optimizer.load_state_dict({"0.weight/mean": np.ones((8, 4))})
    for value, got in [(np.ones(3), r"float64 of shape \(3,\)"), (np.ones((8, 4), int), "int64")]:
        with pytest.raises(StateError, match=rf"'0.weight/momentum' must be floats of shape \(8, 4\), got {got}"):
            optimizer.load_state_dict({"0.weight/momentum": value})
    for value in ("text", [[1], [1, 2]]):
        with pytest.raises(StateError, match=r"'0.weight/momentum': expected numbers, got"):
            optimizer.load_state_dict({"0.weight/momentum": value})
    adam = optim.Adam(small_model().parameters())
    with pytest.raises(StateError, match=r"'0.weight/steps' must be at least 1, got -1"):
        adam.load_state_dict({"0.weight/steps": -1})
    with pytest.raises(StateError, match=r"the state of '0.weight' has no square, no steps"):
        adam.load_state_dict({"0.weight/mean": np.ones((8, 4))})
    with pytest.raises(StateError, match=r"'0.weight/steps' must be integers of shape \(\), got float64"):
        adam.load_state_dict({"0.weight/steps": np.float64(3)})


def test_what_is_remembered_follows_the_model_s_dtype(backend: Backend) -> None:
    model = small_model(backend.device_name)
    optimizer = optim.Adam(model.parameters())
    train(model, optimizer, range(2))
    model.astype("float64")
    train(model, optimizer, range(2, 4))
    assert optimizer.state_dict()["0.weight/mean"].dtype == np.float64


def test_numpy_numbers_are_numbers() -> None:
    assert optim.SGD(small_model().parameters(), np.float32(0.5), np.float64(0.5)).lr == 0.5


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
