"""The sum of every channel over images and positions: the gradient of a bias, and the total of a batch's losses."""

from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.kernel import ARITHMETIC, Kernel
from gpucnn.kernels.launch import launch
from gpucnn.kernels.ways import Way, choose

KERNEL = Kernel(
    Path(__file__).with_suffix(".cu"),
    "channel_sums",
    "const T* values, A* sums, I elements, I channels, Divisor positions, Divisor parts, I length",
    bf16=True,
)

ELEMENTS_PER_BLOCK = 16_384
"""A channel of more elements is cut into parts, one a block, as one block alone would keep the GPU waiting."""


def channel_sums(values: Array, out: Array | None = None) -> Array:
    """Sum values (N, C, P), contiguous, over N and P: (C,), in their dtype. `out` of that shape is overwritten.

    Values may be of bfloat16 in two bytes, see `kernel.BF16`; their sums are float32.
    """
    return WAYS[choose(WAYS, values)](values, out)


def _on_a_gpu(values: Array, out: Array | None) -> Array:
    xp, (batch, channels, positions) = xp_of(values), values.shape
    sums = xp.empty(channels, ARITHMETIC[values.dtype]) if out is None else out
    if values.size == 0:
        sums[...] = 0
        return sums
    parts = max(1, -(-batch * positions // ELEMENTS_PER_BLOCK))
    if parts > 1:
        partial = xp.empty((1, channels, parts), sums.dtype)
        _launch(values, partial, parts)
        values = partial
    _launch(values, sums, 1)
    return sums


def _plainly(values: Array, out: Array | None) -> Array:
    if values.shape[2] == 1:
        return values.sum(axis=(0, 2), out=out)
    return values.sum(axis=2).sum(axis=0, out=out)


def _launch(values: Array, sums: Array, parts: int) -> None:
    batch, channels, positions = values.shape
    elements = batch * positions
    sizes = (elements, channels, positions, parts, -(-elements // parts))
    launch(KERNEL, channels * parts * KERNEL.block, values, sums, *sizes)


WAYS = {Way.CUDA: _on_a_gpu, Way.PLAIN: _plainly}
