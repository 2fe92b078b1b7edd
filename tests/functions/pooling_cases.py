"""Cases of adaptive pooling and of unpooling, by loops."""

import math
from collections.abc import Callable

import numpy as np

from gpucnn import Tensor
from gpucnn import functions as F
from tests.functions.case import Array, Case


def over_cells(x: Array, rows: int, columns: int, reduce: Callable[[list[float]], float]) -> Array:
    output = np.empty((*x.shape[:2], rows, columns))
    for n, c, i, j in np.ndindex(*output.shape):
        top, bottom = math.floor(i * x.shape[2] / rows), math.ceil((i + 1) * x.shape[2] / rows)
        left, right = math.floor(j * x.shape[3] / columns), math.ceil((j + 1) * x.shape[3] / columns)
        output[n, c, i, j] = reduce([float(x[n, c, a, b]) for a in range(top, bottom) for b in range(left, right)])
    return output


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


PLACES = np.array([[[[5, 2], [11, 8]], [[0, 3], [6, 9]]]])


def unpool(x: Tensor) -> Tensor:
    indices = Tensor(PLACES).to(str(x.device))
    return F.max_unpool2d(x, indices, (2, 2), (1, 1), output_size=(3, 4))


def put_back(x: Array) -> Array:
    output = np.zeros((1, 2, 3, 4))
    for index in np.ndindex(*x.shape):
        output[(*index[:2], *divmod(PLACES[index], 4))] = x[index]
    return output


def over_windows(
    x: Array,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    reduce: Callable[[list[float]], float],
    border: float | None,
) -> Array:
    """Windows over a padded copy; what is `border` there counts, unless that is None."""
    padded = np.pad(x, ((0, 0), (0, 0), *padding), constant_values=np.nan if border is None else border)
    rows, columns = (
        (size - taps) // step + 1 for size, taps, step in zip(padded.shape[2:], kernel, stride, strict=True)
    )
    output = np.empty((*x.shape[:2], rows, columns))
    for n, c, i, j in np.ndindex(*output.shape):
        top, left = i * stride[0], j * stride[1]
        values = padded[n, c, top : top + kernel[0], left : left + kernel[1]].ravel()
        output[n, c, i, j] = reduce([float(value) for value in values if not math.isnan(value)])
    return output


ONE_SIDE = ((0, 1), (2, 0))
CASES = [
    Case("max_pool2d padded at one side", lambda x: F.max_pool2d(x, (3, 4), 1, ONE_SIDE), lambda x: over_windows(x, (3, 4), (1, 1), ONE_SIDE, max, None), ((2, 2, 5, 4),)),
    Case("max_pool2d apart, padded at one side", lambda x: F.max_pool2d(x, 2, 2, ((1, 0), (0, 1))), lambda x: over_windows(x, (2, 2), (2, 2), ((1, 0), (0, 1)), max, None), ((2, 2, 5, 5),)),
    Case("max_pool2d same", lambda x: F.max_pool2d(x, 2, 1, "same"), lambda x: over_windows(x, (2, 2), (1, 1), ((0, 1), (0, 1)), max, None), ((1, 2, 4, 3),)),
    Case("avg_pool2d padded at one side", lambda x: F.avg_pool2d(x, (3, 4), (2, 1), ONE_SIDE), lambda x: over_windows(x, (3, 4), (2, 1), ONE_SIDE, mean, 0), ((2, 2, 6, 4),)),
    Case("avg_pool2d padded at one side, which does not count", lambda x: F.avg_pool2d(x, (3, 4), 1, ONE_SIDE, False, False), lambda x: over_windows(x, (3, 4), (1, 1), ONE_SIDE, mean, None), ((1, 2, 4, 3),)),
    Case("avg_pool2d over a divisor", lambda x: F.avg_pool2d(x, 2, 1, 1, False, False, 3), lambda x: over_windows(x, (2, 2), (1, 1), ((1, 1), (1, 1)), lambda v: math.fsum(v) / 3, 0), ((1, 2, 4, 3),)),
    Case("adaptive_avg_pool2d of the images' width", lambda x: F.adaptive_avg_pool2d(x, (2, None)), lambda x: over_cells(x, 2, 3, mean), ((2, 2, 5, 3),)),
    Case("adaptive_max_pool2d of the images' height", lambda x: F.adaptive_max_pool2d(x, (None, 2)), lambda x: over_cells(x, 4, 2, max), ((2, 2, 4, 5),)),
    Case("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, (3, 2)), lambda x: over_cells(x, 3, 2, mean), ((2, 2, 5, 4),)),
    Case("adaptive_avg_pool2d global", lambda x: F.adaptive_avg_pool2d(x, 1), lambda x: over_cells(x, 1, 1, mean), ((2, 3, 4, 3),)),
    Case("adaptive_avg_pool2d to more", lambda x: F.adaptive_avg_pool2d(x, 3), lambda x: over_cells(x, 3, 3, mean), ((1, 1, 2, 2),)),
    Case("adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, (2, 3)), lambda x: over_cells(x, 2, 3, max), ((2, 2, 5, 4),)),
    Case("max_unpool2d", unpool, put_back, ((1, 2, 2, 2),)),
]  # fmt: skip
