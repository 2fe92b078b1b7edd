"""Means of gradients over batches, against float64: of groups and dtypes, and where gradients come and go."""

import numpy as np
import pytest

from gpucnn import layers, optim
from gpucnn.training.gradient_mean import GradientMean
from tests.backends import Backend, host

BATCHES = [8, 8, 3]


def optimizer_on(backend: Backend, dtype: str = "float32") -> optim.Optimizer:
    model = layers.Sequential(layers.Linear(6, 5), layers.Linear(5, 4), layers.Linear(4, 3)).astype(dtype)
    model.unused = layers.Parameter((0, 3), lambda _, shape: np.zeros(shape), dtype)
    model[1].astype("float64")
    optimizer = optim.Adagrad(
        model.to(backend.device_name).parameters(), 0.1, initial_accumulator_value=0.5, decay_vectors=False
    )
    optimizer.gather()
    return optimizer


def add(mean: GradientMean, images: int) -> None:
    mean.count(images)
    mean.add_gradients(images)


def hand_over(mean: GradientMean) -> None:
    mean.take_mean()
    mean.forget()


def mean_of(
    backend: Backend, optimizer: optim.Optimizer, mean: GradientMean, without: dict[int, set[str]], seed: int = 0
) -> dict[str, np.ndarray]:
    """Feed BATCHES, of which number n is `without[n]`; the means that are right, of those parameters that have one."""
    rng = np.random.default_rng(seed)
    sums: dict[str, np.ndarray] = {}
    for number, images in enumerate(BATCHES):
        optimizer.zero_grad()
        for path, parameter in optimizer.parameters.items():
            gradient = rng.standard_normal(parameter.shape).astype(parameter.dtype)
            if path not in without.get(number, ()):
                parameter.grad = backend.array(gradient)
                sums[path] = sums.get(path, 0) + images * gradient.astype(np.float64)
        add(mean, images)
    assert mean.images == sum(BATCHES)
    return {path: array / sum(BATCHES) for path, array in sums.items()}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "without",
    [
        {},
        {2: {"0.weight", "1.bias"}},
        {0: {"0.weight"}, 1: {"0.weight", "2.bias"}},
        {0: {"1.weight"}, 1: {"1.weight"}, 2: {"1.weight", "unused"}},
    ],
    ids=["all", "not the last", "not the first", "never"],
)
def test_the_mean_is_over_all_images(backend: Backend, dtype: str, without: dict[int, set[str]]) -> None:
    optimizer = optimizer_on(backend, dtype)
    mean = GradientMean(optimizer)
    for seed in (0, 1):  # the second begins anew
        expected = mean_of(backend, optimizer, mean, without, seed)
        hand_over(mean)
        assert mean.images == 0
        found = {path: one.grad for path, one in optimizer.parameters.items() if one.grad is not None}
        assert set(found) == set(expected)
        for path, gradient in found.items():
            assert gradient.dtype == optimizer.parameters[path].dtype
            tolerance = {"float16": 4e-3, "float32": 1e-6, "float64": 1e-14}[str(gradient.dtype)]
            np.testing.assert_allclose(host(gradient), expected[path], rtol=tolerance, atol=tolerance)


def test_what_had_a_gradient_once_needs_none_later(backend: Backend) -> None:
    optimizer = optimizer_on(backend)
    mean = GradientMean(optimizer)
    mean_of(backend, optimizer, mean, {})
    hand_over(mean)
    mean_of(backend, optimizer, mean, {number: {"0.weight"} for number in range(3)}, seed=1)
    hand_over(mean)
    assert optimizer.parameters["0.weight"].grad is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_spoils_its_own_mean_alone(backend: Backend, bad: float) -> None:
    optimizer = optimizer_on(backend)
    mean = GradientMean(optimizer)
    mean_of(backend, optimizer, mean, {})
    spoilt = optimizer.parameters["2.bias"]
    spoilt.grad = backend.array(np.array([1, bad, 1], np.float32))
    add(mean, 4)
    hand_over(mean)
    for parameter in optimizer.parameters.values():
        finite = np.isfinite(host(parameter.grad))
        np.testing.assert_array_equal(finite, [True, False, True] if parameter is spoilt else np.ones_like(finite))


def test_gradients_of_batches_before_the_mean_are_left_alone(backend: Backend) -> None:
    optimizer = optimizer_on(backend)
    mean = GradientMean(optimizer)
    gradient = np.arange(3, dtype=np.float32)
    optimizer.parameters["2.bias"].grad = backend.array(gradient)
    add(mean, 5)
    np.testing.assert_array_equal(host(optimizer.parameters["2.bias"].grad), gradient)


def test_what_was_added_can_be_left_out(backend: Backend) -> None:
    optimizer = optimizer_on(backend)
    mean = GradientMean(optimizer)
    mean_of(backend, optimizer, mean, {})
    mean.reset()
    assert mean.images == 0
    expected = mean_of(backend, optimizer, mean, {number: {"0.weight"} for number in range(3)}, seed=1)
    hand_over(mean)
    assert optimizer.parameters["0.weight"].grad is None
    for path, array in expected.items():
        np.testing.assert_allclose(host(optimizer.parameters[path].grad), array, rtol=1e-6, atol=1e-6)


def test_parameters_may_change_their_dtype_between_steps(backend: Backend) -> None:
    optimizer = optimizer_on(backend)
    mean = GradientMean(optimizer)
    mean_of(backend, optimizer, mean, {})
    hand_over(mean)
    for parameter in optimizer.parameters.values():
        parameter.convert(np.float64)
    expected = mean_of(backend, optimizer, mean, {}, seed=1)
    hand_over(mean)
    for path, array in expected.items():
        gradient = optimizer.parameters[path].grad
        assert gradient.dtype == np.float64
        np.testing.assert_allclose(host(gradient), array, rtol=1e-14, atol=1e-14)
