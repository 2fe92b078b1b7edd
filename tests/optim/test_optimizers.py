"""Update rules against their formulas on plain floats, state that goes round, and what is refused."""

import math
from collections.abc import Iterable

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


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw(backend: Backend, decay: float) -> None:
    value, mean, square, expected = 1.0, 0.0, 0.0, []
    for step, gradient in enumerate(GRADIENTS, 1):
        value *= 1 - 0.1 * decay
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        value -= 0.1 * (mean / (1 - 0.8**step)) / (math.sqrt(square / (1 - 0.95**step)) + 1e-3)
        expected.append(value)
    values = run(backend, lambda p: optim.AdamW(p, 0.1, (0.8, 0.95), 1e-3, decay))
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rmsprop(backend: Backend, decay: float, momentum: float, centered: bool) -> None:
    value, square, mean, velocity, expected = 1.0, 0.0, 0.0, 0.0, []
    for gradient in GRADIENTS:
        slope = gradient + decay * value
        square = 0.9 * square + 0.1 * slope**2
        mean = 0.9 * mean + 0.1 * slope
        step = slope / (math.sqrt(square - mean**2 if centered else square) + 1e-3)
        velocity = momentum * velocity + step
        value -= 0.1 * velocity
        expected.append(value)
    values = run(backend, lambda p: optim.RMSprop(p, 0.1, 0.9, 1e-3, decay, momentum, centered))
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_a_variance_that_rounding_makes_negative_counts_as_zero(backend: Backend) -> None:
    layer = layers.Linear(64, 64, bias=False).to(backend.device_name)
    optimizer = optim.RMSprop(layer.parameters(), lr=1e-12, alpha=0.5, centered=True)
    gradient = np.random.default_rng(0).standard_normal(layer.weight.shape).astype(np.float32)
    for _ in range(60):  # the mean square comes to equal the squared mean
        layer.weight.grad = backend.array(gradient)
        optimizer.step()
    state = optimizer.state_dict()
    assert (state["weight/square"] < state["weight/mean"] ** 2).any()
    assert np.isfinite(layer.state_dict()["weight"]).all()


@pytest.mark.parametrize("initial", [0.0, 0.5])
@pytest.mark.parametrize("lr_decay", [0.0, 0.25])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adagrad(backend: Backend, decay: float, lr_decay: float, initial: float) -> None:
    value, total, expected = 1.0, initial, []
    for step, gradient in enumerate(GRADIENTS):
        slope = gradient + decay * value
        total += slope**2
        value -= 0.1 / (1 + step * lr_decay) * slope / (math.sqrt(total) + 1e-3)
        expected.append(value)
    values = run(backend, lambda p: optim.Adagrad(p, 0.1, lr_decay, decay, initial, 1e-3))
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.0, 0.5), (0.95, 0.98)])
def test_lion(backend: Backend, betas: tuple[float, float], decay: float, dtype: str) -> None:
    """Fifty steps beside the paper's rule in plain loops; PyTorch has no Lion. Some gradients are zero, the rate falls."""
    rng = np.random.default_rng(0)
    layer = layers.Linear(5, 3).astype(dtype).to(backend.device_name)
    optimizer = optim.Lion(layer.parameters(), 0.01, betas, decay)
    members = dict(layer.named_parameters())
    values = {path: array.astype(np.float64) for path, array in layer.state_dict().items()}
    momenta = {path: np.zeros(array.shape) for path, array in values.items()}
    for step in range(50):
        optimizer.lr = lr = 0.01 if step < 25 else 0.001
        for path, parameter in members.items():
            gradient = rng.standard_normal(parameter.shape) * (rng.random(parameter.shape) < 0.8)
            gradient = gradient.astype(dtype)
            parameter.grad = backend.array(gradient)
            for index, slope in np.ndenumerate(gradient.astype(np.float64)):
                momentum = momenta[path][index]
                blend = betas[0] * momentum + (1 - betas[0]) * slope
                sign = float(blend > 0) - float(blend < 0)
                values[path][index] -= lr * (sign + decay * values[path][index])
                momenta[path][index] = betas[1] * momentum + (1 - betas[1]) * slope
        optimizer.step()
        tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
        for path, array in layer.state_dict().items():
            np.testing.assert_allclose(array, values[path], rtol=tolerance, atol=tolerance)


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.05),
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: optim.Adam(p, 0.01),
    "adamw": lambda p: optim.AdamW(p, 0.01, weight_decay=0.1, decay_vectors=False),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01),
    "rmsprop with all": lambda p: optim.RMSprop(p, 0.01, momentum=0.9, centered=True, weight_decay=0.01),
    "adagrad": lambda p: optim.Adagrad(p, 0.1, initial_accumulator_value=0.1, lr_decay=0.01),
    "lion": lambda p: optim.Lion(p, 0.003, weight_decay=0.1),
    "groups": lambda p: optim.Adam(halves(p), 0.01, weight_decay=0.1),
}


def halves(parameters: Iterable[layers.Parameter]) -> list[optim.Group]:
    """The same parameters in two groups that learn apart."""
    first, second, *rest = parameters
    return [optim.Group([second, *rest], weight_decay=0.0), optim.Group([first], lr_factor=0.5)]


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
        (lambda: optim.AdamW(model.parameters(), betas=0.9), "AdamW: betas must be two numbers, got 0.9"),  # type: ignore[arg-type]
        (lambda: optim.Lion(model.parameters(), betas=(0.9, -0.1)), "betas[1] must be a number from 0 to below 1, got -0.1"),
        (lambda: optim.Lion(model.parameters(), weight_decay=-1), "weight_decay must be a number >= 0, got -1"),
        (lambda: optim.RMSprop(model.parameters(), alpha=1), "alpha must be a number from 0 to below 1, got 1"),
        (lambda: optim.RMSprop(model.parameters(), eps=-1), "eps must be a number >= 0, got -1"),
        (lambda: optim.RMSprop(model.parameters(), momentum=1), "momentum must be a number from 0 to below 1, got 1"),
        (lambda: optim.Adagrad(model.parameters(), initial_accumulator_value=-1), "initial_accumulator_value must be a number >= 0, got -1"),
        (lambda: optim.Adagrad(model.parameters(), lr_decay=-1), "lr_decay must be a number >= 0, got -1"),
        (lambda: optim.Adagrad(model.parameters(), eps=-1), "eps must be a number >= 0, got -1"),
    ]  # fmt: skip
    for call, message in wrong:
        with pytest.raises(ArgumentError) as raised:
            call()
        assert str(raised.value) == message


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lost_memory_is_noticed(name: str) -> None:
    """The test above could pass if what is remembered did not matter."""
    model = small_model()
    optimizer = OPTIMIZERS[name](model.parameters())
    if not optimizer.remembers:
        return
    train(model, optimizer, range(4))
    state, weights = optimizer.state_dict(), model.state_dict()
    train(model, optimizer, range(4, 7))
    for lost in optimizer.remembers:
        twin = small_model()
        twin.load_state_dict(weights)
        other = OPTIMIZERS[name](twin.parameters())
        other.load_state_dict({key: np.zeros_like(a) if key.endswith(f"/{lost}") else a for key, a in state.items()})
        train(twin, other, range(4, 7))
        assert any((array != twin.state_dict()[path]).any() for path, array in model.state_dict().items()), lost


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
