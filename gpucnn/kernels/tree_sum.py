"""The sum of rows in the order of a tree: floating-point sums depend on it, so it is laid down."""

from pathlib import Path

from gpucnn.backend import Array, to_host
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import launch
from gpucnn.kernels.ways import Way, choose

KERNEL = Kernel(
    Path(__file__).with_suffix(".cu"),
    "tree_sum",
    "T* rows, const unsigned char* merges, I count, I width, I start, I stop",
)


def tree_sum(rows: Array, merges: Array, columns: slice) -> Array:
    """Add up `rows` (count, width), contiguous, in place: the first row's `columns`, which then are the sum of all rows'.

    `merges` (count,), uint8 and beside them: how often, once a row has come, the latest sum is added to the one before it.
    At the end there must be one sum; 0, 1, 0, 2 is (a + b) + (c + d). The other rows may be written over.
    """
    return WAYS[choose(WAYS, rows)](rows, merges, columns)


def _on_a_gpu(rows: Array, merges: Array, columns: slice) -> Array:
    count, width = rows.shape
    if count > 1:
        launch(KERNEL, columns.stop - columns.start, rows, merges, count, width, columns.start, columns.stop)
    return rows[0, columns]


def _plainly(rows: Array, merges: Array, columns: slice) -> Array:
    waiting: list[Array] = []
    for row, merged in zip(rows, to_host(merges).tolist(), strict=True):
        waiting.append(row[columns])
        for _ in range(merged):
            right = waiting.pop()
            waiting[-1] += right
    (total,) = waiting
    return total


WAYS = {Way.CUDA: _on_a_gpu, Way.PLAIN: _plainly}
