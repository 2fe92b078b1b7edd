"""One contract for every differentiable function, held against oracles that share no code with it.

Forward values against naive float64 loops, every gradient against central differences of those loops; in both dtypes,
on contiguous and on strided inputs; shape and dtype before values; inputs unchanged.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.testing import oracles
from tests.backends import Backend, host
from tests.functions.activation_cases import CASES as ACTIVATION_CASES
from tests.functions.array_cases import CASES as ARRAY_CASES
from tests.functions.case import Case
from tests.functions.conv_cases import CASES as CONV_CASES
from tests.functions.loss_cases import CASES as LOSS_CASES
from tests.functions.normalization_cases import CASES as NORMALIZATION_CASES
from tests.functions.pooling_cases import CASES as POOLING_CASES
from tests.functions.sequence_cases import CASES as SEQUENCE_CASES

Array = np.ndarray
LABELS = np.array([2, 0, 1, 2, 2])
CLASS_WEIGHTS = [0.5, 2.0, 1.0, 0.25]


def spread(rng: np.random.Generator, shape: tuple[int, ...], positive: bool) -> Array:
    """Values with no two closer than 0.05 and none within 0.02 of zero: no kink lies within a difference's step."""
    values = rng.permutation(np.prod(shape, dtype=int)) * 0.05 + 0.031
    if not positive:
        values -= 0.05 * (len(values) // 2)
    return values.reshape(shape)


CASES = [
    Case("conv2d", F.conv2d, oracles.conv2d, ((2, 3, 5, 4), (4, 3, 3, 2), (4,))),
    Case("conv2d without bias", F.conv2d, oracles.conv2d, ((1, 2, 4, 5), (3, 2, 2, 3))),
    Case(
        "conv2d stride padding dilation",
        lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 2), (1, 2)),
        lambda x, w, b: oracles.conv2d(x, w, b, (2, 1), (1, 2), (1, 2)),
        ((2, 2, 5, 6), (3, 2, 3, 2), (3,)),
    ),
    Case(
        "conv2d groups",
        lambda x, w, b: F.conv2d(x, w, b, 2, 1, groups=2),
        lambda x, w, b: oracles.conv2d(x, w, b, (2, 2), (1, 1), (1, 1), 2),
        ((2, 4, 5, 5), (6, 2, 3, 3), (6,)),
    ),
    Case("conv2d with leftover rows", lambda x, w: F.conv2d(x, w, None, 2), lambda x, w: oracles.conv2d(x, w, None, (2, 2)), ((2, 2, 6, 6), (2, 2, 3, 3))),
    Case(
        "conv2d with relu",
        lambda x, w, b: F.conv2d(x, w, b, padding=1, activation="relu"),
        lambda x, w, b: np.maximum(oracles.conv2d(x, w, b, padding=(1, 1)), 0),
        ((2, 2, 4, 3), (3, 2, 3, 3), (3,)),
    ),
    Case("conv2d 1x1", F.conv2d, oracles.conv2d, ((2, 3, 2, 3), (4, 3, 1, 1), (4,))),
    Case("max_pool2d", lambda x: F.max_pool2d(x, 2), lambda x: oracles.max_pool2d(x, (2, 2), (2, 2)), ((2, 3, 5, 4),)),
    Case(
        "max_pool2d overlapping, padded, dilated",
        lambda x: F.max_pool2d(x, (3, 2), (1, 2), (1, 1), (2, 1)),
        lambda x: oracles.max_pool2d(x, (3, 2), (1, 2), (1, 1), (2, 1)),
        ((2, 2, 6, 5),),
    ),
    Case("avg_pool2d", lambda x: F.avg_pool2d(x, 2), lambda x: oracles.avg_pool2d(x, (2, 2), (2, 2)), ((2, 3, 4, 5),)),
    Case(
        "avg_pool2d overlapping, padded",
        lambda x: F.avg_pool2d(x, 3, (1, 2), 1),
        lambda x: oracles.avg_pool2d(x, (3, 3), (1, 2), (1, 1)),
        ((2, 2, 4, 5),),
    ),
    Case(
        "avg_pool2d without the padding",
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: oracles.avg_pool2d(x, (3, 3), (2, 2), (1, 1), False),
        ((2, 2, 5, 5),),
    ),
    Case("linear", F.linear, lambda x, w, b: np.einsum("ni,oi->no", x, w) + b, ((3, 5), (4, 5), (4,))),
    Case("linear without bias", F.linear, lambda x, w: np.einsum("ni,oi->no", x, w), ((1, 5), (4, 5))),
    Case(
        "linear with relu",
        lambda x, w, b: F.linear(x, w, b, activation="relu"),
        lambda x, w, b: np.maximum(np.einsum("ni,oi->no", x, w) + b, 0),
        ((3, 5), (4, 5), (4,)),
    ),
    Case("linear of sequences", F.linear, lambda x, w, b: np.einsum("nlki,oi->nlko", x, w) + b, ((2, 3, 2, 5), (4, 5), (4,))),
    Case("linear of sequences with relu", lambda x, w: F.linear(x, w, None, "relu"), lambda x, w: np.maximum(np.einsum("nli,oi->nlo", x, w), 0), ((2, 3, 5), (4, 5))),
    Case("relu", F.relu, lambda x: np.where(x > 0, x, 0.0), ((3, 4, 2),)),
    Case("softmax", F.softmax, oracles.softmax, ((5, 4),)),
    Case("softmax over axis 0", lambda x: F.softmax(x, axis=0), lambda x: oracles.softmax(x.T).T, ((5, 4),)),
    Case("log_softmax", F.log_softmax, lambda x: np.log(oracles.softmax(x)), ((5, 4),)),
    Case("log_softmax over axis -2", lambda x: F.log_softmax(x, -2), lambda x: np.log(oracles.softmax(x.T).T), ((5, 4),)),
    Case(
        "cross_entropy",
        lambda x: F.cross_entropy(x, LABELS),
        lambda x: np.array(oracles.cross_entropy(x, LABELS)),
        ((5, 4),),
    ),
    Case(
        "cross_entropy weighted and smoothed",
        lambda x: F.cross_entropy(x, LABELS, CLASS_WEIGHTS, label_smoothing=0.2),
        lambda x: np.array(oracles.cross_entropy(x, LABELS, np.array(CLASS_WEIGHTS), 0.2)),
        ((5, 4),),
    ),
    Case("add", F.add, lambda a, b: a + b, ((2, 3, 4), (3, 1))),
    Case("subtract", F.subtract, lambda a, b: a - b, ((3, 1), (2, 1, 4))),
    Case("multiply", F.multiply, lambda a, b: a * b, ((2, 3), (2, 3))),
    Case("multiply by one row", F.multiply, lambda a, b: a * b, ((1, 4), (3, 4))),
    Case("divide", F.divide, lambda a, b: a / b, ((2, 3, 1), (4,)), True),
    Case("maximum", F.maximum, np.maximum, ((2, 3), (3,))),
    Case("matmul", F.matmul, lambda a, b: np.einsum("nij,jk->nik", a, b), ((2, 3, 4), (4, 5))),
    Case("matmul broadcast", F.matmul, lambda a, b: np.einsum("aij,bjk->abik", a[:, 0], b), ((2, 1, 3, 4), (5, 4, 2))),
    Case("negative", F.negative, lambda x: 0.0 - x, ((3, 2),)),
    Case("power", lambda x: F.power(x, 3), lambda x: x * x * x, ((3, 2),)),
    Case("power of a half", lambda x: F.power(x, 0.5), np.sqrt, ((3, 2),), True),
    Case("exp", F.exp, np.exp, ((3, 2),)),
    Case("log", F.log, np.log, ((3, 2),), True),
    Case("sum", F.sum, lambda x: np.einsum("ijk->", x), ((2, 3, 4),)),
    Case("sum over axes", lambda x: F.sum(x, (0, -1)), lambda x: np.einsum("ijk->j", x), ((2, 3, 4),)),
    Case("sum keeping axes", lambda x: F.sum(x, 1, True), lambda x: np.einsum("ijk->ik", x)[:, None], ((2, 3, 4),)),
    Case("mean", F.mean, lambda x: np.einsum("ijk->", x) / 24, ((2, 3, 4),)),
    Case("mean over an axis", lambda x: F.mean(x, -1), lambda x: np.einsum("ijk->ij", x) / 4, ((2, 3, 4),)),
    Case("reshape", lambda x: F.reshape(x, (4, -1)), lambda x: np.array(x.ravel().tolist()).reshape(4, 6), ((2, 3, 4),)),
    Case("flatten", F.flatten, lambda x: np.array([row.ravel().tolist() for row in x]), ((2, 3, 4),)),
    Case("transpose", lambda x: F.transpose(x, (1, 2, 0)), lambda x: np.einsum("ijk->jki", x), ((2, 3, 4),)),
    Case("transpose reversed", F.transpose, lambda x: np.einsum("ijk->kji", x), ((2, 3, 4),)),
    *ARRAY_CASES,
    *CONV_CASES,
    *NORMALIZATION_CASES,
    *POOLING_CASES,
    *SEQUENCE_CASES,
    *ACTIVATION_CASES,
    *LOSS_CASES,
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_forward_and_every_gradient(backend: Backend, case: Case, dtype: type) -> None:
    check(case, dtype, backend, backend.array)


@pytest.mark.parametrize("layout", ["strided", "fortran"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_forward_and_every_gradient_of_other_layouts(backend: Backend, case: Case, layout: str) -> None:
    """In one dtype, as layouts are seen to before; compiled loops have only float32."""
    lay_out = {"strided": backend.strided, "fortran": backend.fortran}[layout]
    check(case, np.float32 if backend.name == "jit" else np.float64, backend, lay_out)


def check(case: Case, dtype: type, backend: Backend, lay_out: Callable[[Array], Any]) -> None:
    """Output and gradients on a backend, of inputs that are laid out there."""
    originals, expected, weights, slopes = what_the_oracle_says(case.name, dtype)
    arrays = [lay_out(array) for array in originals]
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    output = case.function(*tensors)
    assert output.shape == expected.shape
    assert output.dtype == dtype
    assert output.requires_grad
    tolerance = {"rtol": 1e-10, "atol": 1e-11} if dtype is np.float64 else {"rtol": 2e-5, "atol": 2e-5}
    np.testing.assert_allclose(output.numpy(), expected, **tolerance)

    output.backward(backend.array(weights.astype(dtype)))
    for tensor, array, slope in zip(tensors, arrays, slopes, strict=True):
        assert tensor.grad is not None
        assert tensor.grad.shape == array.shape
        assert tensor.grad.dtype == dtype
        loose = {"rtol": 1e-6, "atol": 1e-7} if dtype is np.float64 else {"rtol": 1e-4, "atol": 1e-4}
        np.testing.assert_allclose(host(tensor.grad), slope, **loose)
    for array, original in zip(arrays, originals, strict=True):
        np.testing.assert_array_equal(host(array), original)


@functools.cache
def what_the_oracle_says(name: str, dtype: type) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, list[np.ndarray]]:
    """Inputs of a case, the output, weights of its elements, and the inputs' gradients: once for all backends and layouts."""
    case = next(case for case in CASES if case.name == name)
    rng = np.random.default_rng(0)
    originals = [spread(rng, shape, case.positive).astype(dtype) for shape in case.shapes]
    exact = [array.astype(np.float64) for array in originals]
    expected = np.asarray(case.oracle(*exact))
    weights = rng.uniform(0.5, 1.5, expected.shape)
    slopes = [oracles.gradient(case.oracle, exact, position, weights) for position in range(len(exact))]
    return originals, expected, weights, slopes


@pytest.mark.parametrize("case", [case for case in CASES if len(case.shapes) > 1], ids=lambda case: case.name)
def test_an_input_that_needs_no_gradient_gets_none(backend: Backend, case: Case, rng: np.random.Generator) -> None:
    for position in range(len(case.shapes)):
        tensors = [backend.tensor(spread(rng, shape, True), i == position) for i, shape in enumerate(case.shapes)]
        output = case.function(*tensors)
        output.backward(np.ones(output.shape))
        assert [tensor.grad is not None for tensor in tensors] == [i == position for i in range(len(tensors))]


BATCHED = ("conv1d", "conv2d", "max_pool1d", "max_pool2d", "avg_pool2d", "linear", "relu", "flatten", "exp")


@pytest.mark.parametrize("case", [case for case in CASES if case.name.startswith(BATCHED)], ids=lambda case: case.name)
def test_an_empty_batch_passes_through(backend: Backend, case: Case) -> None:
    first = backend.tensor(np.zeros((0, *case.shapes[0][1:]), np.float32), True)
    others = [backend.tensor(np.ones(shape, np.float32), True) for shape in case.shapes[1:]]
    output = case.function(first, *others)
    assert output.shape[0] == 0
    output.backward(np.ones(output.shape, np.float32))
    assert first.grad is not None
    assert all(tensor.grad is not None and not host(tensor.grad).any() for tensor in others)


def test_every_public_function_has_a_case() -> None:
    plain = {"convolve2d", "max_pooling"}  # tested in test_plain_arrays.py
    random = {"dropout", "dropout2d", "stochastic_depth"}  # tested in test_dropout.py
    without_gradient = {"argmax", "argmin"}  # tested in test_tensor_methods.py
    public = {name for name in vars(F) if callable(getattr(F, name)) and not name.startswith("_")}
    assert {case.name.partition(" ")[0] for case in CASES} == public - plain - random - without_gradient
