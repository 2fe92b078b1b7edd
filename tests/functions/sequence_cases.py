"""Cases of convolution and pooling of sequences, by loops."""

import itertools

import numpy as np

from gpucnn import functions as F
from tests.functions.case import Array, Case


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


def pooled(x: Array, taps: int, stride: int, padding: int = 0, dilation: int = 1) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding)), constant_values=-np.inf)
    length = (x.shape[2] - dilation * (taps - 1) - 1) // stride + 1
    starts = [position * stride for position in range(length)]
    return np.stack(
        [np.max([x[..., start + tap * dilation] for tap in range(taps)], axis=0) for start in starts], axis=-1
    )


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
]
