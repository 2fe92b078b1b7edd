"""Parts, joins, borders, statistics and resizing, outputs and all gradients, against PyTorch's in drawn configurations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.errors import GpucnnError

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
from tests.pytorch.comparison import (  # noqa: E402 (it needs PyTorch)
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

TF = torch.nn.functional

SPECIAL = np.array([-np.inf, -1.5, -0.0, 0.0, 2.0, np.inf, np.nan])


def draw_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Ordinary numbers, or small integers, of which many are equal."""
    values = rng.integers(-2, 3, shape) if rng.random() < 0.4 else rng.standard_normal(shape)
    return np.asarray(values, float)


def draw_axes(rng: np.random.Generator, ndim: int) -> tuple[int, ...]:
    """One axis or more, counted from either end."""
    axes = rng.permutation(ndim)[: integer(rng, 1, ndim)]
    return tuple(int(axis) - (ndim if rng.random() < 0.5 else 0) for axis in axes)


# Arithmetic and statistics


@drawn
@in_both_dtypes
def test_elementwise(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    values = draw_values(rng, draw_shape(rng, least=0))
    compare(agree, "abs", seed, dtype, F.abs, torch.abs, values)
    compare(agree, "abs of a tensor", seed, dtype, abs, abs, values)
    compare(agree, "sqrt", seed, dtype, F.sqrt, torch.sqrt, np.abs(values) + 0.1)


@drawn
@in_both_dtypes
def test_clip(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.integers(-2, 3, 2).tolist())
    limits = [(low, high), (low, None), (None, high), (low - 0.5, high + 0.25)][seed % 4]
    values = draw_values(rng, draw_shape(rng))
    compare(agree, "clip", seed, dtype, lambda x: F.clip(x, *limits), lambda x: torch.clip(x, *limits), values)


@drawn
@in_both_dtypes
def test_clip_by_tensors(agree: Agree, seed: int, dtype: str) -> None:
    """Limits that broadcast, and also cross; none is equal to the other or to a value, where PyTorch drops the gradient."""
    rng = np.random.default_rng(seed)
    common = draw_shape(rng)
    shapes = [tuple(1 if rng.random() < 0.3 else size for size in common)[integer(rng, 0, 1) :] for _ in range(3)]
    shapes[0] = common  # PyTorch's gradient fails where x has fewer axes than a limit
    values = [rng.standard_normal(shape) + shift for shape, shift in zip(shapes, (0, -0.4, 0.4), strict=True)]
    if seed % 3 == 0:
        compare(agree, "clip by tensors", seed, dtype, F.clip, torch.clamp, *values)
    else:
        name = ("low", "high")[seed % 2]
        compare(
            agree,
            f"clip by a tensor {name}",
            seed,
            dtype,
            lambda x, limit: F.clip(x, **{name: limit}),
            lambda x, limit: torch.clamp(x, **{"low": {"min": limit}, "high": {"max": limit}}[name]),
            *values[:2],
        )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@drawn
@in_both_dtypes
def test_power_of_tensors(agree: Agree, seed: int, dtype: str) -> None:
    """Bases and exponents that broadcast; in every other draw small whole numbers, negative ones and zeros among them."""
    rng = np.random.default_rng(seed)
    common = draw_shape(rng)
    shapes = [tuple(1 if rng.random() < 0.3 else size for size in common)[integer(rng, 0, 1) :] for _ in range(2)]
    base, exponent = (rng.integers(-2, 4, shape).astype(float) for shape in shapes)
    if seed % 2:
        base, exponent = rng.uniform(0.1, 3, shapes[0]), rng.standard_normal(shapes[1])
    compare(agree, "power", seed, dtype, F.power, torch.pow, base, exponent)
    compare(agree, "power of a number", seed, dtype, lambda y: 2.5**y, lambda y: 2.5**y, exponent)


@drawn
@in_both_dtypes
def test_softmax_over_several_axes(agree: Agree, seed: int, dtype: str) -> None:
    """PyTorch has one axis, so it gets the flattened ones."""
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng, least=2)
    count = integer(rng, 2, len(shape))
    axes = tuple(range(len(shape) - count, len(shape)))
    ours, theirs = ((F.softmax, TF.softmax), (F.log_softmax, TF.log_softmax))[seed % 2]
    compare(
        agree,
        f"{ours.__name__} over several axes",
        seed,
        dtype,
        lambda x: ours(x, None if count == len(shape) and seed % 4 < 2 else axes[::-1]),
        lambda x: theirs(x.flatten(len(shape) - count), -1).reshape(shape),
        rng.standard_normal(shape) * rng.choice([1, 10, 1000]),
    )


@drawn
@in_both_dtypes
def test_matmul_of_vectors(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    inner, batch = integer(rng, 1, 5), draw_shape(rng, least=0, most=3)
    vector, matrices = (inner,), (*batch, integer(rng, 1, 4), inner)
    shapes = [(vector, vector), (matrices, vector), (vector, (*batch, inner, integer(rng, 1, 4)))][seed % 3]
    compare(agree, "matmul of vectors", seed, dtype, F.matmul, torch.matmul, *(rng.standard_normal(s) for s in shapes))


@drawn
@in_both_dtypes
def test_minimum_and_where(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    common = draw_shape(rng)
    shapes = [tuple(1 if rng.random() < 0.3 else size for size in common)[integer(rng, 0, 1) :] for _ in range(3)]
    a, b = (draw_values(rng, shape) for shape in shapes[:2])
    compare(agree, "minimum", seed, dtype, F.minimum, torch.minimum, a, b)
    condition = rng.random(shapes[2]) < 0.5
    compare(
        agree,
        "where",
        seed,
        dtype,
        lambda a, b: F.where(condition, a, b),
        lambda a, b: torch.where(torch.tensor(condition), a, b),
        a,
        b,
    )


@pytest.mark.parametrize(("name", "theirs"), [("max", torch.amax), ("min", torch.amin)])
@drawn
@in_both_dtypes
def test_extremes(agree: Agree, name: str, theirs: Callable[..., torch.Tensor], seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape, keepdims = draw_shape(rng), bool(rng.random() < 0.5)
    axes = draw_axes(rng, len(shape)) if seed % 5 else None
    dims = tuple(range(len(shape))) if axes is None else axes
    values = draw_values(rng, shape)
    if seed % 4 == 3:
        values[rng.random(shape) < 0.4] = rng.choice([-np.inf, np.inf])
    compare(
        agree,
        name,
        seed,
        dtype,
        lambda x: getattr(F, name)(x, axes, keepdims),
        lambda x: theirs(x, dims, keepdims),
        values,
    )


@drawn
@in_both_dtypes
def test_var(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape, keepdims = tuple(size + 1 for size in draw_shape(rng)), bool(rng.random() < 0.5)
    axes = draw_axes(rng, len(shape)) if seed % 5 else None
    correction = (1, 0, 0.5, 1.5)[seed % 4]
    compare(
        agree,
        "var",
        seed,
        dtype,
        lambda x: F.var(x, axes, correction, keepdims),
        lambda x: torch.var(x, axes, correction=correction, keepdim=keepdims),
        draw_values(rng, shape),
    )


# Shapes, joins and parts


@drawn
@in_both_dtypes
def test_squeeze_and_expand_dims(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(1 if rng.random() < 0.5 else size for size in draw_shape(rng))
    values = rng.standard_normal(shape)
    ones_at = [axis - (len(shape) if rng.random() < 0.5 else 0) for axis, size in enumerate(shape) if size == 1]
    axes = tuple(axis for axis in ones_at if rng.random() < 0.7)
    compare(agree, "squeeze", seed, dtype, F.squeeze, torch.squeeze, values)
    compare(agree, "squeeze of axes", seed, dtype, lambda x: F.squeeze(x, axes), lambda x: x.squeeze(axes), values)
    axis = integer(rng, -len(shape) - 1, len(shape))
    compare(
        agree, "expand_dims", seed, dtype, lambda x: F.expand_dims(x, axis), lambda x: torch.unsqueeze(x, axis), values
    )


@drawn
@in_both_dtypes
def test_joins(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape, count = draw_shape(rng), integer(rng, 1, 4)
    axis = integer(rng, -len(shape), len(shape) - 1)
    several = []
    for _ in range(count):
        own = list(shape)
        own[axis] = integer(rng, 0, 4)
        several.append(rng.standard_normal(own))
    compare(
        agree, "concatenate", seed, dtype, lambda *x: F.concatenate(x, axis), lambda *x: torch.cat(x, axis), *several
    )
    new_axis = integer(rng, -len(shape) - 1, len(shape))
    several = [rng.standard_normal(shape) for _ in range(count)]
    compare(agree, "stack", seed, dtype, lambda *x: F.stack(x, new_axis), lambda *x: torch.stack(x, new_axis), *several)


@drawn
@in_both_dtypes
def test_split(agree: Agree, seed: int, dtype: str) -> None:
    """One part, and a product of two, so that a gradient comes from more than one."""
    rng = np.random.default_rng(seed)
    shape, axis, parts = list(draw_shape(rng)), 0, integer(rng, 1, 4)
    axis = integer(rng, -len(shape), len(shape) - 1)
    shape[axis] = parts * integer(rng, 1, 3)
    first, second = integer(rng, 0, parts - 1), integer(rng, 0, parts - 1)

    def ours(x: Tensor) -> Tensor:
        split = F.split(x, parts, axis)
        return split[first] * split[second]

    def theirs(x: torch.Tensor) -> torch.Tensor:
        split = torch.tensor_split(x, parts, axis)
        return split[first] * split[second]

    compare(agree, "split", seed, dtype, ours, theirs, rng.standard_normal(shape))
    positions = sorted(rng.integers(0, shape[axis] + 1, 2).tolist())
    compare(
        agree,
        "split at positions",
        seed,
        dtype,
        lambda x: F.split(x, positions, axis)[1],
        lambda x: torch.tensor_split(x, positions, axis)[1],
        rng.standard_normal(shape),
    )


def draw_index(rng: np.random.Generator, shape: tuple[int, ...], arrays: bool) -> tuple[Any, ...]:
    """Of integers, slices, None, Ellipsis and, if asked for, arrays that broadcast; PyTorch has no negative steps."""
    parts: list[Any] = []
    common = draw_shape(rng, most=2)
    for size in shape[: integer(rng, 1, len(shape))]:
        kind = rng.random()
        if arrays and (kind < 0.5 or len(parts) == 0):
            own = tuple(1 if rng.random() < 0.2 else length for length in common)
            parts.append(rng.integers(-size, size, own))
        elif kind < 0.7:
            start, stop = rng.integers(-size - 1, size + 2, 2).tolist()
            parts.append(
                slice(start if rng.random() < 0.7 else None, stop if rng.random() < 0.7 else None, integer(rng, 1, 3))
            )
        else:
            parts.append(integer(rng, -size, size - 1))
    if rng.random() < 0.4:
        parts.insert(integer(rng, 0, len(parts)), None)
    if len(parts) - sum(part is None for part in parts) == len(shape) or rng.random() < 0.5:
        parts.insert(integer(rng, 0, len(parts)) if not arrays else len(parts), Ellipsis)
    return tuple(parts)


@drawn
@in_both_dtypes
def test_getitem(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    for arrays in (False, True):
        index = draw_index(rng, shape, arrays)
        if not arrays and Ellipsis in index:  # it moves what stands behind it to other axes, of other sizes
            shape = tuple(5 for _ in shape)
        theirs = tuple(torch.tensor(part) if isinstance(part, np.ndarray) else part for part in index)
        compare(
            agree,
            "getitem of arrays" if arrays else "getitem",
            seed,
            dtype,
            lambda x, index=index: x[index],
            lambda x, index=theirs: x[index],
            rng.standard_normal(shape),
        )


@drawn
@in_both_dtypes
def test_getitem_of_masks(agree: Agree, seed: int, dtype: str) -> None:
    """Of the first axes, or behind a slice; sometimes with a column beside it."""
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng, least=2)
    first = integer(rng, 0, 1)
    masked = shape[first : integer(rng, first + 1, len(shape))]
    index: tuple[Any, ...] = (slice(None),) * first + (rng.random(masked) < rng.choice([0, 0.3, 0.7, 1]),)
    if len(index) - 1 + len(masked) < len(shape) and rng.random() < 0.5:
        index += (integer(rng, 0, shape[first + len(masked)] - 1),)
    theirs = tuple(torch.tensor(part) if isinstance(part, np.ndarray) else part for part in index)
    compare(agree, "getitem of masks", seed, dtype, lambda x: x[index], lambda x: x[theirs], rng.standard_normal(shape))


# Borders and sizes


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@drawn
@in_both_dtypes
def test_pad(agree: Agree, mode: str, seed: int, dtype: str) -> None:
    """In every other draw some borders are negative, at one end or at both; something is left of each axis."""
    rng = np.random.default_rng(seed)
    shape = (*pair(rng, 1, 3), *(integer(rng, 2, 5) for _ in range(integer(rng, 1, 3))))
    padding = [(0, 0), (0, 0)]
    for size in shape[2:]:
        cut = [integer(rng, 0, (size - 1) // 2) if seed % 2 and rng.random() < 0.5 else 0 for _ in range(2)]
        most = {"reflect": size - 1, "circular": size - sum(cut)}.get(mode, 6)
        before, after = (-less if less else integer(rng, 0, most) for less in cut)
        padding.append((before, after))
    if mode == "constant":
        padding[:2] = pair(rng, 0, 2), pair(rng, 0, 2)
    value = float(rng.choice([0, 1.5, -2])) if mode == "constant" else 0
    borders = padding if mode == "constant" else padding[2:]
    theirs = [border for both in reversed(borders) for border in both]
    compare(
        agree,
        f"pad {mode}",
        seed,
        dtype,
        lambda x: F.pad(x, padding, mode, value),
        lambda x: TF.pad(x, theirs, mode, value if mode == "constant" else None),
        rng.standard_normal(shape),
    )


def draw_interpolate(rng: np.random.Generator) -> Arguments:
    if rng.random() < 0.5:
        size = pair(rng, 1, 15)
        return {"size": size[0] if rng.random() < 0.3 else size}
    factors = rng.choice([0.5, 1, 2, 3, 0.3, 1.7, 2.5, float(rng.uniform(0.3, 3))], 2).tolist()
    return {"scale_factor": factors[0] if rng.random() < 0.4 else tuple(factors)}


RESIZING = [
    *("nearest", "nearest-exact", "area", "linear", "linear with corners", "bilinear", "bilinear with corners"),
    *("bicubic", "bicubic with corners", "bilinear smoothed", "bicubic smoothed", "bicubic smoothed with corners"),
]


@pytest.mark.parametrize("mode", RESIZING)
@drawn
@in_both_dtypes
def test_interpolate(agree: Agree, mode: str, seed: int, dtype: str) -> None:
    """Images, and where the mode takes them also sequences.

    PyTorch's gradient is not that of its output where a factor that is not 1 leaves a size as it is, and its smoothed
    images of one column repeat the first row: neither is drawn.
    """
    rng = np.random.default_rng(seed)
    arguments = {**draw_interpolate(rng), "mode": mode.partition(" ")[0], "antialias": "smoothed" in mode}
    if "linear" in mode or "cubic" in mode:
        arguments["align_corners"] = "corners" in mode
    if "scale_factor" in arguments and seed % 3 == 0:
        arguments["recompute_scale_factor"] = bool(seed % 2)
    axes = 1 if mode.startswith("linear") or (mode.startswith(("near", "area")) and seed % 3 == 1) else 2
    sizes = pair(rng, 4, 9) if "scale_factor" in arguments else pair(rng, 1, 9)
    for name in ("size", "scale_factor"):
        if axes == 1 and isinstance(arguments.get(name), tuple):
            arguments[name] = arguments[name][:1]
    values = rng.standard_normal((*pair(rng, 1, 3), *sizes[:axes]))
    new = TF.interpolate(torch.tensor(values), **arguments).shape[2:]
    factors = arguments.get("scale_factor", 1)
    odd_factors = np.broadcast_to(factors, axes) != 1
    if (odd_factors & np.equal(new, sizes[:axes])).any() or ("smoothed" in mode and new[-1] == 1):
        return
    compare(
        agree,
        f"interpolate {mode}",
        seed,
        dtype,
        lambda x: F.interpolate(x, **arguments),
        lambda x: TF.interpolate(x, **arguments),
        values,
    )


@pytest.mark.parametrize("mode", RESIZING)
def test_interpolate_by_factors_that_change_no_size(agree: Agree, mode: str) -> None:
    """Values alone; see above."""
    axes = 1 if mode.startswith("linear") else 2
    for size in range(2, 9):
        values = np.random.default_rng(size).standard_normal((2, 1, size, size + 1)[: 2 + axes])
        arguments: Arguments = {"mode": mode.partition(" ")[0], "antialias": "smoothed" in mode}
        if "linear" in mode or "cubic" in mode:
            arguments["align_corners"] = "corners" in mode
        for factor in (1.05, 1.1):
            expected = TF.interpolate(torch.tensor(values), scale_factor=factor, **arguments).numpy()
            output = F.interpolate(values, scale_factor=factor, **arguments).numpy()
            agree(f"interpolate {mode}, same size", f"{size} {factor}", {"output": (output, expected)})


def test_smoothed_images_of_one_column() -> None:
    """PyTorch repeats their first row, whatever is below."""
    columns = np.arange(4.0).reshape(1, 1, 4, 1).repeat(3, 3)
    theirs = TF.interpolate(torch.tensor(columns), size=(2, 1), mode="bilinear", antialias=True).numpy()
    ours = F.interpolate(columns, (2, 1), mode="bilinear", antialias=True).numpy()
    np.testing.assert_allclose(
        ours.ravel(), F.interpolate(columns, (2, 3), mode="bilinear", antialias=True).numpy()[0, 0, :, 0]
    )
    assert theirs.ravel()[0] == theirs.ravel()[1]


def test_nearest_takes_the_same_elements() -> None:
    """Where i * old / new lies on an element's edge, rounding decides: all pairs of sizes, and many factors."""
    for old in range(1, 41):
        row = np.arange(old, dtype=np.float32).reshape(1, 1, 1, old)
        arguments: list[Arguments] = [{"size": (1, new)} for new in range(1, 90)]
        arguments += [{"scale_factor": (1, factor / 10)} for factor in range(10, 60)]
        for one in arguments:
            for mode in ("nearest", "nearest-exact"):
                expected = TF.interpolate(torch.tensor(row), mode=mode, **one).numpy()
                output = F.interpolate(Tensor(row), mode=mode, **one).numpy()
                np.testing.assert_array_equal(output, expected, f"{mode} {old}, {one}")


# Special values, and what one of both refuses


@pytest.mark.parametrize(
    ("ours", "theirs", "values"),
    [
        pytest.param(F.sqrt, torch.sqrt, [SPECIAL], id="sqrt"),
        pytest.param(F.abs, torch.abs, [SPECIAL[:-1]], id="abs"),
        pytest.param(lambda x: F.clip(x, -1.5, 2), lambda x: torch.clip(x, -1.5, 2), [SPECIAL[:-1]], id="clip"),
        pytest.param(F.minimum, torch.minimum, [SPECIAL, SPECIAL[:, None]], id="minimum"),
        pytest.param(lambda x: F.max(x, 0), lambda x: torch.amax(x, 0), [SPECIAL[:-1]], id="max"),
        pytest.param(lambda x: F.min(x, 0), lambda x: torch.amin(x, 0), [SPECIAL[:-1]], id="min"),
        pytest.param(lambda x: F.var(x, 1), lambda x: torch.var(x, 1), [np.ones((3, 4))], id="var of equal ones"),
        pytest.param(lambda x: F.max(x, 1), lambda x: torch.amax(x, 1), [ones(0, 3)], id="max, empty"),
        pytest.param(lambda x: F.var(x, 1), lambda x: torch.var(x, 1), [ones(0, 3)], id="var, empty"),
        pytest.param(lambda x: x[[2, 2]], lambda x: x[[2, 2]], [SPECIAL], id="getitem"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:var")
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
        compare(agree, "special values of shapes", seed, dtype, ours, theirs, *values, configuration=name)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: x[2], lambda x: x[2]),
        (lambda x: x[0, 0, 0], lambda x: x[0, 0, 0]),
        (lambda x: x[[0, 2]], lambda x: x[[0, 2]]),
        (lambda x: x[[0, 1], [0, 1, 2]], lambda x: x[[0, 1], [0, 1, 2]]),
        (lambda x: x[0.5], lambda x: x[0.5]),
        (lambda x: x[np.ones((2, 1), bool)], lambda x: x[torch.ones((2, 1), dtype=torch.bool)]),
        (lambda x: x[np.ones((2, 3, 1), bool)], lambda x: x[torch.ones((2, 3, 1), dtype=torch.bool)]),
        (lambda x: x["a"], lambda x: x["a"]),
        (lambda x: x[::0], lambda x: x[::0]),
        (lambda x: F.clip(x, "a"), lambda x: torch.clip(x, "a")),
        (lambda x: F.where(x, x, x), lambda x: torch.where(x, x, x)),
        (lambda x: F.where([True, False], x, x), lambda x: torch.where(torch.tensor([True, False]), x, x)),
        (lambda x: F.minimum(x, x[:, :2]), lambda x: torch.minimum(x, x[:, :2])),
        (lambda x: F.var(x, 2), lambda x: torch.var(x, 2)),
        (lambda x: F.max(x, (0, 0)), lambda x: torch.amax(x, (0, 0))),
        (lambda x: F.min(x[:0], 0), lambda x: torch.amin(x[:0], 0)),
        (lambda x: F.expand_dims(x, 3), lambda x: x.unsqueeze(3)),
        (lambda x: F.squeeze(x, 2), lambda x: x.squeeze(2)),
        (lambda x: F.concatenate([]), lambda x: torch.cat([])),
        (lambda x: F.concatenate([x, x[:1]], 1), lambda x: torch.cat([x, x[:1]], 1)),
        (lambda x: F.concatenate([x, x[0]]), lambda x: torch.cat([x, x[0]])),
        (lambda x: F.stack([x, x[:1]]), lambda x: torch.stack([x, x[:1]])),
        (lambda x: F.stack([]), lambda x: torch.stack([])),
        (lambda x: F.split(x, 0), lambda x: torch.tensor_split(x, 0)),
        (lambda x: F.pad(x, [(0, 0), (3, 0)], "reflect"), lambda x: TF.pad(x, (3, 0), "reflect")),
        (lambda x: F.pad(x, [(0, 0), (4, 0)], "circular"), lambda x: TF.pad(x[None], (4, 0), "circular")),
        (lambda x: F.pad(x, [(0, 0), (-4, 0)]), lambda x: TF.pad(x, (-4, 0))),
        (lambda x: F.pad(x, [(0, 0), (1, 1)], "mirror"), lambda x: TF.pad(x, (1, 1), "mirror")),
        (lambda x: F.interpolate(x, 2), lambda x: TF.interpolate(x, 2)),
        *[
            (
                lambda x, arguments=arguments: F.interpolate(x[None, None], **arguments),
                lambda x, arguments=arguments: TF.interpolate(x[None, None], **arguments),
            )
            for arguments in (
                {},
                {"size": 0},
                {"size": 2, "scale_factor": 2},
                {"scale_factor": 0},
                {"scale_factor": 0.1},
                {"size": (2, 2, 2)},
                {"size": 2, "mode": "cubic"},
                {"size": 2, "align_corners": True},
            )
        ],
    ],
)
def test_both_refuse(ours: Callable[[Any], Any], theirs: Callable[[Any], Any]) -> None:
    assert_both_refuse(lambda: ours(Tensor(ones(2, 3))), lambda: theirs(torch.ones(2, 3)))


@pytest.mark.filterwarnings("ignore:var")
def test_what_pytorch_takes_and_gpucnn_refuses() -> None:
    """A variance of one (NaN there), limits that cross, an axis to squeeze that is not of size 1."""
    x, reference = Tensor(ones(2, 3)), torch.ones(2, 3)
    assert torch.isnan(torch.var(reference[:1], 0)).all()
    assert torch.clip(reference, 2, 0).tolist() == [[0] * 3] * 2
    assert reference.squeeze(0).shape == (2, 3)
    for call in (
        lambda: F.var(x[:1], 0),
        lambda: F.clip(x, 2, 0),
        lambda: F.squeeze(x, 0),
    ):
        with pytest.raises(GpucnnError):
            call()


def test_where_a_nan_is() -> None:
    """Ours passes a gradient on to what is NaN; in PyTorch abs and clip drop it, and amax makes all of it NaN."""
    gradients = []
    for ours in (True, False):
        for name in ("abs", "clip", "amax"):
            x = Tensor(SPECIAL[-3:].copy(), True) if ours else torch.tensor(SPECIAL[-3:], requires_grad=True)
            family: Any = F if ours else torch
            limits = (-1.0, 9.0) if name == "clip" else ()
            getattr(family, "max" if ours and name == "amax" else name)(x, *limits).sum().backward()
            gradients.append(np.asarray(x.grad).tolist())
    np.testing.assert_equal(gradients[:3], [[1, 1, 1], [1, 0, 1], [0, 0, 1]])
    np.testing.assert_equal(gradients[3:], [[1, 1, 0], [1, 0, 0], [np.nan] * 3])
