"""Activation functions at kinks, infinities, NaN and large values, and what they refuse."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, DTypeError, GpucnnError, ShapeError
from tests.backends import Backend, host

INF = float("inf")
NAN = float("nan")
BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])

ALL: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "prelu": lambda x: F.prelu(x, [0.25]),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "softplus": F.softplus,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu of tanh": lambda x: F.gelu(x, "tanh"),
    "silu": F.silu,
    "mish": F.mish,
}
SELU_LOW, SELU_HIGH = -1.7580993408473766, 1.0507009873554805


def values_and_gradients(
    backend: Backend, function: Callable[[Tensor], Tensor], x: Sequence[float], dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    tensor = backend.tensor(np.array(x, dtype), True)
    output = function(tensor)
    output.backward(np.ones(len(x), dtype))
    assert output.dtype == tensor.grad.dtype == dtype
    return output.numpy(), host(tensor.grad)


@BOTH
@pytest.mark.parametrize(
    ("name", "x", "gradients"),
    [
        ("relu6", [-0.0, 0, 6], [0, 0, 0]),
        ("leaky_relu", [-0.0, 0], [0.01, 0.01]),
        ("prelu", [-0.0, 0], [0.25, 0.25]),
        ("hardsigmoid", [-3, 3], [0, 0]),
        ("hardswish", [-3, 3], [0, 1]),
        ("softplus", [20], [1]),
        ("elu", [-0.0, 0], [1, 1]),
        ("selu", [-0.0, 0], [-SELU_LOW, -SELU_LOW]),
    ],
)
def test_gradient_at_a_kink(backend: Backend, name: str, x: list[float], gradients: list[float], dtype: type) -> None:
    np.testing.assert_allclose(values_and_gradients(backend, ALL[name], x, dtype)[1], gradients, rtol=1e-6)


@BOTH
@pytest.mark.parametrize(
    ("name", "kink", "below", "above"),
    [
        ("relu6", 0, 0, 1),
        ("relu6", 6, 1, 0),
        ("leaky_relu", 0, 0.01, 1),
        ("prelu", 0, 0.25, 1),
        ("hardsigmoid", -3, 0, 1 / 6),
        ("hardsigmoid", 3, 1 / 6, 0),
        ("hardswish", -3, 0, -0.5),
        ("hardswish", 3, 1.5, 1),
        ("selu", 0, -SELU_LOW, SELU_HIGH),
    ],
)
def test_gradient_one_rounding_from_a_kink(
    backend: Backend, name: str, kink: float, below: float, above: float, dtype: type
) -> None:
    x = np.nextafter(np.full(2, kink, dtype), np.array([-INF, INF], dtype))
    if kink == 0:  # CuPy's ufuncs take subnormal numbers for 0: the next that is none
        x = np.array([-1, 1], dtype) * np.finfo(dtype).tiny
    assert (np.abs(x) >= np.finfo(dtype).tiny).all()
    np.testing.assert_allclose(values_and_gradients(backend, ALL[name], x, dtype)[1], [below, above], rtol=1e-6)


@BOTH
@pytest.mark.parametrize("size", [1e4, 1e30, INF])
@pytest.mark.parametrize(
    ("name", "below", "gradient_below", "above", "gradient_above"),
    [
        ("relu6", 0, 0, 6, 0),
        ("leaky_relu", lambda x: 0.01 * x, 0.01, lambda x: x, 1),
        ("prelu", lambda x: 0.25 * x, 0.25, lambda x: x, 1),
        ("hardsigmoid", 0, 0, 1, 0),
        ("hardswish", 0, 0, lambda x: x, 1),
        ("sigmoid", 0, 0, 1, 0),
        ("tanh", -1, 0, 1, 0),
        ("softplus", 0, 0, lambda x: x, 1),
        ("elu", -1, 0, lambda x: x, 1),
        ("selu", SELU_LOW, 0, lambda x: SELU_HIGH * x, SELU_HIGH),
        ("gelu", 0, 0, lambda x: x, 1),
        ("gelu of tanh", 0, 0, lambda x: x, 1),
        ("silu", 0, 0, lambda x: x, 1),
        ("mish", 0, 0, lambda x: x, 1),
    ],
)
def test_far_from_zero_the_limits_stand(
    backend: Backend,
    name: str,
    size: float,
    below: Any,
    gradient_below: float,
    above: Any,
    gradient_above: float,
    dtype: type,
) -> None:
    values, gradients = values_and_gradients(backend, ALL[name], [-size, size], dtype)
    expected = [below(-size) if callable(below) else below, above(size) if callable(above) else above]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(gradients, [gradient_below, gradient_above], rtol=1e-6)


@BOTH
@pytest.mark.parametrize("name", ALL)
def test_nan_stays_in_sight(backend: Backend, name: str, dtype: type) -> None:
    values, gradients = values_and_gradients(backend, ALL[name], [NAN, 1], dtype)
    np.testing.assert_array_equal(np.isnan(values), [True, False])
    slopes = {"relu6": 1, "leaky_relu": 0.01, "prelu": 0.25, "hardsigmoid": 1 / 6}
    np.testing.assert_allclose(gradients[0], slopes.get(name, NAN), rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_number_and_no_elements_and_halves(backend: Backend, name: str) -> None:
    for shape in [(), (0, 3)]:
        x = backend.tensor(np.ones(shape), True)
        output = ALL[name](x)
        output.backward(np.ones(shape))
        assert output.shape == x.grad.shape == shape
        assert output.dtype == x.grad.dtype == np.float64
    halves = np.linspace(-8, 8, 33).astype(np.float16)
    values, gradients = values_and_gradients(backend, ALL[name], halves, np.float16)
    expected = values_and_gradients(backend, ALL[name], halves, np.float64)
    np.testing.assert_allclose(values, expected[0], rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(gradients, expected[1], rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(
    ("name", "x", "value"),
    [("sigmoid", -40.0, 4.248354255291589e-18), ("softplus", -40.0, 4.248354255291589e-18),
     ("silu", -40.0, -1.6993417021166355e-16), ("mish", -40.0, -1.6993417021166355e-16),
     ("elu", -1e-12, -1e-12), ("tanh", 1e-12, 1e-12)],
)  # fmt: skip
def test_small_values_keep_their_digits(backend: Backend, name: str, x: float, value: float) -> None:
    np.testing.assert_allclose(values_and_gradients(backend, ALL[name], [x], np.float64)[0], [value], rtol=1e-11)


@pytest.mark.parametrize("name", ["relu6", "hardsigmoid"])
def test_no_infinite_gradient_gets_through_where_it_is_zero(backend: Backend, name: str) -> None:
    x = backend.tensor(np.array([-9.0, 9.0]), True)
    ALL[name](x).backward(np.array([INF, -INF]))
    np.testing.assert_array_equal(host(x.grad), [0, 0])


def test_prelu_with_an_infinite_gradient_above_zero_leaves_the_weight_alone(backend: Backend) -> None:
    x, weight = backend.tensor(np.array([[2.0, -3.0]]), True), backend.tensor(np.array([0.5]), True)
    F.prelu(x, weight).backward(np.array([[INF, 2.0]]))
    np.testing.assert_array_equal(host(x.grad), [[INF, 1]])
    np.testing.assert_array_equal(host(weight.grad), [-6])


def test_softplus_is_straight_above_its_threshold(backend: Backend) -> None:
    def softplus(x: Tensor) -> Tensor:
        return F.softplus(x, 2, 4)

    values, gradients = values_and_gradients(backend, softplus, [2, 2.001], np.float64)
    np.testing.assert_allclose(values, [np.log1p(np.exp(4)) / 2, 2.001], rtol=1e-12)
    np.testing.assert_allclose(gradients, [1 / (1 + np.exp(-4)), 1], rtol=1e-12)
    values, _ = values_and_gradients(backend, lambda x: F.softplus(x, threshold=1e6), [1e4], np.float32)
    assert values == [1e4]


def ones(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32))


WRONG: list[tuple[Callable[[], object], type[GpucnnError], str]] = [
    (lambda: F.leaky_relu(ones(2), "a"), ArgumentError, "leaky_relu: negative_slope must be a finite number, got 'a'"),  # type: ignore[arg-type]
    (lambda: F.leaky_relu(ones(2), NAN), ArgumentError, "leaky_relu: negative_slope must be a finite number, got nan"),
    (lambda: F.elu(ones(2), INF), ArgumentError, "elu: alpha must be a finite number, got inf"),
    (lambda: F.elu(ones(2), True), ArgumentError, "elu: alpha must be a finite number, got True"),
    (lambda: F.softplus(ones(2), 0), ArgumentError, "softplus: beta must be a finite number > 0, got 0"),
    (lambda: F.softplus(ones(2), -1.0), ArgumentError, "softplus: beta must be a finite number > 0, got -1.0"),
    (lambda: F.softplus(ones(2), 1, -INF), ArgumentError, "softplus: threshold must be a finite number, got -inf"),
    (lambda: F.gelu(ones(2), "erf"), ArgumentError, "gelu: approximate must be \"none\" or \"tanh\", got 'erf'"),
    (lambda: F.prelu(ones(2, 3), ones(2)), ShapeError, "prelu: expected a weight of one element, or (C,) for x (N, C, ...), got weight (2,) for x (2, 3)"),
    (lambda: F.prelu(ones(3), ones(3)), ShapeError, "prelu: expected a weight of one element, or (C,) for x (N, C, ...), got weight (3,) for x (3,)"),
    (lambda: F.prelu(ones(2, 3), ones(1, 3)), ShapeError, "prelu: expected a weight of one element, or (C,) for x (N, C, ...), got weight (1, 3) for x (2, 3)"),
    (lambda: F.prelu(ones(2, 3), Tensor(np.ones(3))), DTypeError, "prelu: float64 and float32 met in one operation; make them one dtype, e.g. array.astype('float32') or model.astype('float64')"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:50] for *_, message in WRONG])
def test_the_message(call: Callable[[], object], error: type[GpucnnError], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


@pytest.mark.parametrize("name", ALL)
def test_integers_are_refused(name: str) -> None:
    with pytest.raises(DTypeError) as raised:
        ALL[name](Tensor([1, 2]))
    if name == "prelu":
        assert str(raised.value).startswith("prelu: float32 and int64 met in one operation")
    else:
        owner = name.partition(" ")[0]
        assert str(raised.value) == f"{owner}: expected floats, got int64; convert with array.astype('float32')"
