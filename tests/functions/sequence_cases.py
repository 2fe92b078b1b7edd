"""Cases of convolution and pooling of sequences, by loops."""

import itertools
import math
from collections.abc import Callable

import numpy as np

from gpucnn import Tensor
from gpucnn import functions as F
from tests.functions.case import Array, Case

Reduce = Callable[..., Array]


def convolved(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), padding))
    filters, per_group, taps = weight.shape
    length = (x.shape[2] - dilation * (taps - 1) - 1) // stride + 1
    output = np.zeros((len(x), filters, length))
    for n, o, position, c, tap in itertools.product(*map(range, (len(x), filters, length, per_group, taps))):
        channel = o // (filters // groups) * per_group + c
        output[n, o, position] += x[n, channel, position * stride + tap * dilation] * weight[o, c, tap]
    return output if bias is None else output + bias[:, None]


def pooled(
    x: Array, taps: int, stride: int, padding: int | tuple[int, int] = 0, dilation: int = 1, reduce: Reduce = np.max
) -> Array:
    ends = (padding, padding) if isinstance(padding, int) else padding
    x = np.pad(x, ((0, 0), (0, 0), ends), constant_values=-np.inf if reduce is np.max else 0)
    length = (x.shape[2] - dilation * (taps - 1) - 1) // stride + 1
    starts = [position * stride for position in range(length)]
    return np.stack(
        [reduce([x[..., start + tap * dilation] for tap in range(taps)], axis=0) for start in starts], axis=-1
    )


def over_cells(x: Array, count: int, reduce: Reduce) -> Array:
    length = x.shape[2]
    cells = [x[..., math.floor(i * length / count) : math.ceil((i + 1) * length / count)] for i in range(count)]
    return np.stack([reduce(cell, axis=-1) for cell in cells], axis=-1)


PLACES = np.array([[[4, 1, 6], [0, 2, 5]]])


def unpool(x: Tensor) -> Tensor:
    return F.max_unpool1d(x, Tensor(PLACES).to(str(x.device)), (2,), output_size=7)


def put_back(x: Array) -> Array:
    output = np.zeros((1, 2, 7))
    for index in np.ndindex(*x.shape):
        output[(*index[:2], PLACES[index])] = x[index]
    return output


CASES = [
    Case("conv1d", F.conv1d, convolved, ((2, 3, 5), (4, 3, 2), (4,))),
    Case(
        "conv1d stride padding dilation groups",
        lambda x, w: F.conv1d(x, w, None, 2, 3, 2, 2),
        lambda x, w: convolved(x, w, None, 2, (3, 3), 2, 2),
        ((2, 4, 7), (6, 2, 3)),
    ),
    Case(
        "conv1d same, kernel of an even size",
        lambda x, w: F.conv1d(x, w, padding="same"),
        lambda x, w: convolved(x, w, None, 1, (1, 2)),
        ((1, 2, 5), (3, 2, 4)),
    ),
    Case("max_pool1d", lambda x: F.max_pool1d(x, 2), lambda x: pooled(x, 2, 2), ((2, 3, 7),)),
    Case(
        "max_pool1d overlapping, padded, dilated",
        lambda x: F.max_pool1d(x, 3, 1, 1, 2),
        lambda x: pooled(x, 3, 1, 1, 2),
        ((2, 2, 8),),
    ),
    Case(
        "conv1d padded at one end",
        lambda x, w: F.conv1d(x, w, None, (2,), (0, 3), np.array([2])),
        lambda x, w: convolved(x, w, None, 2, (0, 3), 2),
        ((2, 2, 7), (3, 2, 3)),
    ),
    Case(
        "max_pool1d padded at one end",
        lambda x: F.max_pool1d(x, (3,), 2, (1, 0)),
        lambda x: pooled(x, 3, 2, (1, 0)),
        ((2, 2, 8),),
    ),
    Case("avg_pool1d", lambda x: F.avg_pool1d(x, 3), lambda x: pooled(x, 3, 3, reduce=np.mean), ((2, 3, 7),)),
    Case(
        "avg_pool1d overlapping, padded",
        lambda x: F.avg_pool1d(x, 4, (1,), (2, 1)),
        lambda x: pooled(x, 4, 1, (2, 1), reduce=np.mean),
        ((2, 2, 5),),
    ),
    Case(
        "adaptive_avg_pool1d", lambda x: F.adaptive_avg_pool1d(x, 3), lambda x: over_cells(x, 3, np.mean), ((2, 2, 7),)
    ),
    Case("adaptive_avg_pool1d of one length", lambda x: F.adaptive_avg_pool1d(x, None), lambda x: x * 1, ((2, 2, 3),)),
    Case(
        "adaptive_max_pool1d",
        lambda x: F.adaptive_max_pool1d(x, (4,)),
        lambda x: over_cells(x, 4, np.max),
        ((2, 2, 6),),
    ),
    Case("max_unpool1d", unpool, put_back, ((1, 2, 3),)),
]
