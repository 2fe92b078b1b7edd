"""Parts, joins, borders, statistics and resizing: what they refuse, ties, NaN, infinities, and what they leave alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, DTypeError, GpucnnError, ShapeError
from tests.backends import Backend, host

X = np.arange(12, dtype=np.float32).reshape(3, 4)
IMAGES = np.ones((1, 2, 3, 4), np.float32)
NAN, INF = float("nan"), float("inf")

WRONG: list[tuple[str, Callable[[Tensor], object], type[GpucnnError], str]] = [
    ("out of range", lambda x: x[3], ShapeError, "getitem: index 3 is out of range for axis 0 of (3, 4)"),
    ("too low", lambda x: x[..., -5], ShapeError, "getitem: index -5 is out of range for axis 1 of (3, 4)"),
    ("array out of range", lambda x: x[:, [0, 4]], ShapeError, "getitem: index 4 is out of range for axis 1 of (3, 4)"),
    (
        "too many",
        lambda x: x[0, 0, 0],
        ShapeError,
        "getitem: (3, 4) has 2 axes, got 3 indices and 0 Ellipsis; give at most one to an axis and one Ellipsis",
    ),
    (
        "two Ellipsis",
        lambda x: x[..., ...],
        ShapeError,
        "getitem: (3, 4) has 2 axes, got 0 indices and 2 Ellipsis; give at most one to an axis and one Ellipsis",
    ),
    (
        "arrays apart",
        lambda x: x[[0, 1], [0, 1, 2]],
        ShapeError,
        (
            "getitem: shapes (2,) and (3,) do not broadcast; "
            "from the last axis backwards, sizes must be equal or 1"
        ),
    ),
    *[
        (
            f"mask {kind}",
            lambda x, mask=mask: x[mask],
            ShapeError,
            (
                f"getitem: a mask {got} stands for axes {axes} of (3, 4); "
                f"it must have their shape, and does not broadcast"
            ),
        )
        for kind, mask, got, axes in [
            ("of a column", (X > 1)[:, :1], "(3, 1)", "(3, 4)"),
            ("list", [True, False], "(2,)", "(3,)"),
            ("tensor", Tensor(X[:2] > 1), "(2, 4)", "(3, 4)"),
            ("of the second axis", (slice(None), [True, False, True]), "(3,)", "(4,)"),
        ]
    ],
    (
        "mask of too many axes",
        lambda x: x[np.ones((3, 4, 1), bool)],
        ShapeError,
        "getitem: (3, 4) has 2 axes, got 3 indices and 0 Ellipsis; give at most one to an axis and one Ellipsis",
    ),
    (
        "masks that do not go together",
        lambda x: x[[True, True, False], [True, True, True, False]],
        ShapeError,
        (
            "getitem: shapes (2,) and (3,) do not broadcast; "
            "from the last axis backwards, sizes must be equal or 1"
        ),
    ),
    *[
        (
            f"mask {value!r}",
            lambda x, value=value: x[value],
            ArgumentError,
            (
                f"getitem: a mask has axes of its own, got the single value {bool(value)}; use x[None] for a new axis, "
                f"and an array of bool to choose elements"
            ),
        )
        for value in (True, np.bool_(False), np.array(True))
    ],
    ("floats", lambda x: x[[0.5]], DTypeError, "getitem: an array as an index must be of integers or bools, got float32"),
    (
        "a word",
        lambda x: x["a"],
        ArgumentError,
        "getitem: expected integers, slices, None, Ellipsis or arrays of integers or bools, got str",
    ),
    (
        "a number",
        lambda x: x[0.5],
        ArgumentError,
        "getitem: expected integers, slices, None, Ellipsis or arrays of integers or bools, got float",
    ),
    ("no step", lambda x: x[::0], ArgumentError, "getitem: a slice takes ints, and no step of 0, got slice(None, None, 0)"),
    ("half", lambda x: x[0.5:], ArgumentError, "getitem: a slice takes ints, and no step of 0, got slice(0.5, None, None)"),
    ("clip", lambda x: F.clip(x, 2, 1), ArgumentError, "clip: low must not be above high, got 2 and 1"),
    ("clip at NaN", lambda x: F.clip(x, NAN), ArgumentError, "clip: low and high must be numbers, tensors or None, got nan"),
    ("clip at True", lambda x: F.clip(x, True), ArgumentError, "clip: low and high must be numbers, tensors or None, got True"),
    ("where", lambda x: F.where([1, 0, 1], x, 0), DTypeError, "where: condition must be bool, got int64; compare, e.g. x.data > 0"),
    (
        "where apart",
        lambda x: F.where([True, False], x, 0),
        ShapeError,
        "where: shapes (2,), (3, 4) and () do not broadcast; from the last axis backwards, sizes must be equal or 1",
    ),
    (
        "minimum",
        lambda x: F.minimum(x, [1, 2]),
        ShapeError,
        "minimum: shapes (3, 4) and (2,) do not broadcast; from the last axis backwards, sizes must be equal or 1",
    ),
    ("var", lambda x: x.var(correction=-1), ArgumentError, "var: correction must be a number >= 0, got -1"),
    (
        "var of one",
        lambda x: x[:1].var(0),
        ShapeError,
        "var: expected more than 1 elements to a variance with correction=1, got 1 of (1, 4)",
    ),
    ("var axis", lambda x: x.var(2), ShapeError, "var: axis must name axes of a 2-dimensional tensor, each once, got 2"),
    ("max axis", lambda x: x.max((0, -2)), ShapeError, "max: axis must name axes of a 2-dimensional tensor, each once, got (0, -2)"),
    ("max of none", lambda x: x[:0].max(0), ShapeError, "max: (0, 4) has no elements over axis 0 to choose from"),
    ("min of none", lambda x: x[:0].min(), ShapeError, "min: (0, 4) has no elements over axis None to choose from"),
    ("squeeze", lambda x: F.squeeze(x, 0), ShapeError, "squeeze: expected axes of size 1, got axis 0 of (3, 4)"),
    (
        "expand_dims",
        lambda x: F.expand_dims(x, 3),
        ShapeError,
        "expand_dims: axis must name axes of a 3-dimensional tensor, each once, got 3",
    ),
    ("concatenate none", lambda x: F.concatenate([]), ArgumentError, "concatenate: expected at least one tensor, got none"),
    (
        "concatenate",
        lambda x: F.concatenate([x, x[:2]], 1),
        ShapeError,
        "concatenate: shapes must be equal but for axis 1, got (3, 4) and (2, 4)",
    ),
    (
        "concatenate other axes",
        lambda x: F.concatenate([x, x[0]]),
        ShapeError,
        "concatenate: shapes must be equal but for axis 0, got (3, 4) and (4,)",
    ),
    (
        "concatenate numbers",
        lambda x: F.concatenate([x[0, 0], x[0, 0]]),
        ShapeError,
        "concatenate: axis must name axes of a 0-dimensional tensor, each once, got [0]",
    ),
    (
        "concatenate dtypes",
        lambda x: F.concatenate([x, Tensor(np.ones((3, 4)))]),
        DTypeError,
        (
            "concatenate: float64 and float32 met in one operation; make them one dtype, e.g. "
            "array.astype('float32') or model.astype('float64')"
        ),
    ),
    ("stack none", lambda x: F.stack(()), ArgumentError, "stack: expected at least one tensor, got none"),
    ("stack", lambda x: F.stack([x, x[0]]), ShapeError, "stack: shapes must be equal, got (3, 4) and (4,)"),
    ("stack axis", lambda x: F.stack([x], 3), ShapeError, "stack: axis must name axes of a 3-dimensional tensor, each once, got [3]"),
    (
        "split",
        lambda x: F.split(x, 2),
        ShapeError,
        "split: axis 0 of (3, 4) does not divide into 2 equal parts; give the positions to cut at",
    ),
    ("split none", lambda x: F.split(x, 0), ArgumentError, "split: sections must be an int >= 1 or positions to cut at, got 0"),
    ("split half", lambda x: F.split(x, [0.5]), ArgumentError, "split: sections must be an int >= 1 or positions to cut at, got [0.5]"),
    ("pad mode", lambda x: F.pad(x, [(1, 1)] * 2, "edge"), ArgumentError, 'pad: mode must be "constant", "reflect", "replicate" or "circular", got \'edge\''),
    ("pad value", lambda x: F.pad(x, [(1, 1)] * 2, value="a"), ArgumentError, "pad: value must be a plain number, got 'a'"),
    ("pad int", lambda x: F.pad(x, 1), ArgumentError, "pad: padding must be pairs (before, after) of ints, got 1"),
    ("pad half", lambda x: F.pad(x, [(1, 0.5)] * 2), ArgumentError, "pad: padding must be pairs (before, after) of ints, got [(1, 0.5), (1, 0.5)]"),
    ("pad off", lambda x: F.pad(x, [(0, 0), (-2, -3)]), ShapeError, "pad: (-2, -3) cuts more off axis 1 of (3, 4) than there is"),
    ("reflect off", lambda x: F.pad(x, [(-4, 2), (0, 0)], "reflect"), ShapeError, "pad: (-4, 2) cuts more off axis 0 of (3, 4) than there is"),
    ("circular", lambda x: F.pad(x, [(0, 4), (0, 0)], "circular"), ShapeError, "pad: circular takes borders of at most 3 on axis 0 of (3, 4), got (0, 4)"),
    ("circular and off", lambda x: F.pad(x, [(0, 0), (-1, 4)], "circular"), ShapeError, "pad: circular takes borders of at most 3 on axis 1 of (3, 4), got (-1, 4)"),
    ("pad one", lambda x: F.pad(x, [(1, 1)]), ShapeError, "pad: expected 2 pairs (before, after), one for each axis of (3, 4), got 1"),
    ("reflect", lambda x: F.pad(x, [(3, 0), (0, 0)], "reflect"), ShapeError, "pad: reflect takes borders of at most 2 on axis 0 of (3, 4), got (3, 0)"),
    ("replicate", lambda x: F.pad(x[:0], [(0, 1), (0, 0)], "replicate"), ShapeError, "pad: replicate takes borders of at most 0 on axis 0 of (0, 4), got (0, 1)"),
    ("interpolate", lambda x: F.interpolate(x, 2), ShapeError, 'interpolate: mode "nearest" takes (N, C, H, W) or (N, C, L), no size 0, got (3, 4)'),
]  # fmt: skip

WRONG_SIZES: list[tuple[dict[str, Any], type[GpucnnError], str]] = [
    ({}, ArgumentError, "interpolate: give size or scale_factor, got size=None and scale_factor=None"),
    ({"size": 2, "scale_factor": 2}, ArgumentError, "interpolate: give size or scale_factor, got size=2 and scale_factor=2"),
    ({"size": 0}, ArgumentError, "interpolate: size must be an int >= 1 or a (height, width) pair of them, got 0"),
    ({"scale_factor": 0}, ArgumentError, "interpolate: scale_factor must be a number > 0 or a pair of them, got 0"),
    ({"scale_factor": (1, NAN)}, ArgumentError, "interpolate: scale_factor must be a number > 0 or a pair of them, got (1, nan)"),
    ({"scale_factor": (0.3, 1)}, ShapeError, "interpolate: scale_factor (0.3, 1) makes (0, 4) of images (3, 4); take a larger one"),
    ({"scale_factor": 1e308}, ShapeError, "interpolate: sizes must be below 2^31, got 1e+308"),
    ({"size": (1, 1 << 31)}, ArgumentError, "interpolate: size must be below 2^31, got (1, 2147483648)"),
    ({"size": 2, "mode": "cubic"}, ArgumentError, "interpolate: mode must be \"nearest\", \"nearest-exact\", \"area\", \"linear\", \"bilinear\" or \"bicubic\", got 'cubic'"),
    ({"size": 2, "align_corners": True}, ArgumentError, 'interpolate: align_corners=True goes with mode "linear", "bilinear", "bicubic" alone, got "nearest"'),
    ({"size": 2, "mode": "area", "antialias": True}, ArgumentError, 'interpolate: antialias=True goes with mode "bilinear", "bicubic" alone, got "area"'),
    ({"size": 2, "recompute_scale_factor": True}, ArgumentError, "interpolate: recompute_scale_factor goes with scale_factor, got a size; leave it out"),
    ({"size": 2, "mode": "linear"}, ShapeError, 'interpolate: mode "linear" takes (N, C, L), no size 0, got (1, 2, 3, 4)'),
    ({"size": (2, 2, 2), "mode": "bicubic"}, ArgumentError, "interpolate: size must be an int >= 1 or a (height, width) pair of them, got (2, 2, 2)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_arguments(
    backend: Backend, call: Callable[[Tensor], object], error: type[GpucnnError], message: str
) -> None:
    with pytest.raises(error) as caught:
        call(backend.tensor(X))
    assert str(caught.value) == message


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG_SIZES)
def test_wrong_sizes(backend: Backend, arguments: dict[str, Any], error: type[GpucnnError], message: str) -> None:
    with pytest.raises(error) as caught:
        F.interpolate(backend.tensor(IMAGES), **arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("call", [F.sqrt, F.var, lambda x: F.clip(x, 0, 1), lambda x: F.interpolate(x[None, None], 2)])
def test_integers_have_no_float_results(call: Callable[[Tensor], object]) -> None:
    with pytest.raises(DTypeError, match=r": expected floats, got int64; convert with array.astype\('float32'\)"):
        call(Tensor([[1, 2]]))


@pytest.mark.parametrize("call", [F.abs, F.max, F.min, lambda x: F.where(x, x, x), lambda x: F.minimum(x, x)])
def test_truth_values_are_no_numbers(call: Callable[[Tensor], object]) -> None:
    with pytest.raises(DTypeError, match="expected numbers, got bool"):
        call(Tensor([True, False]))


def test_integers_stay_integers(backend: Backend) -> None:
    x = backend.tensor(np.array([[3, -1], [-7, 2]], np.int16))
    results = {
        "abs": (abs(x), [[3, 1], [7, 2]]),
        "max": (x.max(0), [3, 2]),
        "min": (x.min(), -7),
        "minimum": (F.minimum(x, 0), [[0, -1], [-7, 0]]),
        "where": (F.where([True, False], x, 0), [[3, 0], [-7, 0]]),
        "getitem": (x[1, ::-1], [2, -7]),
        "rows": (x[[1, 1]], [[-7, 2], [-7, 2]]),
        "pad": (F.pad(x, ((0, 0), (1, 0)), value=5), [[5, 3, -1], [5, -7, 2]]),
        "concatenate": (F.concatenate([x, x], 1), [[3, -1, 3, -1], [-7, 2, -7, 2]]),
        "stack": (F.stack([x[0], x[1]], 1), [[3, -7], [-1, 2]]),
    }
    for name, (output, expected) in results.items():
        assert output.dtype == np.int16, name
        np.testing.assert_array_equal(output.numpy(), expected, name)
    with pytest.raises(DTypeError, match=r"pad: value 0.5 met int16; convert x with array.astype\('float32'\)"):
        F.pad(x, ((0, 0), (1, 0)), value=0.5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_are_kept(backend: Backend, dtype: type) -> None:
    for function in (
        F.abs, F.sqrt, F.var, F.max, F.min, np.sqrt, np.abs, abs,
        lambda x: F.clip(x, 0.1, 2), lambda x: np.minimum(x, 0.3), lambda x: F.where(True, x, 0.1),
        lambda x: x[0, [1, 1, 0]], lambda x: F.split(x, 2)[0], lambda x: F.stack([x, np.ones((2, 2, 3, 4))]),
        lambda x: F.concatenate([x, np.ones((1, 2, 3, 4))]), lambda x: F.pad(x, [(1, 0)] * 4, value=0.1),
        lambda x: F.pad(x, [(0, 0)] * 2 + [(1, 2)] * 2, "reflect"), lambda x: F.interpolate(x, 5),
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"), lambda x: F.squeeze(F.expand_dims(x, 0)),
    ):  # fmt: skip
        x = backend.tensor(np.arange(1, 49, dtype=dtype).reshape(2, 2, 3, 4), True)
        output = function(x)
        assert output.dtype == dtype
        output.backward(np.ones(output.shape, dtype))
        assert x.grad.dtype == dtype


@pytest.mark.parametrize(
    ("name", "x", "gradients"),
    [
        ("abs", [-2, -0.0, 0, 3, NAN, -INF], [-1, 0, 0, 1, 1, -1]),
        ("clip", [-3, -1, 0, 2, 3, NAN, -INF, INF], [0, 1, 1, 1, 0, 1, 0, 0]),
        ("max", [1, 7, 7, 0, 7], [0, 2, 2, 0, 2]),
        ("max", [1, INF, -INF, INF], [0, 3, 0, 3]),
        ("max", [1, NAN, 7, NAN], [0, 3, 0, 3]),
        ("min", [1, 7, 1, 5], [3, 0, 3, 0]),
        ("min", [1, NAN, INF], [0, 6, 0]),
    ],
)
def test_gradients_at_ties_and_at_what_is_no_number(
    backend: Backend, name: str, x: list[float], gradients: list[float]
) -> None:
    tensor = backend.tensor(np.array(x, float), True)
    output = F.clip(tensor, -1, 2) if name == "clip" else getattr(F, name)(tensor)
    output.backward(np.full(output.shape, 1.0 if output.ndim else 6.0))
    np.testing.assert_array_equal(host(tensor.grad), gradients)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_powers_at_zero_and_below(backend: Backend) -> None:
    """Columns: base, exponent, power, gradient of the base, gradient of the exponent."""
    rows = np.array(
        [
            [0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 2.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 1.0, 0.0],
            [0.0, -1.0, INF, -INF, -INF],
            [4.0, 0.0, 1.0, 0.0, np.log(4.0)],
            [4.0, 0.5, 2.0, 0.25, 2 * np.log(4.0)],
            [-2.0, 3.0, -8.0, 12.0, NAN],
            [-2.0, -1.0, -0.5, -0.25, NAN],
            [-2.0, 0.5, NAN, NAN, NAN],
            [-2.0, 0.0, 1.0, 0.0, NAN],
        ]
    )
    base, exponent = backend.tensor(rows[:, 0], True), backend.tensor(rows[:, 1], True)
    output = base**exponent
    output.sum().backward()
    for found, column in zip((output.data, base.grad, exponent.grad), (2, 3, 4), strict=True):
        np.testing.assert_allclose(host(found), rows[:, column], err_msg=f"column {column}")


def test_powers_in_all_their_spellings(backend: Backend) -> None:
    x, y = backend.tensor(np.array([1.0, 2.0, 3.0]), True), backend.tensor(np.array([2.0, 0.0, -1.0]), True)
    powers = [x**y, np.power(x, y), F.power(x, y), F.power(x.data, y), x**y.data]
    for power in [*powers, x.data**y] if backend.on_cpu else powers:  # CuPy's arrays know of no tensors
        np.testing.assert_allclose(power.numpy(), [1, 1, 1 / 3])
    np.testing.assert_allclose((2**y).numpy(), [4, 1, 0.5])
    np.testing.assert_allclose((x ** [1, 2, 0]).numpy(), [1, 4, 1])
    np.testing.assert_allclose((x ** np.float32(2)).numpy(), [1, 4, 9])


def test_limits_that_meet_and_cross(backend: Backend) -> None:
    """`high` is taken where limits cross; x within them has the gradient, on one of them, too."""
    x = backend.tensor(np.array([0.0, 1, 2, 3, 4, 5, 2, NAN]), True)
    low = backend.tensor(np.array([1.0, 1, 1, 4, 5, 2, 2, 1]), True)
    high = backend.tensor(np.array([3.0, 3, 2, 2, 3, 5, 2, 3]), True)
    output = F.clip(x, low, high)
    np.testing.assert_array_equal(output.numpy(), [1, 1, 2, 2, 3, 5, 2, NAN])
    output.sum().backward()
    np.testing.assert_array_equal(host(x.grad), [0, 1, 1, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(host(low.grad), [1, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(host(high.grad), [0, 0, 0, 1, 1, 0, 0, 0])


def test_values_at_what_is_no_number(backend: Backend) -> None:
    x = backend.tensor(np.array([-INF, -2, NAN, 3, INF]))
    np.testing.assert_array_equal(F.clip(x, -1, 2).numpy(), [-1, -1, NAN, 2, 2])
    np.testing.assert_array_equal(F.minimum(x, 0).numpy(), [-INF, -2, NAN, 0, 0])
    np.testing.assert_array_equal(F.abs(x).numpy(), [INF, 2, NAN, 3, INF])
    assert np.isnan(x.max().item())
    assert np.isnan(x.min().item())
    assert x[:2].max().item() == -2
    assert x[3:].min().item() == 3


def test_equal_halves_of_minimum(backend: Backend) -> None:
    a, b = (backend.tensor(np.array(x), True) for x in ([1.0, 3.0, 2.0], [1.0, 2.0, 3.0]))
    F.minimum(a, b).sum().backward()
    np.testing.assert_array_equal(host(a.grad), [0.5, 0, 1])
    np.testing.assert_array_equal(host(b.grad), [0.5, 1, 0])


def test_no_infinite_gradient_gets_to_what_was_not_taken(backend: Backend) -> None:
    """As a product with zero would make a NaN of it."""
    for call in (
        lambda x: F.where([True, False], x, 0),
        lambda x: F.where([False, True], 0, x),
        lambda x: F.clip(x, None, 1.5),
        lambda x: F.pad(x, [(0, 1)])[np.array([0, 2])],
    ):
        x = backend.tensor(np.array([1.0, 2.0]), True)
        call(x).backward(np.array([3.0, INF]))
        np.testing.assert_array_equal(host(x.grad), [3, 0])
    images = backend.tensor(np.ones((1, 1, 1, 2)), True)
    F.interpolate(images, (1, 4)).backward(np.array([[[[INF, 1.0, 2.0, 3.0]]]]))
    np.testing.assert_array_equal(host(images.grad).ravel(), [INF, 5])


def test_the_gradient_of_the_square_root_of_zero(backend: Backend) -> None:
    x = backend.tensor(np.array([0.0, 4.0]), True)
    output = F.sqrt(x)
    with np.errstate(divide="ignore"):
        output.backward(np.ones(2))
    np.testing.assert_array_equal(host(x.grad), [INF, 0.25])


def test_where_takes_conditions_of_every_kind(backend: Backend) -> None:
    condition = np.array([True, False, True])
    for form in (condition, condition.tolist(), Tensor(condition), backend.array(condition), backend.tensor(condition)):
        x = backend.tensor(np.array([1.0, 2.0, 3.0]), True)
        output = F.where(form, x, 9)
        np.testing.assert_array_equal(output.numpy(), [1, 9, 3])
        output.backward(np.ones(3))
        np.testing.assert_array_equal(host(x.grad), [1, 0, 1])
    assert F.where(False, [1.0], 2).numpy().tolist() == [2]


def test_an_index_array_may_lie_on_any_device(backend: Backend) -> None:
    index = np.array([[2, 0], [-1, 2]], np.int32)
    for form in (index, index.tolist(), Tensor(index), backend.array(index), backend.tensor(index)):
        x = backend.tensor(X, True)
        output = x[form]
        np.testing.assert_array_equal(output.numpy(), X[index])
        output.backward(np.ones(output.shape))
        np.testing.assert_array_equal(host(x.grad), [[1] * 4, [0] * 4, [3] * 4])


def test_repeated_indices_add_up(backend: Backend, rng: np.random.Generator) -> None:
    """As np.add.at has it, for few and many, and the same bits in every run and for every layout."""
    for size, count in [(1, 1), (2, 1), (7, 3), (64, 64), (1000, 10), (300, 1000)]:
        index, incoming = rng.integers(-count, count, size), rng.standard_normal((size, 2)).astype(np.float32)
        expected = np.zeros((count, 2))
        np.add.at(expected, index, incoming)
        gradients = []
        for layout in (backend.array, backend.fortran, backend.strided):
            x = backend.tensor(np.zeros((count, 2), np.float32), True)
            x[index].backward(layout(incoming))
            gradients.append(host(x.grad))
        np.testing.assert_allclose(gradients[0], expected, rtol=1e-5, atol=1e-5)
        for other in gradients[1:]:
            np.testing.assert_array_equal(other, gradients[0])


@pytest.mark.parametrize(
    "index",
    [
        (), ..., None, 0, -1, np.int64(2), slice(5), slice(-100, 100), slice(2, 0), (..., 0), (0, ..., 0), (None, ..., None),
        [], [0], ([0, 1], 1), (1, ..., [3, 3]), (slice(1), [[0], [1]]), (None, [2], None), ([1], None, [1]), np.array(1),
        (np.array(1), slice(None)), (slice(None), np.zeros((0, 2), int)), (np.uint8([1, 0]), ...),
    ],
)  # fmt: skip
def test_indices_mean_what_numpy_means(backend: Backend, index: Any) -> None:
    x = backend.tensor(X, True)
    output = x[index]
    expected = X[index]
    assert output.shape == expected.shape
    np.testing.assert_array_equal(output.numpy(), expected)
    incoming = np.arange(1, expected.size + 1, dtype=np.float32).reshape(expected.shape)
    output.backward(incoming)
    gradient = np.zeros_like(X)
    np.add.at(gradient, index, incoming)
    np.testing.assert_array_equal(host(x.grad), gradient)


def test_a_tensor_is_a_sequence_of_its_rows(backend: Backend) -> None:
    x = backend.tensor(X, True)
    rows = list(x)
    assert [row.shape for row in rows] == [(4,)] * 3
    (rows[0] + 2 * rows[2]).sum().backward()
    np.testing.assert_array_equal(host(x.grad), [[1] * 4, [0] * 4, [2] * 4])
    with pytest.raises(ShapeError, match="no length"):
        list(x.sum())


def test_numpy_functions_on_tensors(backend: Backend) -> None:
    x = backend.tensor(np.array([1.0, 4.0]), True)
    output = np.sqrt(x) + np.abs(x) + abs(-x) + np.minimum(2, x)
    np.testing.assert_array_equal(output.numpy(), [1 + 1 + 1 + 1, 2 + 4 + 4 + 2])
    output.sum().backward()
    np.testing.assert_array_equal(host(x.grad), [0.5 + 1 + 1 + 1, 0.25 + 1 + 1])


def test_parts_of_a_split_have_numpy_s_edges(backend: Backend) -> None:
    for sections in (1, 4, [], [0], [2, 2], [3, 1], [-1], [9], [1, 9]):
        parts = F.split(backend.tensor(X), sections, -1)
        expected = np.split(X, sections, -1)
        assert len(parts) == len(expected)
        for part, other in zip(parts, expected, strict=True):
            np.testing.assert_array_equal(part.numpy(), other)


def test_empty_batches(backend: Backend) -> None:
    for call in (
        lambda x: x[:, 0], lambda x: x[:, [0, 0]], lambda x: F.interpolate(x, 5), lambda x: F.var(x, (1, 2, 3)),
        lambda x: F.interpolate(x, 5, mode="bilinear"), lambda x: F.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1)], "replicate"),
        lambda x: F.concatenate([x, x]), lambda x: F.stack([x, x], 1), lambda x: x.max(1), F.abs, lambda x: F.split(x, 2)[1],
    ):  # fmt: skip
        x = backend.tensor(np.zeros((0, 2, 3, 4), np.float32), True)
        output = call(x)
        assert output.shape[0] == 0
        output.backward(np.ones(output.shape, np.float32))
        assert x.grad.shape == x.shape


def test_a_tensor_may_be_joined_with_itself(backend: Backend) -> None:
    x = backend.tensor(X, True)
    (F.concatenate([x, x, x]).sum() + F.stack([x, x]).sum()).backward()
    np.testing.assert_array_equal(host(x.grad), np.full((3, 4), 5))


def test_variance_of_large_numbers_that_differ_little(backend: Backend) -> None:
    x = backend.tensor(np.array([1e6, 1e6 + 1, 1e6 + 2], np.float32), True)
    assert x.var().item() == 1
    x.var().backward()
    np.testing.assert_array_equal(host(x.grad), [-1, 0, 1])


@pytest.mark.parametrize(
    ("size", "scale_factor", "taken"),
    [
        (4, 2.3, [0, 0, 0, 1, 1, 2, 2, 3, 3]),
        (3, 2.3, [0, 0, 1, 1, 2, 2]),
        (5, 1.15, [0, 1, 2, 3, 4]),
    ],
)
def test_nearest_of_factors_that_do_not_divide(
    backend: Backend, size: int, scale_factor: float, taken: list[int]
) -> None:
    """By the factor, not by the ratio of sizes; but twice the size, and the same, are exact."""
    x = backend.tensor(np.arange(float(size)).reshape(1, 1, 1, size))
    assert F.interpolate(x, scale_factor=(1, scale_factor)).numpy().ravel().tolist() == taken


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area", "bilinear", "antialias"])
def test_infinity_stays_where_it_is_taken(backend: Backend, mode: str) -> None:
    """What is no part of a new element does not make it NaN, as infinity times zero would."""
    x = np.ones((1, 1, 1, 6))
    x[..., 5] = INF
    options: dict[str, Any] = {"mode": "bilinear", "antialias": True} if mode == "antialias" else {"mode": mode}
    small = F.interpolate(backend.array(x), (1, 3), **options).numpy().ravel()
    np.testing.assert_allclose(small[0], 1)
    assert not np.isnan(small).any()
    same = F.interpolate(backend.array(x), (1, 6), **options).numpy()
    np.testing.assert_array_equal(same, x)


def test_the_same_size_is_a_copy(backend: Backend) -> None:
    x = backend.array(np.ones((1, 1, 2, 3)))
    output = F.interpolate(x, (2, 3), mode="bicubic")
    output.data[...] = 5
    np.testing.assert_array_equal(host(x), 1)


def test_nearest_rounds_in_float32(backend: Backend) -> None:
    """41 * 2 / 82 is 1, but just below it in float32, and so in PyTorch."""
    x = backend.tensor(np.array([0.0, 1.0]).reshape(1, 1, 1, 2))
    assert F.interpolate(x, (1, 82)).numpy().ravel().tolist() == [0] * 42 + [1] * 40


def test_a_variance_of_many_halves_does_not_overflow() -> None:
    assert Tensor(np.tile(np.float16([-2, 2]), 40_000)).var(correction=0).item() == 4


ARRAYS: list[tuple[str, Callable[[Tensor], Any], tuple[int, ...]]] = [
    ("reshape", lambda x: F.reshape(x, np.array([6, -1])), (6, 8)),
    ("x.reshape", lambda x: x.reshape(np.array([4, 12])), (4, 12)),
    ("reshape with NumPy's ints", lambda x: x.reshape(np.int64(3), np.int32(-1)), (3, 16)),
    ("transpose", lambda x: F.transpose(x, np.array([1, 0, 3, 2])), (2, 2, 4, 3)),
    ("x.transpose", lambda x: x.transpose(np.array([3, 2, 1, 0])), (4, 3, 2, 2)),
    ("flatten", lambda x: F.flatten(x, np.int64(2)), (2, 2, 12)),
    ("squeeze", lambda x: F.squeeze(x[:1, :1], np.array([0, 1])), (3, 4)),
    ("expand_dims", lambda x: F.expand_dims(x, np.array([0, -1])), (1, 2, 2, 3, 4, 1)),
    ("sum", lambda x: F.sum(x, np.array([0, 2])), (2, 4)),
    ("mean", lambda x: x.mean(np.int64(1), keepdims=True), (2, 1, 3, 4)),
    ("var", lambda x: x.var(np.array([2, 3])), (2, 2)),
    ("max", lambda x: x.max(np.array([-1])), (2, 2, 3)),
    ("softmax", lambda x: F.softmax(x, np.array([2, 3])), (2, 2, 3, 4)),
    ("concatenate", lambda x: F.concatenate([x, x], np.int64(1)), (2, 4, 3, 4)),
    ("stack", lambda x: F.stack([x, x], np.int64(0)), (2, 2, 2, 3, 4)),
    ("split", lambda x: F.split(x, np.array([1, 3]), 3)[1], (2, 2, 3, 2)),
    ("split with NumPy's ints", lambda x: F.split(x, np.int64(2), np.int64(3))[0], (2, 2, 3, 2)),
    ("pad", lambda x: F.pad(x, np.array([[0, 0], [0, 1], [1, 1], [-1, 0]])), (2, 3, 5, 3)),
    ("interpolate", lambda x: F.interpolate(x, np.array([5, 2])), (2, 2, 5, 2)),
    ("interpolate by factors", lambda x: F.interpolate(x, None, np.array([2.0, 0.5])), (2, 2, 6, 2)),
    ("layer_norm", lambda x: F.layer_norm(x, np.array([3, 4])), (2, 2, 3, 4)),
    ("conv2d", lambda x: F.conv2d(x, np.ones((1, 2, 2, 2)), None, np.array([1, 2]), np.array([[1, 0], [0, 2]])), (2, 1, 3, 3)),
    ("conv2d, dilated", lambda x: F.conv2d(x, np.ones((1, 2, 2, 2)), None, np.int64(1), np.array([1, 0]), np.array([2, 1])), (2, 1, 3, 3)),
    ("conv_transpose2d", lambda x: F.conv_transpose2d(x, np.ones((2, 1, 2, 2)), None, np.array([2, 2]), np.array([1, 0]), np.array([0, 1])), (2, 1, 4, 9)),
    ("max_pool2d", lambda x: F.max_pool2d(x, np.array([2, 3]), np.array([1, 2]), np.array([[1, 0], [0, 1]])), (2, 2, 3, 2)),
    ("avg_pool2d", lambda x: F.avg_pool2d(x, np.array([2, 3]), np.int64(1), np.array([1, 0])), (2, 2, 4, 2)),
    ("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, np.array([1, 2])), (2, 2, 1, 2)),
    ("adaptive_max_pool1d", lambda x: F.adaptive_max_pool1d(x[:, :, 0], np.array([3])), (2, 2, 3)),
    ("conv1d", lambda x: F.conv1d(x[:, :, 0], np.ones((1, 2, 2)), None, np.array([2]), np.array([1, 0])), (2, 1, 2)),
    ("Conv2d", lambda x: layers.Conv2d(np.int64(2), np.int64(4), np.array([2, 3]), groups=np.int64(2)).astype("float64")(x), (2, 4, 2, 2)),
    ("ConvTranspose2d", lambda x: layers.ConvTranspose2d(2, 1, np.array([2, 2]), np.array([2, 1])).astype("float64")(x), (2, 1, 6, 5)),
    ("MaxPool2d", lambda x: layers.MaxPool2d(np.array([2, 2]), np.array([1, 1]))(x), (2, 2, 2, 3)),
    ("AdaptiveAvgPool2d", lambda x: layers.AdaptiveAvgPool2d(np.array([2, 1]))(x), (2, 2, 2, 1)),
    ("Linear", lambda x: layers.Linear(np.int64(4), np.int32(5)).astype("float64")(x), (2, 2, 3, 5)),
    ("LayerNorm", lambda x: layers.LayerNorm(np.array([3, 4])).astype("float64")(x), (2, 2, 3, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("call", "shape"), [case[1:] for case in ARRAYS], ids=[case[0] for case in ARRAYS])
def test_arrays_and_numpys_ints_as_shapes_axes_and_sizes(call: Callable[[Tensor], Any], shape: tuple[int, ...]) -> None:
    output = call(Tensor(np.arange(48.0).reshape(2, 2, 3, 4), True))
    assert output.shape == shape
    assert all(type(size) is int for size in output.shape)
    output.sum().backward()


HALVES = np.array([0.5, 1.5])


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.reshape(HALVES),
        lambda x: x.reshape(np.ones((2, 2), int)),
        lambda x: x.reshape("12"),
        lambda x: x.transpose(HALVES),
        lambda x: F.flatten(x, "a"),
        lambda x: F.flatten(x, HALVES),
        lambda x: F.expand_dims(x, HALVES),
        lambda x: F.sum(x, np.array([[0], [1]])),
        lambda x: F.max(x, HALVES),
        lambda x: F.softmax(x, HALVES),
        lambda x: F.split(x, HALVES),
        lambda x: F.split(x, "2"),
        lambda x: F.pad(x, HALVES),
        lambda x: F.pad(x, np.zeros((4, 2))),
        lambda x: F.interpolate(x, HALVES),
        lambda x: F.interpolate(x, None, np.array([True, False])),
        lambda x: F.layer_norm(x, HALVES),
        lambda x: F.conv2d(x, np.ones((1, 2, 2, 2)), None, HALVES),
        lambda x: F.conv2d(x, np.ones((1, 2, 2, 2)), None, 1, np.ones((2, 2))),
        lambda x: F.conv2d(x, np.ones((1, 2, 2, 2)), None, 1, np.ones((2, 2, 2), int)),
        lambda x: F.max_pool2d(x, HALVES),
        lambda x: F.max_pool2d(x, np.array([[2], [2]])),
        lambda x: F.avg_pool2d(x, 2, 1, np.array([[1, 1]])),
        lambda x: F.adaptive_avg_pool2d(x, HALVES),
        lambda x: F.max_unpool2d(x, np.zeros(x.shape, int), 2, output_size=HALVES),
        lambda x: layers.LayerNorm(HALVES),
        lambda x: layers.Conv2d(2, 2, HALVES),
    ],
)
def test_arrays_that_are_no_sizes_are_refused_in_our_words(call: Callable[[Tensor], Any]) -> None:
    with pytest.raises(GpucnnError, match="expected|must|does not fit"):
        call(Tensor(np.arange(48.0).reshape(2, 2, 3, 4)))
