"""Every function, its output and all its gradients, against PyTorch's in drawn configurations.

A configuration is drawn from a fixed seed; inputs and incoming gradients lie in memory in various ways (contiguous,
transposed, strided, reversed), and sometimes only some of the inputs require a gradient.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.errors import GpucnnError

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
from tests.pytorch.comparison import (  # noqa: E402 (it needs PyTorch)
    CONFIGURATIONS,
    PYTORCH_ERRORS,
    Agree,
    Arguments,
    assert_both_refuse,
    compare,
    draw_shape,
    drawn,
    in_both_dtypes,
    integer,
    ones,
    pair,
)
from tests.pytorch.draws import Drawn, draw_avg_pool2d, draw_conv2d, draw_max_pool2d  # noqa: E402

TF = torch.nn.functional


# Convolution and pooling


@drawn
@in_both_dtypes
def test_conv2d(agree: Agree, seed: int, dtype: str) -> None:
    arguments, values = draw_conv2d(seed)
    compare(
        agree,
        "conv2d",
        seed,
        dtype,
        lambda *x: F.conv2d(*x, **arguments),
        lambda *x: TF.conv2d(*x, **arguments),
        *values,
    )


@pytest.mark.parametrize(
    ("seed", "image_shape", "weight_shape", "arguments"),
    [
        (0, (5, 3, 64, 48), (4, 3, 5, 5), {"padding": 2}),
        (1, (2, 3, 120, 100), (4, 3, 5, 5), {"padding": (3, 1)}),
        (2, (1, 4, 150, 170), (6, 2, 5, 4), {"groups": 2, "stride": (1, 2), "dilation": (3, 2), "padding": 4}),
        (3, (1, 1, 3, 30_000), (2, 1, 3, 7), {"padding": (0, 3)}),
    ],
)
@in_both_dtypes
def test_conv2d_in_tiles(
    agree: Agree,
    seed: int,
    image_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    arguments: Arguments,
    dtype: str,
) -> None:
    """Columns above the byte cap: batches, images and rows are cut into tiles."""
    rng = np.random.default_rng(seed)
    compare(
        agree,
        "conv2d in tiles",
        seed,
        dtype,
        lambda *x: F.conv2d(*x, **arguments),
        lambda *x: TF.conv2d(*x, **arguments),
        rng.standard_normal(image_shape),
        rng.standard_normal(weight_shape),
        rng.standard_normal(weight_shape[0]),
    )


@drawn
@in_both_dtypes
def test_max_pool2d(agree: Agree, seed: int, dtype: str) -> None:
    arguments, [images] = draw_max_pool2d(seed)
    compare(
        agree,
        "max_pool2d",
        seed,
        dtype,
        lambda x: F.max_pool2d(x, **arguments),
        lambda x: TF.max_pool2d(x, **arguments),
        images,
    )


@drawn
@in_both_dtypes
def test_max_pool2d_without_gradient(agree: Agree, seed: int, dtype: str) -> None:
    """Several NaNs a window: whose the gradient is differs (the first one's here, the last one's in PyTorch)."""
    arguments, [images] = draw_max_pool2d(seed)
    images[np.random.default_rng([seed, 3]).random(images.shape) < 0.2] = np.nan
    images = images.astype(dtype)
    expected = TF.max_pool2d(torch.tensor(images), **arguments)
    output = F.max_pool2d(images, **arguments)
    agree("max_pool2d without gradient", seed, {"output": (output.numpy(), expected.numpy())})


@drawn
@in_both_dtypes
def test_avg_pool2d(agree: Agree, seed: int, dtype: str) -> None:
    arguments, [images] = draw_avg_pool2d(seed)
    compare(
        agree,
        "avg_pool2d",
        seed,
        dtype,
        lambda x: F.avg_pool2d(x, **arguments),
        lambda x: TF.avg_pool2d(x, **arguments),
        images,
    )


@pytest.mark.parametrize(
    ("function", "draw"),
    [(F.conv2d, draw_conv2d), (F.max_pool2d, draw_max_pool2d), (F.avg_pool2d, draw_avg_pool2d)],
)
def test_drawn_configurations_see_every_argument(function: Callable[..., Tensor], draw: Callable[[int], Drawn]) -> None:
    """Each argument at its default and off it, alone or with others, and images that are not square."""
    configurations = [draw(seed) for seed in range(CONFIGURATIONS)]
    parameters = inspect.signature(function).parameters
    for name in configurations[0][0]:
        at_default = sum(arguments[name] == parameters[name].default for arguments, _ in configurations)
        assert name == "kernel_size" or 3 <= at_default <= CONFIGURATIONS - 8, name
    assert sum(values[0].shape[2] != values[0].shape[3] for _, values in configurations) >= 20
    if function is F.conv2d:
        assert 8 <= sum(len(values) == 3 for _, values in configurations) <= CONFIGURATIONS - 8


# Layers' other functions, and the loss


@drawn
@in_both_dtypes
def test_linear(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    batch, inputs, outputs = (integer(rng, 1, 12) for _ in range(3))
    leading = (batch,) if seed % 2 else draw_shape(np.random.default_rng([seed, 5]), least=0, most=3)
    values = [rng.standard_normal((*leading, inputs)), rng.standard_normal((outputs, inputs))]
    if seed % 3:
        values.append(rng.standard_normal(outputs))
    compare(agree, "linear", seed, dtype, F.linear, TF.linear, *values)


@drawn
@in_both_dtypes
def test_relu(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    values = rng.integers(-2, 3, shape) if seed % 2 else rng.standard_normal(shape)
    compare(agree, "relu", seed, dtype, F.relu, torch.relu, values)


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [("log_softmax", F.log_softmax, TF.log_softmax), ("softmax", F.softmax, TF.softmax)],
)
@drawn
@in_both_dtypes
def test_softmax(
    agree: Agree, name: str, ours: Callable[..., Tensor], theirs: Callable[..., torch.Tensor], seed: int, dtype: str
) -> None:
    """Also of logits in the thousands, whose exponentials overflow."""
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    axis = integer(rng, -len(shape), len(shape) - 1)
    logits = rng.standard_normal(shape) * rng.choice([1, 10, 1000])
    compare(agree, name, seed, dtype, lambda x: ours(x, axis), lambda x: theirs(x, axis), logits)


@drawn
@in_both_dtypes
def test_cross_entropy(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    batch, classes = integer(rng, 1, 16), integer(rng, 2, 12)
    positions = draw_shape(np.random.default_rng([seed, 5]), most=3) if seed % 3 == 0 else ()
    logits = rng.standard_normal((batch, classes, *positions)) * rng.choice([1, 10, 1000])
    labels = rng.integers(classes, size=(batch, *positions))
    weight = rng.uniform(0.1, 2, classes).astype(dtype) if rng.random() < 0.5 else None
    smoothing = float(rng.choice([0, 0.1, 0.5, 0.95]))
    given_labels = (labels.tolist(), labels.astype("uint8"), labels.astype("int32"), Tensor(labels))[seed % 4]
    compare(
        agree,
        "cross_entropy",
        seed,
        dtype,
        lambda x: F.cross_entropy(x, given_labels, weight, smoothing),
        lambda x: TF.cross_entropy(
            x,
            torch.tensor(labels),
            weight=None if weight is None else torch.tensor(weight),
            label_smoothing=smoothing,
        ),
        logits,
    )


# Dropout, and the chapter's functions of plain arrays


@pytest.mark.parametrize("function", [F.dropout, F.dropout2d])
@drawn
@in_both_dtypes
def test_dropout(agree: Agree, function: Callable[..., Tensor], seed: int, dtype: str) -> None:
    """PyTorch draws other masks, so it is given ours: the factors that ones come out with."""
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng, least=2)
    arguments = {
        "p": float(rng.uniform(0, 0.9)),
        "training": bool(seed % 5),
        "seed": seed,
        "counter": integer(rng, 0, 9),
    }
    factors = torch.tensor(function(np.ones(shape, dtype), **arguments).numpy())
    compare(
        agree,
        function.__name__,
        seed,
        dtype,
        lambda x: function(x, **arguments),
        lambda x: x * factors,
        rng.standard_normal(shape),
    )


@drawn
@in_both_dtypes
def test_plain_arrays(agree: Agree, seed: int, dtype: str) -> None:
    """One image (H, W); arrays in, arrays out, and no gradient."""
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal(pair(rng, 1, 4)).astype(dtype)
    image = rng.standard_normal(pair(rng, 4, 9)).astype(dtype)
    stride, padding, pool_size = integer(rng, 1, 3), integer(rng, 0, 2), integer(rng, 1, 4)
    expected = TF.conv2d(*(torch.tensor(array)[None, None] for array in (image, kernel)), None, stride, padding)
    agree("convolve2d", seed, {"output": (F.convolve2d(image, kernel, stride, padding), expected[0, 0].numpy())})
    expected = TF.max_pool2d(torch.tensor(image)[None], pool_size, stride)
    agree("max_pooling", seed, {"output": (F.max_pooling(image, pool_size, stride), expected[0].numpy())})


# Shapes


@drawn
@in_both_dtypes
def test_reshape(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    new_shape = [int(size) for size in rng.permutation([*shape, 1])]
    joined = integer(rng, 1, len(new_shape))
    new_shape = [math.prod(new_shape[:joined]), *new_shape[joined:]]
    if seed % 2:
        new_shape[integer(rng, 0, len(new_shape) - 1)] = -1
    values = rng.standard_normal(shape)
    compare(agree, "reshape", seed, dtype, lambda x: F.reshape(x, new_shape), lambda x: x.reshape(new_shape), values)


@drawn
@in_both_dtypes
def test_flatten(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng, least=2)
    start = 1 if seed % 2 else integer(rng, 0, len(shape) - 1)
    compare(
        agree,
        "flatten",
        seed,
        dtype,
        lambda x: F.flatten(x) if start == 1 else F.flatten(x, start),
        lambda x: torch.flatten(x, start),
        rng.standard_normal(shape),
    )


@drawn
@in_both_dtypes
def test_transpose(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    order = tuple(reversed(range(len(shape)))) if seed % 4 == 0 else tuple(map(int, rng.permutation(len(shape))))
    ours = None if seed % 4 == 0 else tuple(axis - len(shape) * integer(rng, 0, 1) for axis in order)
    compare(
        agree,
        "transpose",
        seed,
        dtype,
        lambda x: F.transpose(x, ours),
        lambda x: x.permute(order),
        rng.standard_normal(shape),
    )


# Arithmetic


def draw_broadcast(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast: each lacks some leading axes of a common one, and has size 1 in some others."""
    common = draw_shape(rng, least=0)
    shapes = []
    for _ in range(2):
        kept = common[integer(rng, 0, len(common)) if rng.random() < 0.4 else 0 :]
        shapes.append(tuple(1 if rng.random() < 0.25 else size for size in kept))
    return shapes[0], shapes[1]


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("add", F.add, torch.add),
        ("subtract", F.subtract, torch.subtract),
        ("multiply", F.multiply, torch.multiply),
        ("divide", F.divide, torch.divide),
        ("maximum", F.maximum, torch.maximum),
    ],
)
@drawn
@in_both_dtypes
def test_arithmetic(
    agree: Agree, name: str, ours: Callable[..., Tensor], theirs: Callable[..., torch.Tensor], seed: int, dtype: str
) -> None:
    """Of shapes that broadcast; `maximum` also where both sides are equal, `divide` with divisors away from 0."""
    rng = np.random.default_rng(seed)
    shapes = draw_broadcast(rng)
    a, b = (rng.standard_normal(shape) for shape in shapes)
    if name == "divide":
        b = rng.uniform(0.5, 2, b.shape) * rng.choice([-1, 1], b.shape)
    if name == "maximum" and seed % 2:
        a, b = (rng.integers(0, 2, shape) for shape in shapes)
    compare(agree, name, seed, dtype, ours, theirs, np.asarray(a), np.asarray(b))


@drawn
@in_both_dtypes
def test_matmul(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    rows, inner, columns = (integer(rng, 1, 6) for _ in range(3))
    leading = draw_broadcast(rng) if seed % 4 else ((), ())
    a = rng.standard_normal((*leading[0], rows, inner))
    b = rng.standard_normal((*leading[1], inner, columns))
    compare(agree, "matmul", seed, dtype, F.matmul, torch.matmul, a, b)


@drawn
@in_both_dtypes
def test_power(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    exponent = [2, 3, 1, -1, -2, 0.5, -0.5, 1.5, 2.0, 0][seed % 10]
    base = rng.uniform(0.5, 2, draw_shape(rng))
    if exponent == int(exponent):
        base *= rng.choice([-1, 1], base.shape)
    compare(agree, "power", seed, dtype, lambda x: F.power(x, exponent), lambda x: x**exponent, base)


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [("exp", F.exp, torch.exp), ("log", F.log, torch.log), ("negative", F.negative, torch.negative)],
)
@drawn
@in_both_dtypes
def test_elementwise(
    agree: Agree, name: str, ours: Callable[..., Tensor], theirs: Callable[..., torch.Tensor], seed: int, dtype: str
) -> None:
    rng = np.random.default_rng(seed)
    compare(agree, name, seed, dtype, ours, theirs, np.exp(rng.uniform(-2, 2, draw_shape(rng))))


@pytest.mark.parametrize(("name", "ours", "theirs"), [("sum", F.sum, torch.sum), ("mean", F.mean, torch.mean)])
@drawn
@in_both_dtypes
def test_reduction(
    agree: Agree, name: str, ours: Callable[..., Tensor], theirs: Callable[..., torch.Tensor], seed: int, dtype: str
) -> None:
    """Over one axis, several, or all; an axis may be counted from the end."""
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    ndim, keepdims = len(shape), bool(rng.random() < 0.5)
    chosen = [int(axis) for axis in rng.permutation(ndim)[: integer(rng, 1, ndim)]]
    axes = [axis - ndim * integer(rng, 0, 1) for axis in chosen]
    axis: int | Sequence[int] | None = (axes, axes[0], None)[seed % 3]
    dim = tuple(range(ndim)) if axis is None else axis
    compare(
        agree,
        name,
        seed,
        dtype,
        lambda x: ours(x, axis, keepdims),
        lambda x: theirs(x, dim=dim, keepdim=keepdims),
        rng.standard_normal(shape),
    )


EXPRESSIONS: list[Callable[[Any], Any]] = [
    lambda x: x + 2,
    lambda x: 2 + x,
    lambda x: x - 1.5,
    lambda x: 1.5 - x,
    lambda x: x * 3,
    lambda x: 0.25 * x,
    lambda x: x / 7,
    lambda x: 7 / x,
    lambda x: x**2,
    lambda x: -x,
    lambda x: x @ x.reshape(x.shape[1], x.shape[0]),
    lambda x: (x * x).sum() / x.mean(),
    lambda x: (y := x * x) * y - y / x + (z := y.sum()) * z,
]


@drawn
@in_both_dtypes
def test_operators(agree: Agree, seed: int, dtype: str) -> None:
    """The same Python expression for both, in which tensors meet plain numbers or are used more than once."""
    rng = np.random.default_rng(seed)
    expression = EXPRESSIONS[seed % len(EXPRESSIONS)]
    values = rng.uniform(0.5, 2, (integer(rng, 1, 5), integer(rng, 1, 5)))
    compare(agree, "operators", seed, dtype, expression, expression, values)


# Infinities, NaNs and zeros, empty batches

SPECIAL = np.array([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan])
MASKED = np.array([[1.0, 2.0, -np.inf], [0.0, 1.0, 2.0]])
"""Logits that rule a class out."""

LABELS = torch.tensor([0, 1])
NO_LABELS = torch.zeros(0, dtype=torch.int64)


@pytest.mark.parametrize(
    ("ours", "theirs", "values"),
    [
        pytest.param(F.exp, torch.exp, [SPECIAL * 1000], id="exp"),
        pytest.param(F.log, torch.log, [SPECIAL], id="log"),
        pytest.param(F.add, torch.add, [SPECIAL, SPECIAL[:, None]], id="add"),
        pytest.param(F.subtract, torch.subtract, [SPECIAL, SPECIAL[:, None]], id="subtract"),
        pytest.param(F.multiply, torch.multiply, [SPECIAL, SPECIAL[:, None]], id="multiply"),
        pytest.param(F.divide, torch.divide, [SPECIAL, SPECIAL[:, None]], id="divide"),
        pytest.param(F.maximum, torch.maximum, [SPECIAL[:-1], SPECIAL[:-1, None]], id="maximum"),
        *[
            pytest.param(lambda x, p=p: F.power(x, p), lambda x, p=p: x**p, [SPECIAL], id=f"power {p}")
            for p in (1, 2, 3, -1, 2.5)
        ],
        pytest.param(lambda x: F.power(x, 0.5), torch.sqrt, [SPECIAL[3:]], id="power 0.5"),
        pytest.param(F.relu, torch.relu, [SPECIAL[:-1]], id="relu"),
        pytest.param(F.softmax, lambda x: TF.softmax(x, 1), [MASKED], id="softmax"),
        pytest.param(F.log_softmax, lambda x: TF.log_softmax(x, 1), [MASKED], id="log_softmax"),
        pytest.param(
            lambda x: F.cross_entropy(x, [0, 1], None, 0.1),
            lambda x: TF.cross_entropy(x, LABELS, label_smoothing=0.1),
            [MASKED],
            id="cross_entropy, smoothed",
        ),
        pytest.param(
            lambda x: F.cross_entropy(x, [0, 1], [0.0, 0.0, 1.0]),
            lambda x: TF.cross_entropy(x, LABELS, weight=torch.tensor([0.0, 0.0, 1.0], dtype=x.dtype)),
            [MASKED],
            id="cross_entropy, labels of no weight",
        ),
        pytest.param(F.conv2d, TF.conv2d, [SPECIAL[None, None, None], ones(1, 1, 1, 2)], id="conv2d"),
        pytest.param(
            lambda x: F.avg_pool2d(x, (1, 2)),
            lambda x: TF.avg_pool2d(x, (1, 2)),
            [SPECIAL[None, None, None]],
            id="avg_pool2d",
        ),
        pytest.param(F.conv2d, TF.conv2d, [ones(0, 2, 5, 5), ones(3, 2, 3, 3), ones(3)], id="conv2d, empty"),
        pytest.param(
            lambda x: F.max_pool2d(x, 2), lambda x: TF.max_pool2d(x, 2), [ones(0, 2, 5, 5)], id="max_pool2d, empty"
        ),
        pytest.param(
            lambda x: F.avg_pool2d(x, 2), lambda x: TF.avg_pool2d(x, 2), [ones(0, 2, 5, 5)], id="avg_pool2d, empty"
        ),
        pytest.param(F.linear, TF.linear, [ones(0, 3), ones(4, 3), ones(4)], id="linear, empty"),
        pytest.param(F.flatten, lambda x: torch.flatten(x, 1), [ones(0, 2, 3, 3)], id="flatten, empty"),
        pytest.param(F.relu, torch.relu, [ones(0, 3)], id="relu, empty"),
        pytest.param(F.softmax, lambda x: TF.softmax(x, 1), [ones(0, 3)], id="softmax, empty"),
        pytest.param(F.log_softmax, lambda x: TF.log_softmax(x, 1), [ones(0, 3)], id="log_softmax, empty"),
        pytest.param(F.sum, torch.sum, [ones(0, 3)], id="sum, empty"),
        pytest.param(F.mean, torch.mean, [ones(0, 3)], id="mean, empty"),
        pytest.param(F.matmul, torch.matmul, [ones(2, 0), ones(0, 3)], id="matmul, empty"),
        pytest.param(F.add, torch.add, [ones(0, 3), ones(3)], id="add, empty"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@in_both_dtypes
def test_special_values(
    agree: Agree,
    ours: Callable[..., Tensor],
    theirs: Callable[..., torch.Tensor],
    values: list[np.ndarray],
    dtype: str,
    request: pytest.FixtureRequest,
) -> None:
    name = request.node.callspec.id.removeprefix(f"{dtype}-")
    for seed in range(4):
        compare(agree, "special values", seed, dtype, ours, theirs, *values, configuration=name)


SMALL_CEIL = {"kernel_size": 3, "stride": 2, "ceil_mode": True}


@pytest.mark.parametrize(
    ("ours", "theirs", "values"),
    [
        *[
            pytest.param(expression, expression, [SPECIAL[1:5]], id=f"0.1, {name}")
            for name, expression in [
                ("add", lambda x: x + 0.1),
                ("subtract", lambda x: 0.1 - x),
                ("multiply", lambda x: x * 0.1),
                ("divide", lambda x: x / 0.1),
            ]
        ],
        pytest.param(
            lambda x: F.cross_entropy(x, [0, 1]),
            lambda x: TF.cross_entropy(x, LABELS),
            [MASKED],
            id="cross_entropy of -inf",
        ),
        pytest.param(lambda x: F.power(x, 0), lambda x: x**0, [SPECIAL], id="power 0"),
        pytest.param(F.relu, torch.relu, [SPECIAL], id="relu of NaN"),
        pytest.param(F.maximum, torch.maximum, [SPECIAL, SPECIAL[:, None]], id="maximum of NaN"),
        *[
            pytest.param(
                lambda x, ours=ours: ours(x, **SMALL_CEIL),
                lambda x, theirs=theirs: theirs(x, **SMALL_CEIL),
                [ones(1, 1, 2, 2)],
                id=f"{ours.__name__}, small image in ceil mode",
            )
            for ours, theirs in [(F.max_pool2d, TF.max_pool2d), (F.avg_pool2d, TF.avg_pool2d)]
        ],
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_edges(
    agree: Agree, ours: Callable[..., Tensor], theirs: Callable[..., torch.Tensor], values: list[np.ndarray]
) -> None:
    for seed in range(4):
        compare(agree, "edges", seed, "float64", ours, theirs, *values)


def test_what_pytorch_takes_and_gpucnn_refuses() -> None:
    """A mean over no images (NaN there) and filters that see no channels (zeros there) are mistakes, so we say so."""
    assert torch.isnan(TF.cross_entropy(torch.zeros(0, 3), NO_LABELS))
    with pytest.raises(GpucnnError, match="of at least one image"):
        F.cross_entropy(Tensor(ones(0, 3)), np.zeros(0, int))
    assert not TF.conv2d(torch.ones(2, 0, 5, 5), torch.ones(3, 0, 3, 3)).any()
    with pytest.raises(GpucnnError, match="no size 0"):
        F.conv2d(Tensor(ones(2, 0, 5, 5)), Tensor(ones(3, 0, 3, 3)))


# What PyTorch refuses


REFUSED: list[tuple[str, Callable[..., Any], Callable[..., Any], list[np.ndarray], Arguments]] = [
    (f"{operation}: {what}", ours, theirs, arrays, arguments)
    for operation, ours, theirs, cases in [
        (
            "conv2d",
            F.conv2d,
            TF.conv2d,
            [
                ("window higher than the image", [ones(1, 1, 4, 9), ones(1, 1, 5, 5)], {}),
                ("window wider than the image", [ones(1, 1, 9, 4), ones(1, 1, 5, 5)], {}),
                ("window larger than the padded image", [ones(1, 1, 4, 4), ones(1, 1, 7, 7)], {"padding": 1}),
                ("dilated window larger than the image", [ones(1, 1, 4, 4), ones(1, 1, 3, 3)], {"dilation": 2}),
                ("too many channels", [ones(1, 3, 5, 5), ones(2, 2, 3, 3)], {}),
                ("too few channels", [ones(1, 1, 5, 5), ones(2, 2, 3, 3)], {}),
                ("channels of one group", [ones(1, 2, 5, 5), ones(4, 2, 3, 3)], {"groups": 2}),
                ("groups do not divide the filters", [ones(1, 4, 5, 5), ones(3, 2, 3, 3)], {"groups": 2}),
                ("groups do not divide the channels", [ones(1, 3, 5, 5), ones(4, 1, 3, 3)], {"groups": 2}),
                ("no groups", [ones(1, 1, 5, 5), ones(2, 1, 3, 3)], {"groups": 0}),
                ("negative groups", [ones(1, 1, 5, 5), ones(2, 1, 3, 3)], {"groups": -1}),
                ("no stride", [ones(1, 1, 5, 5), ones(2, 1, 3, 3)], {"stride": 0}),
                ("negative stride", [ones(1, 1, 5, 5), ones(2, 1, 3, 3)], {"stride": (1, -1)}),
                ("negative padding", [ones(1, 1, 5, 5), ones(2, 1, 3, 3)], {"padding": (-1, 0)}),
                ("no dilation", [ones(1, 1, 5, 5), ones(2, 1, 3, 3)], {"dilation": 0}),
                ("three strides", [ones(1, 1, 5, 5), ones(2, 1, 3, 3)], {"stride": (1, 1, 1)}),
                ("bias of another size", [ones(1, 1, 5, 5), ones(2, 1, 3, 3), ones(3)], {}),
                ("bias of two axes", [ones(1, 1, 5, 5), ones(2, 1, 3, 3), ones(2, 1)], {}),
                ("weight of three axes", [ones(1, 1, 5, 5), ones(1, 3, 3)], {}),
                ("image of two axes", [ones(5, 5), ones(2, 1, 3, 3)], {}),
                ("two dtypes", [ones(1, 1, 5, 5), ones(2, 1, 3, 3, dtype="float64")], {}),
            ],
        ),
        *[
            (
                operation,
                ours,
                theirs,
                [
                    ("window higher than the image", [ones(1, 1, 2, 5)], {"kernel_size": 3}),
                    ("window wider than the image", [ones(1, 1, 5, 2)], {"kernel_size": 3}),
                    ("window larger than the padded image", [ones(1, 1, 2, 2)], {"kernel_size": 5, "padding": 1}),
                    ("padding of more than half a window", [ones(1, 1, 5, 5)], {"kernel_size": 3, "padding": 2}),
                    ("more than half in one axis", [ones(1, 1, 9, 9)], {"kernel_size": (5, 3), "padding": 2}),
                    ("padding of a window of one", [ones(1, 1, 5, 5)], {"kernel_size": 1, "padding": 1}),
                    ("negative padding", [ones(1, 1, 5, 5)], {"kernel_size": 3, "padding": -1}),
                    ("no window", [ones(1, 1, 5, 5)], {"kernel_size": 0}),
                    ("no stride", [ones(1, 1, 5, 5)], {"kernel_size": 2, "stride": 0}),
                    ("negative stride", [ones(1, 1, 5, 5)], {"kernel_size": 2, "stride": -1}),
                    ("three window sizes", [ones(1, 1, 5, 5)], {"kernel_size": (2, 2, 2)}),
                    ("image of two axes", [ones(5, 5)], {"kernel_size": 2}),
                ],
            )
            for operation, ours, theirs in [
                ("max_pool2d", F.max_pool2d, TF.max_pool2d),
                ("avg_pool2d", F.avg_pool2d, TF.avg_pool2d),
            ]
        ],
        (
            "max_pool2d",
            F.max_pool2d,
            TF.max_pool2d,
            [
                ("dilated window too large", [ones(1, 1, 4, 4)], {"kernel_size": 3, "dilation": 2}),
                ("padding of a dilated window", [ones(1, 1, 9, 9)], {"kernel_size": 2, "dilation": 2, "padding": 2}),
                ("no dilation", [ones(1, 1, 5, 5)], {"kernel_size": 2, "dilation": 0}),
            ],
        ),
        (
            "linear",
            F.linear,
            TF.linear,
            [
                ("features do not match", [ones(2, 3), ones(4, 5)], {}),
                ("weight not transposed", [ones(2, 3), ones(3, 4)], {}),
                ("bias of another size", [ones(2, 3), ones(4, 3), ones(3)], {}),
                ("two dtypes", [ones(2, 3), ones(4, 3, dtype="float64")], {}),
            ],
        ),
        *[
            (operation, ours, theirs, [("shapes do not broadcast", [ones(2, 3), ones(2, 4)], {})])
            for operation, ours, theirs in [
                ("add", F.add, torch.add),
                ("subtract", F.subtract, torch.subtract),
                ("multiply", F.multiply, torch.multiply),
                ("divide", F.divide, torch.divide),
                ("maximum", F.maximum, torch.maximum),
            ]
        ],
        (
            "matmul",
            F.matmul,
            torch.matmul,
            [
                ("inner sizes differ", [ones(2, 3), ones(2, 3)], {}),
                ("leading axes do not broadcast", [ones(2, 3, 4), ones(3, 4, 5)], {}),
                ("two dtypes", [ones(2, 3), ones(3, 2, dtype="float64")], {}),
            ],
        ),
    ]
    for what, arrays, arguments in cases
]


@pytest.mark.parametrize(
    ("ours", "theirs", "arrays", "arguments"),
    [case[1:] for case in REFUSED],
    ids=[case[0].replace(" ", "_") for case in REFUSED],
)
def test_both_refuse(
    ours: Callable[..., Any], theirs: Callable[..., Any], arrays: list[np.ndarray], arguments: Arguments
) -> None:
    assert_both_refuse(
        lambda: ours(*map(Tensor, arrays), **arguments), lambda: theirs(*map(torch.tensor, arrays), **arguments)
    )


@pytest.mark.parametrize(
    ("labels", "weight", "label_smoothing"),
    [
        ([0, 3], None, 0.0),
        ([0, -1], None, 0.0),
        ([0, 1, 2], None, 0.0),
        ([[0], [1]], None, 0.0),
        ([0.0, 1.0], None, 0.0),
        ([0, 1], [1.0, 1.0], 0.0),
        ([0, 1], None, 1.5),
    ],
)
def test_both_refuse_labels_and_weights(labels: Any, weight: list[float] | None, label_smoothing: float) -> None:
    logits = ones(2, 3)
    assert_both_refuse(
        lambda: F.cross_entropy(Tensor(logits), labels, weight, label_smoothing),
        lambda: TF.cross_entropy(
            torch.tensor(logits),
            torch.tensor(labels),
            weight=None if weight is None else torch.tensor(weight),
            label_smoothing=label_smoothing,
        ),
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: F.reshape(x, (2, 4)), lambda x: x.reshape(2, 4)),
        (lambda x: F.reshape(x, (-1, 4)), lambda x: x.reshape(-1, 4)),
        (lambda x: F.reshape(x, (-1, -1)), lambda x: x.reshape(-1, -1)),
        (lambda x: F.reshape(x, (-2, -3)), lambda x: x.reshape(-2, -3)),
        (lambda x: F.flatten(x, 2), lambda x: torch.flatten(x, 2)),
        (lambda x: F.transpose(x, (0,)), lambda x: x.permute(0)),
        (lambda x: F.transpose(x, (0, 0)), lambda x: x.permute(0, 0)),
        (lambda x: F.transpose(x, (0, 2)), lambda x: x.permute(0, 2)),
        (lambda x: F.sum(x, 2), lambda x: x.sum(2)),
        (lambda x: F.sum(x, (0, 0)), lambda x: x.sum((0, 0))),
        (lambda x: F.mean(x, (0, -2)), lambda x: x.mean((0, -2))),
        (lambda x: F.softmax(x, 2), lambda x: torch.softmax(x, 2)),
        (lambda x: F.log_softmax(x, -3), lambda x: torch.log_softmax(x, -3)),
    ],
)
def test_both_refuse_shapes_and_axes(ours: Callable[..., Any], theirs: Callable[..., Any]) -> None:
    assert_both_refuse(lambda: ours(Tensor(ones(2, 3))), lambda: theirs(torch.ones(2, 3)))


@pytest.mark.parametrize(
    ("ours", "theirs", "arrays", "arguments"),
    [
        pytest.param(
            F.max_pool2d,
            TF.max_pool2d,
            [ones(1, 1, 9, 9)],
            {"kernel_size": 3, "dilation": 2, "padding": 2},
            id="max_pool2d: padding is measured by kernel_size, not by the dilated window",
        ),
        pytest.param(F.conv2d, TF.conv2d, [ones(1, 1, 5, 5), ones(0, 1, 3, 3)], {}, id="conv2d: no filters"),
    ],
)
def test_both_refuse_edges(
    ours: Callable[..., Any], theirs: Callable[..., Any], arrays: list[np.ndarray], arguments: Arguments
) -> None:
    test_both_refuse(ours, theirs, arrays, arguments)


def outcome(call: Callable[..., Any], inputs: list[Any], arguments: Arguments, *errors: type[Exception]) -> Any:
    """The output's shape, or "refused" for one of `errors`."""
    try:
        return tuple(call(*inputs, **arguments).shape)
    except errors:
        return "refused"


@pytest.mark.parametrize("padding", range(4))
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_output_shape_or_both_refuse(padding: int, dilation: int) -> None:
    """All small sizes of image, window and stride; apart from known differences, see above, of max_pool2d."""
    for size, kernel, stride, ceil_mode in np.ndindex(6, 4, 3, 2):
        images = ones(1, 1, size + 1, 12)
        window: Arguments = {"stride": stride + 1, "padding": (padding, 0)}
        extent = dilation * kernel + 1
        calls = [(F.conv2d, TF.conv2d, [images, ones(1, 1, kernel + 1, 1)], {**window, "dilation": (dilation, 1)})]
        if not ceil_mode or extent <= size + 1 + 2 * padding:
            window.update(kernel_size=(kernel + 1, 1), ceil_mode=bool(ceil_mode))
            if dilation == 1:
                calls.append((F.avg_pool2d, TF.avg_pool2d, [images], window))
            if 2 * padding <= kernel + 1 or 2 * padding > extent:
                calls.append((F.max_pool2d, TF.max_pool2d, [images], {**window, "dilation": (dilation, 1)}))
        for ours, theirs, arrays, arguments in calls:
            shape = outcome(ours, list(map(Tensor, arrays)), arguments, GpucnnError)
            expected = outcome(theirs, list(map(torch.tensor, arrays)), arguments, *PYTORCH_ERRORS)
            assert shape == expected, f"{ours.__name__} of {[array.shape for array in arrays]}, {arguments}"
