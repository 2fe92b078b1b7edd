"""Pooling against naive loops: ties, NaN, minus infinity, padding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.geometry import Window
from gpucnn.kernels import ways
from gpucnn.kernels.pooling import Pooling, avg_pool, avg_pool_gradient, max_pool, max_pool_gradient
from gpucnn.testing import oracles
from tests.backends import Backend, host

cases = st.tuples(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.integers(7, 10), st.integers(7, 10)),
)


@settings(max_examples=50)
@given(
    case=cases,
    pad=st.integers(0, 1),
    dtype=st.sampled_from([np.float32, np.float64]),
    specials=st.integers(0, 2),
)
def test_max_pool_values_and_argmax(backend: Backend, case: tuple, pad: int, dtype: type, specials: int) -> None:
    kernel, stride, dilation, size = case
    padding = tuple(min(pad, extent // 2) for extent in kernel)
    rng = np.random.default_rng(3)
    images = rng.integers(-3, 3, (2, 2, *size)).astype(dtype)  # many ties
    images[rng.random(images.shape) < 0.1 * specials] = -np.inf
    images[rng.random(images.shape) < 0.03 * specials] = np.nan
    window = Window.of(kernel, stride, padding, dilation)
    expected = oracles.max_pool2d(images, kernel, stride, padding, dilation)
    task = Pooling(images.shape, window)
    values, argmax = map(host, max_pool(task, backend.array(images), True))
    assert (values.dtype, argmax.dtype) == (dtype, np.int32)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(host(max_pool(task, backend.array(images), False)[0]), expected)

    positions = np.pad(np.arange(size[0] * size[1]).reshape(1, 1, *size), ((0, 0), (0, 0), *((p, p) for p in padding)),
                       constant_values=-1)  # fmt: skip
    padded = oracles.pad(images.astype(np.float64), *padding, -np.inf)
    for (row, column, cut), (_, _, where) in zip(
        oracles.windows(padded, kernel, stride, dilation),
        oracles.windows(positions, kernel, stride, dilation),
        strict=True,
    ):
        for image, channel in np.ndindex(2, 2):
            best = expected[image, channel, row, column]
            flat, indices = cut[image, channel].ravel(), where[0, 0].ravel()
            wins = (np.isnan(flat) if np.isnan(best) else flat == best) & (indices >= 0)
            assert argmax[image, channel, row, column] == (indices[np.flatnonzero(wins)[0]] if wins.any() else -1)


@settings(max_examples=40)
@given(case=cases, pad=st.integers(0, 1))
def test_max_pool_gradient_goes_to_the_winner(backend: Backend, case: tuple, pad: int) -> None:
    kernel, stride, dilation, size = case
    window = Window.of(kernel, stride, tuple(min(pad, extent // 2) for extent in kernel), dilation)
    images = np.random.default_rng(4).standard_normal((2, 3, *size))
    task = Pooling(images.shape, window)
    values, argmax = map(host, max_pool(task, backend.array(images), True))
    gradient = np.random.default_rng(5).integers(-9, 10, values.shape).astype(float)
    expected = np.zeros(images.shape)
    for index in np.ndindex(*values.shape):
        expected[index[0], index[1], *np.unravel_index(argmax[index], size)] += gradient[index]
    to_images = max_pool_gradient(task, backend.array(gradient), backend.array(argmax))
    np.testing.assert_array_equal(host(to_images), expected)


@settings(max_examples=40)
@given(case=cases, pad=st.integers(0, 1), dtype=st.sampled_from([np.float16, np.float32, np.float64]))
def test_the_plain_way_equals_all_others(backend: Backend, case: tuple, pad: int, dtype: type) -> None:
    kernel, stride, dilation, size = case
    padding = tuple(min(pad, extent // 2) for extent in kernel)
    rng = np.random.default_rng(7)
    images = rng.integers(-3, 3, (2, 3, *size)).astype(dtype)
    specials = images.copy()
    specials[rng.random(images.shape) < 0.1] = -np.inf
    specials[rng.random(images.shape) < 0.05] = np.nan
    windows = Pooling(images.shape, Window.of(kernel, stride, padding, dilation))
    means = Pooling(images.shape, Window.of(kernel, stride, padding), False)

    def results(array: Callable[[np.ndarray], Any]) -> list[np.ndarray]:
        values, argmax = max_pool(windows, array(specials), True)
        mean = avg_pool(means, array(images))
        back = max_pool_gradient(windows, values, argmax), avg_pool_gradient(means, mean)
        return [host(array) for array in (values, argmax, mean, *back)]

    found = results(backend.array)
    with ways.use("plain"):
        plain = results(np.array)
    for one, other in zip(found, plain, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=3 * np.finfo(dtype).eps, atol=10 * np.finfo(dtype).eps)


def test_a_window_in_gaps_alone_has_no_winner(backend: Backend) -> None:
    window = Window.of(2, 1, 2, dilation=4)  # over a 1x1 image every tap falls beside it
    images = backend.array(np.ones((1, 1, 1, 1)))
    task = Pooling(images.shape, window)
    values, argmax = max_pool(task, images, True)
    assert values.item() == -np.inf
    assert argmax.item() == -1
    assert max_pool_gradient(task, images, argmax).item() == 0


def test_windows_without_a_winner_give_their_gradient_to_nobody(backend: Backend) -> None:
    gradient = backend.array(np.array([[[[1.0, 2.0], [3.0, 4.0]]], [[[5.0, 6.0], [7.0, 8.0]]]]))
    argmax = backend.array(np.array([[[[-1, 3], [12, -1]]], [[[-1, -1], [-1, 10]]]], np.int32))
    expected = np.zeros((2, 1, 4, 4))
    expected[0, 0, 0, 3], expected[0, 0, 3, 0], expected[1, 0, 2, 2] = 2, 3, 8
    found = max_pool_gradient(Pooling((2, 1, 4, 4), Window.of(2, 2)), gradient, argmax)
    np.testing.assert_array_equal(host(found), expected)


@settings(max_examples=40)
@given(case=cases, include=st.booleans(), pad=st.integers(0, 1))
def test_avg_pool_and_gradient(backend: Backend, case: tuple, include: bool, pad: int) -> None:
    kernel, stride, _, size = case
    padding = tuple(min(pad, extent // 2) for extent in kernel)
    rng = np.random.default_rng(6)
    images = rng.standard_normal((2, 2, *size))
    task = Pooling(images.shape, Window.of(kernel, stride, padding), include)
    expected = oracles.avg_pool2d(images, kernel, stride, padding, include)
    np.testing.assert_allclose(host(avg_pool(task, backend.array(images))), expected, atol=1e-14)
    gradient = rng.standard_normal(expected.shape)
    back = host(avg_pool_gradient(task, backend.array(gradient)))
    np.testing.assert_allclose((back * images).sum(), (expected * gradient).sum(), rtol=1e-10, atol=1e-12)


def test_avg_pool_in_ceil_mode_counts_no_more_than_image_and_padding(backend: Backend) -> None:
    images = backend.array(np.arange(25.0).reshape(1, 1, 5, 5))
    values = host(avg_pool(Pooling(images.shape, Window.of(2, 2, ceil_mode=True)), images))
    np.testing.assert_array_equal(values[0, 0], [[3, 5, 6.5], [13, 15, 16.5], [20.5, 22.5, 24]])


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (1, 1, 1, 1), (2, 0, 3, 3)])
def test_empty_and_single(backend: Backend, shape: tuple[int, ...]) -> None:
    images = np.ones(shape, np.float32)
    task = Pooling(shape, Window.of(1))
    values, argmax = max_pool(task, backend.array(images), True)
    assert values.shape == argmax.shape == shape
    np.testing.assert_array_equal(host(values), images)
    np.testing.assert_array_equal(host(avg_pool(task, backend.array(images))), images)
