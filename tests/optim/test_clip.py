"""Gradient clipping: norms and values against plain floats, in place, on every backend."""

import math

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn import functions as F
from gpucnn.backend import joined
from gpucnn.errors import ArgumentError
from tests.backends import Backend, host


def model_with_gradients(backend: Backend, dtype: str = "float32", settled: bool = True) -> layers.Sequential:
    model = layers.Sequential(layers.Linear(4, 5), layers.ReLU(), layers.Linear(5, 3))
    model.astype(dtype).to(backend.device_name)
    if settled:
        optim.SGD(model.parameters(), 0.1).gather()
    rng = np.random.default_rng(0)
    F.cross_entropy(model(10 * rng.standard_normal((6, 4))), rng.integers(0, 3, 6)).backward()
    return model


def gradients(model: layers.Layer) -> list[np.ndarray]:
    return [host(parameter.grad).copy() for parameter in model.parameters()]


def norm_of(arrays: list[np.ndarray]) -> float:
    return math.sqrt(math.fsum(float(value) ** 2 for array in arrays for value in array.flat))


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("share", [0.3, 2.0])
def test_the_norm_of_all_gradients_is_limited(backend: Backend, dtype: str, share: float, settled: bool) -> None:
    model = model_with_gradients(backend, dtype, settled)
    before, places = gradients(model), [parameter.grad for parameter in model.parameters()]
    norm = norm_of(before)
    returned = optim.clip_gradient_norm(model.parameters(), share * norm)
    assert isinstance(returned, float)
    assert returned == pytest.approx(norm, rel=1e-6 if dtype == "float32" else 1e-12)
    factor = min(1.0, share * norm / (norm + 1e-6))
    for array, old in zip(gradients(model), before, strict=True):
        assert array.dtype == dtype
        np.testing.assert_allclose(array, factor * old, rtol=1e-6)
    if share > 1:
        for array, old in zip(gradients(model), before, strict=True):
            np.testing.assert_array_equal(array, old)
    assert all(parameter.grad is place for parameter, place in zip(model.parameters(), places, strict=True))


def test_a_clipped_step_is_as_long_as_asked_for(backend: Backend) -> None:
    model = model_with_gradients(backend)
    optimizer = optim.SGD(model.parameters(), 1.0)
    before = model.state_dict()
    optim.clip_gradient_norm(model.parameters(), 0.01)
    optimizer.step()
    moved = [array - before[path] for path, array in model.state_dict().items()]
    assert norm_of(moved) == pytest.approx(0.01, rel=1e-3)


def test_large_gradients_do_not_overflow(backend: Backend) -> None:
    layer = layers.Linear(2, 2).to(backend.device_name)
    for parameter in layer.parameters():
        parameter.grad = backend.array(np.full(parameter.shape, 1e25, np.float32))
    assert optim.clip_gradient_norm(layer.parameters(), 1.0) == pytest.approx(math.sqrt(6) * 1e25)
    assert norm_of(gradients(layer)) == pytest.approx(1.0)


def test_an_array_of_several_tiles_is_added_up_whole(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "CPU_TILE", 7)
    monkeypatch.setattr(joined, "GPU_TILE", 7)
    for settled in (False, True):
        model = model_with_gradients(backend, settled=settled)
        before, norm = gradients(model), norm_of(gradients(model))
        assert optim.clip_gradient_norm(model.parameters(), norm / 2) == pytest.approx(norm, rel=1e-14)
        for array, old in zip(gradients(model), before, strict=True):
            np.testing.assert_allclose(array, old / 2, rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_is_told(backend: Backend, bad: float) -> None:
    layer = layers.Linear(2, 2).to(backend.device_name)
    layer.weight.grad = backend.array(np.array([[bad, 1], [2, 3]], np.float32))
    with np.errstate(invalid="ignore"):
        norm = optim.clip_gradient_norm(layer.parameters(), 1.0)
    np.testing.assert_equal(norm, bad)
    assert np.isnan(host(layer.weight.grad)[0, 0])


def test_parameters_without_gradient_are_passed_over(backend: Backend) -> None:
    layer = layers.Linear(2, 2).to(backend.device_name)
    assert optim.clip_gradient_norm(layer.parameters(), 1.0) == 0.0
    optim.clip_gradient_value(layer.parameters(), 1.0)
    layer.bias.grad = backend.array(np.array([3, 4], np.float32))
    assert optim.clip_gradient_norm([layer.bias, layer.weight, layer.bias], 1.0) == 5.0
    np.testing.assert_allclose(host(layer.bias.grad), [0.6, 0.8], rtol=1e-6)
    assert layer.weight.grad is None


def test_values_are_limited(backend: Backend) -> None:
    model = model_with_gradients(backend)
    before, places = gradients(model), [parameter.grad for parameter in model.parameters()]
    optim.clip_gradient_value(iter(model.parameters()), 0.1)
    assert any((np.abs(array) > 0.1).any() for array in before)
    for array, old in zip(gradients(model), before, strict=True):
        np.testing.assert_array_equal(
            array, np.where(old > 0.1, np.float32(0.1), np.where(old < -0.1, np.float32(-0.1), old))
        )
    assert all(parameter.grad is place for parameter, place in zip(model.parameters(), places, strict=True))


DTYPES = ("float16", "float32", "float64")


def mixed_optimizer(backend: Backend, seed: int = 0) -> optim.Optimizer:
    """Of layers in three dtypes, in two groups, with an empty parameter, and some gradients."""
    model = layers.Sequential(layers.Linear(9, 7), layers.Linear(7, 5), layers.Linear(5, 3), layers.Linear(3, 2))
    model.unused = layers.Parameter((0, 3), lambda _, shape: np.zeros(shape))
    for layer, dtype in zip(model, DTYPES, strict=False):
        layer.astype(dtype)
    optimizer = optim.SGD(model.to(backend.device_name).parameters(), 0.1, decay_vectors=False, weight_decay=0.1)
    rng = np.random.default_rng(seed)
    for parameter in optimizer.parameters.values():
        parameter.grad = backend.array(rng.standard_normal(parameter.shape).astype(parameter.dtype))
    return optimizer


def gradients_of(optimizer: optim.Optimizer) -> dict[str, np.ndarray]:
    present = {path: one.grad for path, one in optimizer.parameters.items() if one.grad is not None}
    return {path: host(gradient).astype(np.float64) for path, gradient in present.items()}


@pytest.mark.parametrize(
    "without", [[], ["0.weight"], ["1.weight", "1.bias"], ["0.bias", "2.weight", "3.bias", "unused"]]
)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999, 1.001, 50.0])
def test_an_optimizer_limits_the_norm_of_all_its_gradients(backend: Backend, without: list[str], share: float) -> None:
    optimizer = mixed_optimizer(backend)
    for path in without:
        optimizer.parameters[path].grad = None
    before = gradients_of(optimizer)
    norm = norm_of(list(before.values()))
    returned = optimizer.clip_norm(share * norm)
    assert returned.shape == ()
    assert float(returned) == pytest.approx(norm, rel=1e-14)
    after = gradients_of(optimizer)
    assert set(after) == set(optimizer.parameters) - set(without)
    for path, array in after.items():
        dtype = optimizer.parameters[path].dtype
        factor = dtype.type(min(1.0, share * norm / (norm + 1e-6)))
        np.testing.assert_array_equal(array, (before[path].astype(dtype) * factor).astype(np.float64))


def test_clipping_by_an_optimizer_and_of_its_parameters_is_the_same(backend: Backend) -> None:
    one, other = mixed_optimizer(backend), mixed_optimizer(backend)
    other.gather()
    norms = [float(one.clip_norm(0.7)), optim.clip_gradient_norm(reversed(other.parameters.values()), 0.7)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-14)
    expected = gradients_of(other)
    for path, array in gradients_of(one).items():
        # A GPU's sums are made in the order of its blocks, so their last bit may differ.
        np.testing.assert_allclose(array, expected[path], rtol=4 * np.finfo(one.parameters[path].dtype).eps)
    again = mixed_optimizer(backend)
    assert float(again.clip_norm(0.7)) == norms[0], "the same sum, to the bit"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("path", ["0.weight", "1.bias", "2.weight"])
def test_an_optimizer_tells_a_norm_that_is_not_finite(backend: Backend, bad: float, path: str) -> None:
    optimizer = mixed_optimizer(backend)
    gradient = host(optimizer.parameters[path].grad).copy()
    gradient.flat[-1] = bad
    optimizer.parameters[path].grad = backend.array(gradient)
    with np.errstate(invalid="ignore"):
        np.testing.assert_equal(float(optimizer.clip_norm(1.0)), abs(bad))
    for name, array in gradients_of(optimizer).items():
        spoilt = np.isnan(array)
        assert spoilt.all() if np.isnan(bad) else spoilt.sum() == (name == path) and (spoilt | (array == 0)).all()


def test_an_optimizer_without_gradients_clips_nothing(backend: Backend) -> None:
    optimizer = mixed_optimizer(backend)
    optimizer.zero_grad()
    assert float(optimizer.clip_norm(1.0)) == 0.0
    optimizer.parameters["unused"].grad = backend.array(np.zeros((0, 3), np.float32))
    assert float(optimizer.clip_norm(1.0)) == 0.0
    assert optim.clip_gradient_norm(optimizer.parameters.values(), 1.0) == 0.0
    with pytest.raises(ArgumentError, match=r"^most must be a number >= 0, got -1$"):
        optimizer.clip_norm(-1)


@pytest.mark.sample(1)
def test_a_sum_of_a_million_squares_is_accurate(backend: Backend) -> None:
    layer = layers.Linear(1500, 700).to(backend.device_name)
    gradient = np.random.default_rng(0).standard_normal((700, 1500)).astype(np.float32)
    gradient[0] = 1e19  # whose squares overflow, and beside which each of the others is nothing in float32
    for settled in (False, True):
        layer.weight.grad = backend.array(gradient)
        if settled:
            optim.SGD(layer.parameters(), 0.1).gather()
        assert optim.clip_gradient_norm(layer.parameters(), 1e30) == pytest.approx(norm_of([gradient]), rel=1e-13)


def test_what_is_refused() -> None:
    model = layers.Linear(2, 2)
    for function in (optim.clip_gradient_norm, optim.clip_gradient_value):
        name = function.__name__
        wrong = [
            (lambda f=function: f(model, 1.0), f"{name}: expected parameters, got Linear; pass model.parameters()"),
            (lambda f=function: f([Tensor([1.0])], 1.0), f"{name}: expected parameters, got Tensor; pass model.parameters()"),
            (lambda f=function: f(model.parameters(), -1), "most must be a number >= 0, got -1"),
            (lambda f=function: f(model.parameters(), math.nan), "most must be a number >= 0, got nan"),
        ]  # fmt: skip
        for call, message in wrong:
            with pytest.raises(ArgumentError) as raised:
                call()
            assert str(raised.value) == message
