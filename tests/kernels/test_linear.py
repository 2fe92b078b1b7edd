"""The products of a fully connected layer: all ways equal the plain one, whichever gradients are wanted."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn.kernels import ways
from gpucnn.kernels.linear import compiled, linear, linear_gradients
from tests.backends import Backend, host

SIZES = [(1, 1, 1), (7, 50, 30), (64, 33, 10), (3, 5, 70)]  # images, inputs, outputs


def results(put: Callable[[Any], Any], arrays: list[np.ndarray], relu: bool, wanted: str) -> list[np.ndarray]:
    """The output, and the gradients of x, weight and bias that are `wanted`, from [x, weight, gradient, bias], or no bias."""
    x, weight, gradient, *bias = map(put, arrays)
    output = linear(x, weight, bias[0] if bias else None, relu)
    own = {
        name: put(np.zeros(shape, x.dtype))
        for name, shape in (("w", weight.shape), ("b", weight.shape[:1]))
        if name in wanted
    }
    inputs = x if "w" in wanted else None, weight if "x" in wanted else None
    found = linear_gradients(gradient, *inputs, output if relu else None, own.get("w"), own.get("b"))
    assert (found is None) == ("x" not in wanted)
    return [host(one) for one in (output, found, *own.values()) if one is not None]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("relu", [False, True])
def test_the_plain_way_equals_all_others(backend: Backend, rng: np.random.Generator, relu: bool, dtype: type) -> None:
    tolerance = 100 * float(np.finfo(dtype).eps)
    for (batch, inputs, outputs), has_bias in itertools.product(SIZES, (False, True)):
        shapes = [(batch, inputs), (outputs, inputs), (batch, outputs), (outputs,)]
        arrays = [rng.normal(size=shape).astype(dtype) for shape in shapes[: 4 if has_bias else 3]]
        for wanted in ("x", "w", "b", "xw", "xwb"):
            found = results(backend.array, arrays, relu, wanted)
            with ways.use("plain"):
                plain = results(np.array, arrays, relu, wanted)
            for one, other in zip(found, plain, strict=True):
                assert one.dtype == other.dtype == dtype
                np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_compiled_loops_decline_what_is_empty_or_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "LARGEST_MATRIX", 400)
    matrices = [np.ones(shape, np.float32) for shape in ((10, 10), (10, 9), (0, 3), (10, 11))]
    assert [compiled.suits([matrices[1], None, matrix]) for matrix in matrices] == [True, True, False, False]


def test_nothing_in_and_nothing_out(backend: Backend) -> None:
    vectors, weight, bias = (backend.array(np.ones(shape, np.float32)) for shape in ((0, 3), (4, 3), (4,)))
    assert linear(vectors, weight, bias, True).shape == (0, 4)
    assert host(linear(vectors[:, :0], weight[:, :0], bias, True)).shape == (0, 4)
    ones = backend.array(np.ones((2, 0), np.float32))
    np.testing.assert_array_equal(host(linear(ones, weight[:, :0], bias, True)), np.ones((2, 4)))
