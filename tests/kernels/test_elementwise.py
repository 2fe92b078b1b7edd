"""The ways of ReLU, bias and addition, on arrays that no other test has: no order of memory, no elements, special values."""

import numpy as np
import pytest

from gpucnn.kernels import elementwise
from gpucnn.kernels.elementwise import plain
from gpucnn.kernels.elementwise.masked import masked
from tests.backends import Backend, host

SPECIAL = [np.nan, np.inf, -np.inf, -1.5, 0.0, 2.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4, 6)])
def test_the_chosen_way_does_what_the_plain_way_does(backend: Backend, shape: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.choice(SPECIAL, shape).astype(dtype) for _ in range(2))
    for place in (backend.array, backend.strided, backend.fortran):
        x, y = place(a), place(b)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            pairs = [
                (elementwise.relu(x), plain.relu(x)),
                (elementwise.relu_gradient(y, plain.relu(x)), plain.relu_gradient(y, plain.relu(x))),
                *((elementwise.add(x, y, relu), plain.add(x, y, relu)) for relu in (False, True)),
                (masked(x, y > 0), np.where(b > 0, a, 0)),
            ]
        for found, expected in pairs:
            assert (found.shape, found.dtype) == (shape, dtype)
            np.testing.assert_array_equal(host(found), host(expected))


def test_a_sum_of_arrays_that_differ_in_shape(backend: Backend) -> None:
    a, b = np.arange(-6, 6, dtype=np.float32).reshape(3, 4), np.ones(4, np.float32)
    found = elementwise.add(backend.array(a), backend.array(b), relu=True)
    np.testing.assert_array_equal(host(found), np.maximum(a + b, 0))


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (2, 3, 4, 5), (0, 3)])
@pytest.mark.parametrize("relu", [False, True])
def test_a_bias_is_added_in_place(backend: Backend, shape: tuple[int, ...], relu: bool) -> None:
    values, bias = np.random.default_rng(0).standard_normal(shape), np.arange(3.0)
    expected = values + bias.reshape(3, *[1] * (len(shape) - 2))
    for add_bias in (elementwise.add_bias, plain.add_bias):
        array = backend.array(values)
        assert add_bias(array, backend.array(bias), relu) is array
        np.testing.assert_array_equal(host(array), np.maximum(expected, 0) if relu else expected)
        assert add_bias(array, None, False) is array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (5, 3)])
def test_an_array_is_added_in_place(backend: Backend, shape: tuple[int, ...], dtype: type) -> None:
    place, more = (np.random.default_rng(seed).standard_normal(shape).astype(dtype) for seed in (0, 1))
    for laid_out in (backend.array, backend.strided):
        total = laid_out(place)
        elementwise.add_to(total, laid_out(more))
        np.testing.assert_array_equal(host(total), place + more)
