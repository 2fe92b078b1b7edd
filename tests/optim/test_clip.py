"""Gradient clipping: norms and values against plain floats, in place, on every backend."""

import math

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError
from gpucnn.optim import clip
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
    monkeypatch.setattr(clip, "TILE", 7)
    model = model_with_gradients(backend)
    norm = norm_of(gradients(model))
    assert optim.clip_gradient_norm(model.parameters(), 1.0) == pytest.approx(norm, rel=1e-6)


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
