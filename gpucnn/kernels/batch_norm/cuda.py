"""Batch normalisation on a GPU, two launches each way: each channel in parts, one a block. See batch_norm.cu.

ReLU and the sum with a residual take no launch of their own, and channels of a single part no more than one each way.
"""

from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.batch_norm.plain import Gradients, Running, Statistics, unbiased
from gpucnn.kernels.kernel import ARITHMETIC, Kernel
from gpucnn.kernels.launch import contiguous, launch
from gpucnn.kernels.ways import Way

SOURCE = Path(__file__).with_name("batch_norm.cu")
_SHAPE = "int elements, int channels, int positions, int parts, int length"
STATISTICS = Kernel(SOURCE, "batch_norm_statistics", f"const T* values, A* means, A* squares, {_SHAPE}", bf16=True)
NORMALIZE = Kernel(
    SOURCE,
    "batch_norm",
    "const T* values, const A* means = null, const A* squares = null, const A* weight = null, const A* bias = null, "
    "const T* residual = null, A* running_mean = null, A* running_variance = null, const A* momentum = null, T* output, "
    f"A* table, {_SHAPE}, A eps, A kept, A share, A unbiased, int relu",
    bf16=True,
)
SUMS = Kernel(
    SOURCE,
    "batch_norm_sums",
    "const T* gradient, const T* values, const T* output = null, const A* table, T* passed = null, A* sums, A* products, "
    f"{_SHAPE}, int relu",
    bf16=True,
)
GRADIENT = Kernel(
    SOURCE,
    "batch_norm_gradient",
    "const T* gradient, const T* values, const T* output = null, const A* table, const A* sums = null, "
    "const A* products = null, T* passed = null, T* values_gradient, A* weight_gradient = null, A* bias_gradient = null, "
    f"{_SHAPE}, int relu",
    bf16=True,
)

ELEMENTS_PER_BLOCK = 4096
"""A channel of more elements is cut into parts, one a block, as one block alone would keep the GPU waiting."""

MOST_BLOCKS_PER_CHANNEL = 64
"""Every block adds up its channel's parts."""


def batch_norm(
    values: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    relu: bool,
    residual: Array | None,
    running: Running | None,
) -> tuple[Array, Statistics]:
    """See `batch_norm` of this folder."""
    xp, dtype, channels = xp_of(values), ARITHMETIC[values.dtype], values.shape[1]
    output, table = xp.empty(values.shape, values.dtype), xp.empty((5, channels), dtype)
    threads, parts, sizes = _work(values)
    means, squares = _of_parts(values, parts)
    if means is not None:
        launch(STATISTICS, threads, values, means, squares, *sizes)
    own_mean, own_variance, share = (None, None, 0.0) if running is None else running
    momentum = None if isinstance(share, float) else share
    numbers = (eps, 0.0, 0.0, unbiased(values)) if momentum is not None else (eps, 1 - share, share, unbiased(values))
    launch(
        NORMALIZE, threads, values, means, squares, contiguous(weight), contiguous(bias), residual, own_mean, own_variance,
        momentum, output, table, *sizes, *map(dtype.type, numbers), int(relu),
    )  # fmt: skip
    mean, variance, inverse = table[:3]
    return output, Statistics(mean, variance, inverse, Way.CUDA, table)


def batch_norm_gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    found: Gradients,
    output: Array | None,
    added: bool,
) -> Array:
    """See `batch_norm_gradients` of this folder."""
    result, table, relu = xp_of(values).empty(values.shape, values.dtype), statistics.table, int(output is not None)
    threads, parts, sizes = _work(values)
    (sums, products), passed = _of_parts(values, parts), found.residual
    known = (values, output if added else None)
    if sums is not None:
        launch(SUMS, threads, gradient, *known, table, passed, sums, products, *sizes, relu)
        if passed is not None:
            gradient, known, passed, relu = passed, (values, None), None, 0
    own = (found.weight, found.bias)
    launch(GRADIENT, threads, gradient, *known, table, sums, products, passed, result, *own, *sizes, relu)
    return result


def _of_parts(values: Array, parts: int) -> tuple[Array | None, Array | None]:
    """Two arrays (C, parts) for what the first launch finds; none where one launch does it all."""
    if parts == 1:
        return None, None
    first, second = xp_of(values).empty((2, values.shape[1], parts), ARITHMETIC[values.dtype])
    return first, second


def _work(values: Array) -> tuple[int, int, tuple[int, ...]]:
    """How many threads there should be, the parts of a channel, and the sizes that all the kernels take."""
    batch, channels, positions = values.shape
    elements = batch * positions
    length = max(ELEMENTS_PER_BLOCK, -(-elements // MOST_BLOCKS_PER_CHANNEL))
    parts = -(-elements // length)
    return channels * parts * STATISTICS.block, parts, (elements, channels, positions, parts, length)
