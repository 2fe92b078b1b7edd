"""Which element of a matrix each register of a warp holds, as the PTX ISA tells it.

From its "Matrix Fragments for mma.m16n8k8" and "for mma.m16n8k16 with floating point type": laneid >> 2 is the group, laneid % 4
the thread in it. Keys are (lane, number of the element in the lane), values (row, column).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

LANES = range(32)
Places = dict[tuple[int, int], tuple[int, int]]


def _layout(count: int, place: Callable[[int, int, int], tuple[int, int]]) -> Places:
    return {(lane, i): place(lane >> 2, lane % 4, i) for lane in LANES for i in range(count)}


SUMS = _layout(4, lambda group, thread, i: (group if i < 2 else group + 8, thread * 2 + (i & 1)))
TF32_A = _layout(4, lambda group, thread, i: (group if i in (0, 2) else group + 8, thread if i < 2 else thread + 4))
TF32_B = _layout(2, lambda group, thread, i: (thread if i == 0 else thread + 4, group))
BF16_A = _layout(
    8,
    lambda group, thread, i: (
        group if 0 <= i < 2 or 4 <= i < 6 else group + 8,
        thread * 2 + (i & 1) if i < 4 else thread * 2 + (i & 1) + 8,
    ),
)
BF16_B = _layout(4, lambda group, thread, i: (thread * 2 + (i & 1) if i < 2 else thread * 2 + (i & 1) + 8, group))


def fragments(matrix: Any, places: Places) -> Any:
    """(lanes, elements), as the registers of a warp hold the matrix."""
    return np.array([matrix[place] for _, place in sorted(places.items())]).reshape(len(LANES), -1)


def matrix_of(held: Any, places: Places) -> Any:
    """The matrix whose fragments are (lanes, elements)."""
    matrix = np.zeros(np.max(list(places.values()), axis=0) + 1, held.dtype)
    for (lane, i), place in places.items():
        matrix[place] = held[lane, i]
    return matrix
