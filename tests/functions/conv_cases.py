"""Cases of padding in its other forms, and of transposed convolution, by loops."""

import itertools

import numpy as np

from gpucnn import functions as F
from gpucnn.testing import oracles
from tests.functions.case import Array, Case


def padded(x: Array, sides: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    return np.pad(x, ((0, 0), (0, 0), *sides))


def transposed(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    extra: tuple[int, int] = (0, 0),
    groups: int = 1,
    dilation: tuple[int, int] = (1, 1),
) -> Array:
    """Every pixel stamps the filters, scaled by it, onto a canvas; the padding is cut off at the end."""
    batch, channels, height, width = x.shape
    per_group, rows, columns = weight.shape[1:]
    spans = [dilation[0] * (rows - 1) + 1, dilation[1] * (columns - 1) + 1]
    canvas = np.zeros((batch, per_group * groups, (height - 1) * stride[0] + spans[0] + extra[0],
                       (width - 1) * stride[1] + spans[1] + extra[1]))  # fmt: skip
    for n, c, i, j, o in itertools.product(*map(range, (batch, channels, height, width, per_group))):
        group = c // (channels // groups)
        for a, b in itertools.product(range(rows), range(columns)):
            place = (n, group * per_group + o, i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1])
            canvas[place] += x[n, c, i, j] * weight[c, o, a, b]
    output = canvas[:, :, padding[0] : canvas.shape[2] - padding[0], padding[1] : canvas.shape[3] - padding[1]]
    return output if bias is None else output + bias[:, None, None]


CASES = [
    Case(
        "conv2d same, kernel of an even size",
        lambda x, w: F.conv2d(x, w, padding="same", dilation=(1, 2)),
        lambda x, w: oracles.conv2d(padded(x, ((0, 1), (2, 2))), w, None, (1, 1), (0, 0), (1, 2)),
        ((2, 2, 4, 5), (3, 2, 2, 3)),
    ),
    Case("conv2d valid", lambda x, w: F.conv2d(x, w, padding="valid"), oracles.conv2d, ((1, 1, 3, 4), (2, 1, 2, 2))),
    Case(
        "conv2d padded on each side otherwise",
        lambda x, w: F.conv2d(x, w, None, (2, 1), ((2, 0), (1, 3))),
        lambda x, w: oracles.conv2d(padded(x, ((2, 0), (1, 3))), w, None, (2, 1)),
        ((2, 2, 4, 3), (2, 2, 3, 2)),
    ),
    Case("conv_transpose2d", F.conv_transpose2d, transposed, ((2, 3, 3, 2), (3, 2, 2, 3), (2,))),
    Case(
        "conv_transpose2d with stride, padding, output padding, groups, dilation",
        lambda x, w, b: F.conv_transpose2d(x, w, b, (3, 2), (1, 0), (2, 1), 2, (1, 2)),
        lambda x, w, b: transposed(x, w, b, (3, 2), (1, 0), (2, 1), 2, (1, 2)),
        ((2, 4, 3, 2), (4, 3, 2, 2), (6,)),
    ),
    Case(
        "conv_transpose2d without bias",
        lambda x, w: F.conv_transpose2d(x, w, stride=2),
        lambda x, w: transposed(x, w, None, (2, 2)),
        ((1, 2, 2, 3), (2, 1, 2, 2)),
    ),
]
