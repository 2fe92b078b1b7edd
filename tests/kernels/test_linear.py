"""The products of a fully connected layer: all ways equal the plain one, whichever gradients are wanted."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.backend import precision
from gpucnn.kernels import ways
from gpucnn.kernels.linear import compiled, fused, linear, linear_gradients
from gpucnn.testing import emulated_gpu
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


@pytest.mark.parametrize("name", ["float32", "tf32"])
def test_small_layers_of_any_size_in_one_launch_each_way(gpu: Backend, name: str) -> None:
    """Within 1e-6 of sums in double, of numbers that the precision has rounded; a bias's gradient is of those that it has not."""

    @settings(max_examples=12, deadline=None)
    @given(st.integers(1, 40), st.integers(1, 140), st.integers(1, 40), st.booleans(), st.integers(0, 99))
    def check(batch: int, inputs: int, outputs: int, relu: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        shapes = ((batch, inputs), (outputs, inputs), (batch, outputs), (outputs,))
        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        with precision(name):
            found = results(gpu.array, arrays, relu, "xwb")
        x, weight, slopes, bias = (array.astype(np.float64) for array in arrays)
        passed = np.where(found[0] != 0, slopes, 0) if relu else slopes
        x, weight, factor = map(to_tf32, (x, weight, passed)) if name == "tf32" else (x, weight, passed)
        output = x @ weight.T + bias
        expected = [np.maximum(output, 0) if relu else output, factor @ weight, factor.T @ x, passed.sum(0)]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * max(1, np.abs(other).max()))

    check()


def to_tf32(values: np.ndarray) -> np.ndarray:
    """To 11 bits, by arithmetic: halfway away from zero."""
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.trunc(fraction * 2048 + np.copysign(0.5, fraction)) / 2048, exponent)


def test_one_launch_each_way_or_products_of_cublas() -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    gradients = ["linear_gradients"]
    apart = ["relu_sums", "gemm", "gemm"]
    sizes = {(1, 512, 1): (["linear_forward"], gradients), (2, 1, 513): (["gemm", "bias_relu"], apart)}
    with emulated_gpu("fast") as cupy:
        for (batch, inputs, outputs), names in sizes.items():
            x, weight, slopes = (
                cupy.ones(shape, np.float32) for shape in ((batch, inputs), (outputs, inputs), (batch, outputs))
            )
            own = [cupy.empty(shape, np.float32) for shape in ((outputs, inputs), (outputs,))]
            with cupy.operation_log.recorded() as forward:
                output = linear(x, weight, own[1], True)
            with cupy.operation_log.recorded() as back:
                linear_gradients(slopes, x, weight, output, *own)
            assert tuple([operation.name for operation in log] for log in (forward, back)) == names


def test_the_fused_way_declines_what_is_wide_or_much_work() -> None:
    def empty(*shape: int) -> np.ndarray:
        return np.empty(shape, np.float32)

    for batch, inputs, outputs, small in (
        (64, 400, 120, True), (1024, 400, 120, True), (0, 3, 4, True), (4096, 100, 100, True), (4097, 1, 1, False),
        (1, 513, 1, False), (1, 1, 513, False), (256, 512, 512, True), (257, 512, 512, False),
    ):  # fmt: skip
        vectors, weight, gradient = empty(batch, inputs), empty(outputs, inputs), empty(batch, outputs)
        assert fused.suits([vectors, weight, None]) is small
        assert fused.suits_gradients([gradient, vectors, weight]) is small
        assert fused.suits_gradients([gradient, None, weight]) is small
    assert fused.suits_gradients([empty(4096, 512), None, None])


def test_the_same_bits_every_time_in_any_grid(gpu: Backend, rng: np.random.Generator) -> None:
    arrays = [
        rng.standard_normal(shape).astype(np.float32) for shape in ((33, 150), (20, 150), (33, 20), (20,))
    ]  # more than a step deep
    first = results(gpu.array, arrays, True, "xwb")
    for most in (1, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gpucnn.kernels.launch.MOST_BLOCKS", most)
            again = results(gpu.array, arrays, True, "xwb")
        assert [one.tobytes() for one in again] == [one.tobytes() for one in first]
