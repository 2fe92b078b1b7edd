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


CASES = [
    Case("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, (3, 2)), lambda x: over_cells(x, 3, 2, mean), ((2, 2, 5, 4),)),
    Case("adaptive_avg_pool2d global", lambda x: F.adaptive_avg_pool2d(x, 1), lambda x: over_cells(x, 1, 1, mean), ((2, 3, 4, 3),)),
    Case("adaptive_avg_pool2d to more", lambda x: F.adaptive_avg_pool2d(x, 3), lambda x: over_cells(x, 3, 3, mean), ((1, 1, 2, 2),)),
    Case("adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, (2, 3)), lambda x: over_cells(x, 2, 3, max), ((2, 2, 5, 4),)),
    Case("max_unpool2d", unpool, put_back, ((1, 2, 2, 2),)),
]  # fmt: skip
