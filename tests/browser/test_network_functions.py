"""Each function of network.js, forwards and backwards, against formulas in NumPy and their differences."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn.kernels import ways
from gpucnn.layers import Layer, Parameter
from gpucnn.play.browser_graph import browser_graph, known_functions
from tests.browser.network_page import NetworkPage

RNG = np.random.default_rng(20261129)


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


class Case(NamedTuple):
    """A function of maps (1, 4, 5, 6), as gpucnn has it, and the same in NumPy, without gpucnn."""

    function: Callable[..., Any]
    oracle: Callable[..., np.ndarray]
    arrays: tuple[np.ndarray, ...] = ()
    """Which both take after the maps, as parameters of a model."""


class Model(Layer):
    def __init__(self, case: Case) -> None:
        self.function = case.function
        for number, array in enumerate(case.arrays):
            setattr(self, f"array{number}", Parameter(array))
        self.count = len(case.arrays)
        self.unused = Parameter(np.ones(1, np.float32))

    def forward(self, x: Any) -> Any:
        return self.function(x, *(getattr(self, f"array{number}") for number in range(self.count)))


def convolved(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """The chapter's loops, one output at a time."""
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    filters, per, *kernel = weight.shape
    extent = [space * (size - 1) + 1 for space, size in zip(dilation, kernel, strict=True)]
    size = [(x.shape[2 + axis] - extent[axis]) // stride[axis] + 1 for axis in (0, 1)]
    found = np.zeros((1, filters, *size))
    for o, i, j in product(range(filters), *map(range, size)):
        first = o // (filters // groups) * per
        top, left = i * stride[0], j * stride[1]
        window = x[0, first : first + per, top : top + extent[0] : dilation[0], left : left + extent[1] : dilation[1]]
        found[0, o, i, j] = np.sum(window * weight[o]) + (0 if bias is None else bias[o])
    return found


def transposed(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, padding: int, extra: int, groups: int
) -> np.ndarray:
    """Each value of x, times the filter, is added to the places that the window covers."""
    inputs, per, *kernel = weight.shape
    size = [(x.shape[2 + axis] - 1) * stride + kernel[axis] for axis in (0, 1)]
    whole = np.zeros((1, per * groups, size[0] + extra, size[1] + extra))
    for c, i, j in product(range(inputs), range(x.shape[2]), range(x.shape[3])):
        first = c // (inputs // groups) * per
        part = whole[0, first : first + per, i * stride :, j * stride :]
        part[:, : kernel[0], : kernel[1]] += x[0, c, i, j] * weight[c]
    return whole[:, :, padding : whole.shape[2] - padding, padding : whole.shape[3] - padding] + bias[:, None, None]


def pooled(
    x: np.ndarray, reduce: Callable[[list[float], int, int], float], kernel: int, stride: int, padding: int, ceil: bool
) -> np.ndarray:
    """`reduce` gets the values of a window that lie in the image, and of how many rows and columns it is with its padding."""
    sizes = []
    for size in x.shape[2:]:
        steps = (size + 2 * padding - kernel) / stride
        count = (math.ceil(steps) if ceil else math.floor(steps)) + 1
        sizes.append(count - 1 if ceil and (count - 1) * stride >= size + padding else count)
    found = np.zeros((*x.shape[:2], *sizes))
    for c, i, j in product(range(x.shape[1]), *map(range, sizes)):
        ys, xs = (range(p * stride - padding, p * stride - padding + kernel) for p in (i, j))
        values = [x[0, c, y, z] for y, z in product(ys, xs) if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]]
        rows, columns = (
            sum(p < size + padding for p in positions) for positions, size in zip((ys, xs), x.shape[2:], strict=True)
        )
        found[0, c, i, j] = reduce(values, rows, columns)
    return found


def in_cells(x: np.ndarray, reduce: Callable[[np.ndarray], Any], rows: int, columns: int) -> np.ndarray:
    found = np.zeros((*x.shape[:2], rows, columns))
    for c, i, j in product(range(x.shape[1]), range(rows), range(columns)):
        top, bottom = math.floor(i * x.shape[2] / rows), math.ceil((i + 1) * x.shape[2] / rows)
        left, right = math.floor(j * x.shape[3] / columns), math.ceil((j + 1) * x.shape[3] / columns)
        found[0, c, i, j] = reduce(x[0, c, top:bottom, left:right])
    return found


def normalized(x: np.ndarray, axes: tuple[int, ...], eps: float = 1e-5) -> np.ndarray:
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    result: np.ndarray = (x - mean) / np.sqrt(variance + eps)
    return result


def each(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    return np.vectorize(function, otypes=[float])


def column(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]


MEAN, VARIANCE, SCALE, SHIFT = drawn(4), 0.5 + np.abs(drawn(4)), drawn(4), drawn(4)
IMAGE = drawn(1, 4, 5, 6)
CASES = {
    "conv2d": Case(
        lambda x, w, b: F.conv2d(x, w, b, (2, 1), ((1, 2), (0, 1)), (1, 2), 2),
        lambda x, w, b: convolved(x, w, b, (2, 1), ((1, 2), (0, 1)), (1, 2), 2),
        (drawn(6, 2, 3, 2), drawn(6)),
    ),
    "conv2d, same, ReLU": Case(
        lambda x, w, b: F.conv2d(x, w, b, padding="same", activation="relu"),
        lambda x, w, b: np.maximum(convolved(x, w, b, padding=((1, 1), (0, 1))), 0),
        (drawn(3, 4, 3, 2), drawn(3)),
    ),
    "conv2d, channel by channel": Case(
        lambda x, w: F.conv2d(x, w, groups=4, padding=1), lambda x, w: convolved(x, w, None, (1, 1), ((1, 1), (1, 1)), (1, 1), 4), (drawn(4, 1, 3, 3),)
    ),
    "conv_transpose2d": Case(
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2),
        lambda x, w, b: transposed(x, w, b, 2, 1, 1, 2),
        (drawn(4, 3, 3, 3), drawn(6)),
    ),
    "max_pool2d": Case(
        lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), lambda x: pooled(x, lambda v, *_: max(v), 3, 2, 1, True)
    ),
    "max_pool2d, dilated": Case(
        lambda x: F.max_pool2d(x, 2, 1, dilation=(2, 3)),
        lambda x: np.stack([x[:, :, i : 3 + i, j : 3 + j] for i in (0, 2) for j in (0, 3)]).max(axis=0),
    ),
    "avg_pool2d": Case(
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), lambda x: pooled(x, lambda v, r, c: sum(v) / (r * c), 3, 2, 1, True)
    ),
    "avg_pool2d, image alone": Case(
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: pooled(x, lambda v, *_: sum(v) / len(v), 3, 2, 1, False),
    ),
    "avg_pool2d, divided": Case(
        lambda x: F.avg_pool2d(x, 2, divisor_override=3), lambda x: pooled(x, lambda v, *_: sum(v) / 3, 2, 2, 0, False)
    ),
    "adaptive_avg_pool2d": Case(lambda x: F.adaptive_avg_pool2d(x, (3, 7)), lambda x: in_cells(x, np.mean, 3, 7)),
    "adaptive_max_pool2d": Case(lambda x: F.adaptive_max_pool2d(x, (2, 4)), lambda x: in_cells(x, np.max, 2, 4)),
    "linear": Case(
        lambda x, w, b: F.linear(x, w, b, activation="relu"), lambda x, w, b: np.maximum(x @ w.T + b, 0), (drawn(3, 6), drawn(3))
    ),
    "batch_norm": Case(
        lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b, activation="relu", residual=x * 0.5),
        lambda x, m, v, w, b: np.maximum((x - column(m)) / np.sqrt(column(v) + 1e-5) * column(w) + column(b) + x / 2, 0),
        (MEAN, VARIANCE, SCALE, SHIFT),
    ),
    "batch_norm, plain": Case(
        lambda x, m, v: F.batch_norm(x, m, v, eps=0.3), lambda x, m, v: (x - column(m)) / np.sqrt(column(v) + 0.3), (MEAN, VARIANCE)
    ),
    "layer_norm": Case(
        lambda x, w, b: F.layer_norm(x, (5, 6), w, b), lambda x, w, b: normalized(x, (2, 3)) * w + b, (drawn(5, 6), drawn(5, 6))
    ),
    "layer_norm, plain": Case(lambda x: F.layer_norm(x, 6, eps=0.3), lambda x: normalized(x, (3,), 0.3)),
    "relu": Case(F.relu, lambda x: np.maximum(x, 0)),
    "relu6": Case(lambda x: F.relu6(x * 6), lambda x: np.clip(6 * x, 0, 6)),
    "leaky_relu": Case(lambda x: F.leaky_relu(x, 0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "hardsigmoid": Case(lambda x: F.hardsigmoid(x * 3), lambda x: np.clip(3 * x + 3, 0, 6) / 6),
    "hardswish": Case(lambda x: F.hardswish(x * 3), lambda x: 3 * x * np.clip(3 * x + 3, 0, 6) / 6),
    "elu": Case(lambda x: F.elu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * (np.exp(x) - 1))),
    "sigmoid": Case(lambda x: F.sigmoid(x * 9), lambda x: 1 / (1 + np.exp(-9 * x))),
    "tanh": Case(F.tanh, np.tanh),
    "silu": Case(F.silu, lambda x: x / (1 + np.exp(-x))),
    "gelu": Case(lambda x: F.gelu(x * 3), each(lambda x: 3 * x * 0.5 * math.erfc(-3 * x / math.sqrt(2)))),
    "gelu, tanh": Case(
        lambda x: F.gelu(x, "tanh"), lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    ),
    "add": Case(lambda x, a: F.add(a, x, activation="relu"), lambda x, a: np.maximum(a + x, 0), (drawn(4, 1, 6),)),
    "subtract": Case(lambda x: 1 - x - F.mean(x, axis=1, keepdims=True), lambda x: 1 - x - x.mean(axis=1, keepdims=True)),
    "multiply": Case(lambda x, a: x * a * x, lambda x, a: x * a * x, (drawn(4, 1, 1),)),
    "divide": Case(lambda x: x / (x * x + 2), lambda x: x / (x * x + 2)),
    "mean": Case(lambda x: F.mean(x, axis=(2, -1)), lambda x: x.mean(axis=(2, 3))),
    "sum": Case(lambda x: F.sum(x, axis=-2, keepdims=True), lambda x: x.sum(axis=2, keepdims=True)),
    "softmax": Case(lambda x: F.softmax(x * 40, axis=1), lambda x: np.exp(40 * x) / np.exp(40 * x).sum(axis=1, keepdims=True)),
    "reshape": Case(lambda x: F.reshape(x, (1, 8, -1)) * 2, lambda x: 2 * x.reshape(1, 8, 15)),
    "flatten": Case(lambda x: F.flatten(x, 2), lambda x: x.reshape(1, 4, 30)),
    "squeeze": Case(lambda x: F.expand_dims(F.squeeze(x, 0), 0), lambda x: x),
    "expand_dims": Case(lambda x: F.expand_dims(x, (2, -1)), lambda x: x[:, :, None, :, :, None]),
    "dropout": Case(lambda x: F.dropout(x * 2, 0.5, training=False), lambda x: 2 * x),
    "dropout2d": Case(lambda x: F.dropout2d(x * 2, 0.5, training=False), lambda x: 2 * x),
    "stochastic_depth": Case(lambda x: F.stochastic_depth(x * 2, 0.5, training=False), lambda x: 2 * x),
    "transpose": Case(lambda x: F.transpose(x, (0, 3, 1, 2)), lambda x: x.transpose(0, 3, 1, 2)),
    "transpose, reversed": Case(lambda x: F.expand_dims(F.transpose(x), 0), lambda x: x.transpose()[None]),
    "getitem": Case(lambda x: x[:, 1:, ::-2, None, -1], lambda x: x[:, 1:, ::-2, None, -1]),
    "getitem, the middle": Case(lambda x: x[..., 1:5:3], lambda x: x[..., 1:5:3]),
    "pad": Case(
        lambda x: F.pad(x, ((0, 0), (1, 0), (-1, 2), (0, 3)), value=1.5),
        lambda x: np.pad(x[:, :, 1:], ((0, 0), (1, 0), (0, 2), (0, 3)), constant_values=1.5),
    ),
    "pad, reflect": Case(
        lambda x: F.pad(x, ((0, 0), (0, 0), (2, 1), (0, 5)), "reflect"), lambda x: np.pad(x, ((0, 0), (0, 0), (2, 1), (0, 5)), "reflect")
    ),
    "pad, replicate": Case(
        lambda x: F.pad(x, ((0, 0), (0, 0), (7, 1), (-2, 3)), "replicate"),
        lambda x: np.pad(x[:, :, :, 2:], ((0, 0), (0, 0), (7, 1), (0, 3)), "edge"),
    ),
    "pad, circular": Case(
        lambda x: F.pad(x, ((0, 0), (0, 2), (2, 1), (6, 0)), "circular"), lambda x: np.pad(x, ((0, 0), (0, 2), (2, 1), (6, 0)), "wrap")
    ),
    "concatenate": Case(
        lambda x: F.concatenate([x, x[:, :1] * 3, x], axis=-3), lambda x: np.concatenate([x, 3 * x[:, :1], x], axis=1)
    ),
    "concatenate, rows": Case(lambda x, a: F.concatenate([a, x], axis=2), lambda x, a: np.concatenate([a, x], axis=2), (drawn(1, 4, 2, 6),)),
}  # fmt: skip
"""By the function's name, and what is special."""


@pytest.fixture(autouse=True, scope="module")
def numpy_way() -> Iterator[None]:
    """Nothing is compiled for such small maps."""
    with ways.use("numpy"):
        yield


def differences(case: Case, label: int) -> np.ndarray:
    """How much the sum of the oracle's values at `label` grows with each element of IMAGE."""
    arrays, step = [array.astype(float) for array in case.arrays], 1e-6
    found = np.zeros(IMAGE.size)
    for place in range(IMAGE.size):
        ends = []
        for side in (step, -step):
            moved = IMAGE.astype(float)
            moved.flat[place] += side
            ends.append(case.oracle(moved, *arrays)[0, label].sum())
        found[place] = (ends[0] - ends[1]) / (2 * step)
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_function_is_its_formula_both_ways(name: str, network_page: NetworkPage) -> None:
    case = CASES[name]
    network_page.load(browser_graph(Model(case), IMAGE.shape))
    assert name.partition(",")[0] in [node["function"] for node in network_page.nodes]
    found, expected = network_page.forward(IMAGE)[-1], case.oracle(IMAGE.astype(float), *case.arrays)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    (gradient,) = network_page.backward(1, [-1])
    np.testing.assert_allclose(gradient, differences(case, 1), rtol=1e-4, atol=1e-4)


def test_every_function_has_a_case_and_python_knows_them_all(network_page: NetworkPage) -> None:
    known = network_page.page.evaluate("Object.keys(FUNCTIONS)")
    assert sorted(known) == list(known_functions())
    assert set(known) == {name.partition(",")[0] for name in CASES}
