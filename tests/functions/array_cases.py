"""Arithmetic, statistics, parts, joins, borders and resizing, element by element; `test_every_function.py` runs them."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from gpucnn import Tensor
from gpucnn import functions as F
from tests.functions.case import Array, Case
from tests.functions.pooling_cases import mean, over_cells

CONDITION = np.array([[True], [False], [True]])


def element_by_element(function: Callable[..., float]) -> Callable[..., Array]:
    return np.vectorize(function, otypes=[float])


def variance(values: Array, correction: float) -> float:
    """From the distances of all pairs, without a mean."""
    pairs = math.fsum((a - b) ** 2 for a in values.flat for b in values.flat)
    return pairs / (2 * values.size) / (values.size - correction)


def of_rows(function: Callable[[Array], float]) -> Callable[[Array], Array]:
    """`function` over axes 0 and 2 of three."""
    return lambda x: np.array([function(x[:, row, :]) for row in range(x.shape[1])])


def look_up(index: Callable[..., tuple[int, ...]], shape: tuple[int, ...]) -> Callable[[Array], Array]:
    """Elements one by one: `index` takes a position in the result of `shape` to one in x."""

    def oracle(x: Array) -> Array:
        output = np.zeros(shape)
        for position in np.ndindex(shape):
            output[position] = x[index(*position)]
        return output

    return oracle


def mirrored(position: int, size: int) -> int:
    """Walk from 0 to `position` on an axis of `size`, turning at its ends."""
    place, step = 0, 1 if position > 0 else -1
    for _ in range(abs(position)):
        if not 0 <= place + step < size:
            step = -step
        place += step
    return abs(place)


def clipped(x: float, low: float, high: float) -> float:
    """x between the limits, and `high` where they cross."""
    if x > high or low > high:
        return high
    return low if x < low else x


def bordered(padding: Sequence[tuple[int, int]], source: Callable[[int, int], int]) -> Callable[[Array], Array]:
    def oracle(x: Array) -> Array:
        shape = tuple(size + sum(pair) for size, pair in zip(x.shape, padding, strict=True))
        output = np.zeros(shape)
        for index in np.ndindex(shape):
            places = [source(at - padding[axis][0], x.shape[axis]) for axis, at in enumerate(index)]
            output[index] = x[tuple(places)]
        return output

    return oracle


def constant_border(x: Array) -> Array:
    output = np.full((x.shape[0], x.shape[1] + 3), 7.5)
    for row, column in np.ndindex(x.shape):
        output[row, column + 1] = x[row, column]
    return output


def bilinear(place: Callable[[int, int], float], new: tuple[int, int]) -> Callable[[Array], Array]:
    """Tents around each of the old elements, summed; `place` gives where an output row (axis 0) or column (1) lies."""

    def oracle(x: Array) -> Array:
        output = np.zeros((*x.shape[:2], *new))
        for row, column, old_row, old_column in np.ndindex(*new, *x.shape[2:]):
            at = [min(max(place(0, row), 0), x.shape[2] - 1), min(max(place(1, column), 0), x.shape[3] - 1)]
            tent = max(0, 1 - abs(at[0] - old_row)) * max(0, 1 - abs(at[1] - old_column))
            output[:, :, row, column] += tent * x[:, :, old_row, old_column]
        return output

    return oracle


def weighted(*weights: Callable[[int], list[float]]) -> Callable[[Array], Array]:
    """Each new element a weighted sum of all old ones; one list of their weights for each new one of an axis."""

    def oracle(x: Array) -> Array:
        for axis, of_new in enumerate(weights, 2):
            rows: list[Array] = []
            while (shares := of_new(len(rows))) != []:
                moved = np.moveaxis(x, axis, 0)
                rows.append(
                    sum((share * row for share, row in zip(shares, moved, strict=True)), np.zeros(moved.shape[1:]))
                )
            x = np.stack(rows, axis)
        return x

    return oracle


def keys(distance: float, a: float) -> float:
    """The cubic kernel, in the form in which Keys gives it."""
    s = math.fabs(distance)
    if s < 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a if s < 2 else 0.0


def bicubic(place: Callable[[int], float], old: int, new: int) -> Callable[[int], list[float]]:
    """What old elements count in a new one that lies at `place`; the outermost are repeated beyond the ends."""

    def shares(at: int) -> list[float]:
        if at == new:
            return []
        counts = [0.0] * old
        for neighbour in range(-9, old + 9):
            counts[min(max(neighbour, 0), old - 1)] += keys(place(at) - neighbour, -0.75)
        return counts

    return shares


def smoothed(kernel: Callable[[float], float], old: int, new: int, step: float) -> Callable[[int], list[float]]:
    """The same where a kernel is stretched to the width of a new element, and cut off at the ends."""

    def shares(at: int) -> list[float]:
        if at == new:
            return []
        counts = [kernel((one + 0.5 - (at + 0.5) * step) / max(step, 1)) for one in range(old)]
        return [count / math.fsum(counts) for count in counts]

    return shares


def tent(distance: float) -> float:
    return max(0.0, 1 - abs(distance))


MASK = np.array([[True, True, False, True], [False, True, False, True], [False, True, False, False]])
ROWS, COLUMNS = np.array([[2, 0], [-1, 2]]), np.array([1, 1])

CASES = [
    Case("astype", lambda x: F.astype(F.astype(x, "float64"), x.dtype) * 2, lambda x: x + x, ((3, 4),)),
    Case("clone", F.clone, lambda x: np.array(x.tolist()), ((3, 4),)),
    Case("sqrt", F.sqrt, element_by_element(math.sqrt), ((3, 4),), True),
    Case("abs", F.abs, element_by_element(lambda x: math.copysign(x, 1)), ((3, 4),)),
    Case("clip", lambda x: F.clip(x, -0.21, 0.13), element_by_element(lambda x: sorted((-0.21, x, 0.13))[1]), ((4, 5),)),
    Case("clip from below", lambda x: F.clip(x, 0.1), element_by_element(lambda x: x if x > 0.1 else 0.1), ((4, 5),)),
    Case("clip from above", lambda x: F.clip(x, None, 0), element_by_element(lambda x: x if x < 0 else 0), ((4, 5),)),
    Case("clip between tensors", lambda x, low, high: F.clip(x, low - 0.08, high + 0.06), element_by_element(lambda x, low, high: clipped(x, low - 0.08, high + 0.06)), ((3, 4), (4,), (3, 1))),
    Case("clip from below by a tensor", lambda x, low: F.clip(x, low - 0.02), element_by_element(lambda x, low: clipped(x, low - 0.02, math.inf)), ((3, 1), (2, 1, 4))),
    Case("clip from above by a tensor", lambda x, high: F.clip(x, None, high - 0.02), element_by_element(lambda x, high: clipped(x, -math.inf, high - 0.02)), ((), (3, 4))),
    Case("clip between a number and a tensor", lambda x, high: F.clip(x, -0.1, high + 0.02), element_by_element(lambda x, high: clipped(x, -0.1, high + 0.02)), ((3, 4), (4,))),
    Case("power of a tensor", F.power, element_by_element(math.pow), ((3, 4), (2, 1, 4)), True),
    Case("power of a tensor, the operator", lambda x, y: x**y, element_by_element(lambda x, y: math.exp(y * math.log(x))), ((3,), (3,)), True),
    Case("power of a number to a tensor", lambda x: 1.5**x, element_by_element(lambda x: math.exp(x * math.log(1.5))), ((3, 4),)),
    Case("power of a negative base", lambda x: F.power(x - 2, np.array([2.0, -1.0, 3.0])), lambda x: np.stack([(x - 2)[:, 0] ** 2, 1 / (x - 2)[:, 1], (x - 2)[:, 2] ** 3], 1), ((4, 3),)),
    Case("matmul of two vectors", F.matmul, lambda a, b: np.array(math.fsum(p * q for p, q in zip(a, b, strict=True))), ((4,), (4,))),
    Case("matmul of a vector and a matrix", F.matmul, lambda a, b: np.einsum("k,kn->n", a, b), ((4,), (4, 3))),
    Case("matmul of a matrix and a vector", lambda a, b: a @ b, lambda a, b: np.einsum("mk,k->m", a, b), ((2, 4), (4,))),
    Case("matmul of a vector and matrices", F.matmul, lambda a, b: np.einsum("k,abkn->abn", a, b), ((3,), (2, 2, 3, 4))),
    Case("matmul of matrices and a vector", F.matmul, lambda a, b: np.einsum("abmk,k->abm", a, b), ((2, 2, 4, 3), (3,))),
    Case("matmul of batches", F.matmul, lambda a, b: np.einsum("amk,bakn->bamn", a, b), ((3, 2, 4), (2, 3, 4, 2))),
    Case("softmax over two axes", lambda x: F.softmax(x, (1, -1)), lambda x: np.stack([[np.exp(row) / math.fsum(np.exp(plane).ravel()) for row in plane] for plane in x]), ((2, 3, 4),)),
    Case("softmax over all axes", lambda x: F.softmax(x, None), lambda x: np.exp(x) / math.fsum(np.exp(x).ravel()), ((2, 3, 4),)),
    Case("log_softmax over two axes", lambda x: F.log_softmax(x, np.array([0, 2])), lambda x: np.stack([x[:, row] - math.log(math.fsum(np.exp(x[:, row]).ravel())) for row in range(3)], 1), ((2, 3, 4),)),
    Case("minimum", F.minimum, lambda a, b: (a + b - np.hypot(a - b, 0)) / 2, ((2, 3), (3,))),
    Case("where", lambda a, b: F.where(CONDITION, a, b), lambda a, b: CONDITION * a + ~CONDITION * b, ((3, 4), (4,))),
    Case("where it broadcasts both", lambda a, b: F.where(CONDITION, a, b), lambda a, b: CONDITION * a + ~CONDITION * b, ((4,), ())),
    Case("var", F.var, lambda x: np.array(variance(x, 1)), ((2, 3, 4),)),
    Case("var over axes", lambda x: F.var(x, (0, -1), 0), of_rows(lambda row: variance(row, 0)), ((2, 3, 4),)),
    Case("var keeping axes", lambda x: x.var((2, 0), 1.5, True), lambda x: of_rows(lambda row: variance(row, 1.5))(x)[None, :, None], ((2, 3, 4),)),
    Case("max", F.max, lambda x: np.array(sorted(x.flat)[-1]), ((2, 3, 4),)),
    Case("max over axes", lambda x: x.max((0, -1)), of_rows(lambda row: sorted(row.flat)[-1]), ((2, 3, 4),)),
    Case("min", F.min, lambda x: np.array(sorted(x.flat)[0]), ((2, 3, 4),)),
    Case("min keeping axes", lambda x: x.min((0, 2), True), lambda x: of_rows(lambda row: sorted(row.flat)[0])(x)[None, :, None], ((2, 3, 4),)),
    Case("squeeze", F.squeeze, lambda x: np.einsum("aibjc->ij", x), ((1, 2, 1, 3, 1),)),
    Case("squeeze of one axis", lambda x: F.squeeze(x, -3), lambda x: np.einsum("aibjc->aijc", x), ((1, 2, 1, 3, 1),)),
    Case("expand_dims", lambda x: F.expand_dims(x, (1, -2)), lambda x: np.array([[[row.tolist()]] for row in x]), ((3, 4),)),
    Case("expand_dims of one axis", lambda x: F.expand_dims(x, 1), lambda x: np.array([[row.tolist()] for row in x]), ((3, 4),)),
    Case("getitem of slices", lambda x: x[1, ..., ::-2], look_up(lambda i, j: (1, i, 3 - 2 * j), (3, 2)), ((2, 3, 4),)),
    Case("getitem of one", lambda x: x[1, 2], lambda x: np.array(x.tolist()[1][2]), ((3, 4),)),
    Case("getitem with new axes", lambda x: x[None, :, None, -1], look_up(lambda _, i, __: (i, 3), (1, 3, 1)), ((3, 4),)),
    Case("getitem of rows", lambda x: x[[2, 0, 2, -1]], look_up(lambda i, j: ((2, 0, 2, 2)[i], j), (4, 4)), ((3, 4),)),
    Case("getitem of pairs", lambda x: x[ROWS, COLUMNS], look_up(lambda i, j: (int(ROWS[i, j]), 1), (2, 2)), ((3, 4),)),
    Case("getitem of columns", lambda x: x[..., COLUMNS, None], look_up(lambda i, j, k, _: (i, j, 1), (2, 3, 2, 1)), ((2, 3, 4),)),
    Case("getitem of arrays apart", lambda x: x[Tensor([1, 1]), :, [3, 0]], look_up(lambda i, j: (1, j, (3, 0)[i]), (2, 3)), ((2, 3, 4),)),
    Case("getitem of a mask", lambda x: x[MASK], lambda x: np.array([x[i, j] for i, j in np.ndindex(3, 4) if MASK[i, j]]), ((3, 4),)),
    Case("getitem of a mask of rows", lambda x: x[[True, False, True]], lambda x: np.array([x[0].tolist(), x[2].tolist()]), ((3, 4, 2),)),
    Case("getitem of a mask of the last axes", lambda x: x[..., MASK], lambda x: np.stack([x[:, i, j] for i, j in np.ndindex(3, 4) if MASK[i, j]], 1), ((2, 3, 4),)),
    Case("getitem of a mask of columns", lambda x: x[:, None, Tensor(MASK[0])], lambda x: np.stack([x[:, j] for j in range(4) if MASK[0, j]], 1)[:, None], ((3, 4, 2),)),
    Case("getitem of a mask and integers", lambda x: x[[True, False, True], 2, [3, 0]], lambda x: np.array([x[0, 2, 3], x[2, 2, 0]]), ((3, 3, 4),)),
    Case("getitem of a mask and a repeated integer", lambda x: x[[1, 1], MASK[1]], lambda x: np.array([x[1, j] for j in range(4) if MASK[1, j]]), ((3, 4),)),
    Case("getitem of an empty mask", lambda x: x[np.zeros(3, bool)], lambda x: np.zeros((0, 2)), ((3, 2),)),
    Case("concatenate", lambda a, b, c: F.concatenate([a, b, c], -2), lambda a, b, c: np.array([i.tolist() + j.tolist() + k.tolist() for i, j, k in zip(a, b, c, strict=True)]), ((2, 1, 3), (2, 3, 3), (2, 2, 3))),
    Case("stack", lambda a, b: F.stack([a, b], -1), lambda a, b: np.array([[[p, q] for p, q in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]), ((2, 3), (2, 3))),
    Case("stack first", lambda a, b: F.stack([a, b]), lambda a, b: np.array([a.tolist(), b.tolist()]), ((2, 3), (2, 3))),
    Case("split", lambda x: F.split(x, 3, 1)[1], look_up(lambda i, j: (i, 2 + j), (2, 2)), ((2, 6),)),
    Case("split at positions", lambda x: F.split(x, [1, -1])[1] * F.split(x, [1, -1])[2], lambda x: np.array([[a * b for a, b in zip(row, x[-1], strict=True)] for row in x[1:4]]), ((5, 2),)),
    Case("pad", lambda x: F.pad(x, ((0, 0), (1, 2)), value=7.5), constant_border, ((2, 3),)),
    Case("pad reflect", lambda x: F.pad(x, ((0, 1), (2, 3)), "reflect"), bordered(((0, 1), (2, 3)), mirrored), ((2, 4),)),
    Case("pad replicate", lambda x: F.pad(x, ((1, 0), (2, 5)), "replicate"), bordered(((1, 0), (2, 5)), lambda at, size: min(max(at, 0), size - 1)), ((2, 3),)),
    Case("pad circular", lambda x: F.pad(x, ((0, 1), (4, 3)), "circular"), bordered(((0, 1), (4, 3)), lambda at, size: at % size), ((2, 4),)),
    Case("pad by less than nothing", lambda x: F.pad(x, ((0, -1), (-2, -1))), lambda x: np.array([x[i, 2:4].tolist() for i in range(2)]), ((3, 5),)),
    Case("pad on one side, cut off the other", lambda x: F.pad(x, ((1, -1), (-2, 3)), value=7.5), lambda x: np.array([[7.5] * 6, *([*x[i, 2:].tolist(), 7.5, 7.5, 7.5] for i in range(2))]), ((3, 5),)),
    Case("pad all off", lambda x: F.pad(x, ((0, 0), (-2, -1))), lambda x: np.zeros((2, 0)), ((2, 3),)),
    Case("pad reflect, cut off", lambda x: F.pad(x, ((0, 0), (-3, 4)), "reflect"), bordered(((0, 0), (-3, 4)), mirrored), ((2, 5),)),
    Case("pad replicate, cut off", lambda x: F.pad(x, ((2, -1), (-4, 3)), "replicate"), bordered(((2, -1), (-4, 3)), lambda at, size: min(max(at, 0), size - 1)), ((3, 4),)),
    Case("pad circular, cut off", lambda x: F.pad(x, ((0, 0), (3, -2)), "circular"), lambda x: np.array([[row[0], row[1], row[2]] * 2 for row in x]), ((2, 5),)),
    Case("interpolate", lambda x: F.interpolate(x, (7, 2)), look_up(lambda n, c, i, j: (n, c, i * 3 // 7, j * 5 // 2), (2, 2, 7, 2)), ((2, 2, 3, 5),)),
    Case("interpolate by a factor", lambda x: F.interpolate(x, scale_factor=2), look_up(lambda n, c, i, j: (n, c, i // 2, j // 2), (1, 2, 4, 6)), ((1, 2, 2, 3),)),
    Case("interpolate bilinear", lambda x: F.interpolate(x, (7, 2), mode="bilinear"), bilinear(lambda axis, at: ((at + 0.5) * 3 / 7, (at + 0.5) * 5 / 2)[axis] - 0.5, (7, 2)), ((2, 2, 3, 5),)),
    Case("interpolate bilinear by factors", lambda x: F.interpolate(x, None, (2.5, 0.7), "bilinear"), bilinear(lambda axis, at: ((at + 0.5) / 2.5, (at + 0.5) / 0.7)[axis] - 0.5, (7, 3)), ((1, 2, 3, 5),)),
    Case("interpolate bilinear with corners", lambda x: F.interpolate(x, (6, 3), None, "bilinear", True), bilinear(lambda axis, at: (at * 2 / 5, at * 4 / 2)[axis], (6, 3)), ((2, 1, 3, 5),)),
    Case("interpolate nearest-exact", lambda x: F.interpolate(x, (7, 2), None, "nearest-exact"), look_up(lambda n, c, i, j: (n, c, (2 * i + 1) * 3 // 14, (2 * j + 1) * 5 // 4), (2, 2, 7, 2)), ((2, 2, 3, 5),)),
    Case("interpolate area", lambda x: F.interpolate(x, (3, 4), None, "area"), lambda x: over_cells(x, 3, 4, mean), ((2, 2, 5, 3),)),
    Case("interpolate area of sequences", lambda x: F.interpolate(x, None, 0.5, "area"), lambda x: over_cells(x[:, :, None], 1, 3, mean)[:, :, 0], ((2, 2, 7),)),
    Case("interpolate nearest of sequences", lambda x: F.interpolate(x, np.array([7])), look_up(lambda n, c, i: (n, c, i * 4 // 7), (2, 2, 7)), ((2, 2, 4),)),
    Case("interpolate linear", lambda x: F.interpolate(x, None, (2.5,), "linear"), lambda x: bilinear(lambda axis, at: (0, (at + 0.5) / 2.5 - 0.5)[axis], (1, 10))(x[:, :, None])[:, :, 0], ((2, 2, 4),)),
    Case("interpolate linear with corners", lambda x: F.interpolate(x, 3, None, "linear", True), lambda x: bilinear(lambda axis, at: (0, at * 2)[axis], (1, 3))(x[:, :, None])[:, :, 0], ((1, 2, 5),)),
    Case("interpolate bicubic", lambda x: F.interpolate(x, (7, 3), None, "bicubic"), weighted(bicubic(lambda at: (at + 0.5) * 4 / 7 - 0.5, 4, 7), bicubic(lambda at: (at + 0.5) * 5 / 3 - 0.5, 5, 3)), ((1, 2, 4, 5),)),
    Case("interpolate bicubic with corners", lambda x: F.interpolate(x, (5, 2), None, "bicubic", True), weighted(bicubic(lambda at: at * 3 / 4, 4, 5), bicubic(lambda at: at * 2.0, 3, 2)), ((2, 1, 4, 3),)),
    Case("interpolate bicubic by factors", lambda x: F.interpolate(x, None, (1.3, 0.7), "bicubic"), weighted(bicubic(lambda at: (at + 0.5) / 1.3 - 0.5, 4, 5), bicubic(lambda at: (at + 0.5) / 0.7 - 0.5, 5, 3)), ((1, 2, 4, 5),)),
    Case("interpolate bicubic by the ratio of sizes", lambda x: F.interpolate(x, None, 1.4, "bicubic", None, True), weighted(bicubic(lambda at: (at + 0.5) * 4 / 5 - 0.5, 4, 5), bicubic(lambda at: (at + 0.5) * 3 / 4 - 0.5, 3, 4)), ((1, 2, 4, 3),)),
    Case("interpolate bilinear smoothed", lambda x: F.interpolate(x, (3, 9), None, "bilinear", antialias=True), weighted(smoothed(tent, 7, 3, 7 / 3), smoothed(tent, 4, 9, 4 / 9)), ((1, 2, 7, 4),)),
    Case("interpolate bicubic smoothed", lambda x: F.interpolate(x, None, (0.4, 1.5), "bicubic", antialias=True), weighted(smoothed(lambda d: keys(d, -0.5), 8, 3, 2.5), smoothed(lambda d: keys(d, -0.5), 3, 4, 1 / 1.5)), ((1, 2, 8, 3),)),
]  # fmt: skip
