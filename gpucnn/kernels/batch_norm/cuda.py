"""Batch normalisation on a GPU, two launches each way: each channel in parts, one a block. See batch_norm.cu."""

from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.batch_norm.plain import Gradients, Statistics
from gpucnn.kernels.elementwise.cuda import relu as rectified
from gpucnn.kernels.launch import Kernel, contiguous, launch
from gpucnn.kernels.ways import Way

SOURCE = Path(__file__).with_name("batch_norm.cu")
_SHAPE = "int elements, int channels, int positions, int parts, int length"
STATISTICS = Kernel(SOURCE, "batch_norm_statistics", f"const T* values, T* means, T* squares, {_SHAPE}")
NORMALIZE = Kernel(
    SOURCE,
    "batch_norm",
    "const T* values, const T* means, const T* squares, const T* weight = null, const T* bias = null, T* output, T* mean, "
    f"T* variance, T* inverse, {_SHAPE}, T eps",
)
SUMS = Kernel(
    SOURCE,
    "batch_norm_sums",
    f"const T* gradient, const T* values, const T* mean, const T* inverse, T* sums, T* products, {_SHAPE}",
)
GRADIENT = Kernel(
    SOURCE,
    "batch_norm_gradient",
    "const T* gradient, const T* values, const T* mean, const T* inverse, const T* weight = null, const T* sums, "
    f"const T* products, T* values_gradient, T* weight_gradient = null, T* bias_gradient = null, {_SHAPE}",
)

ELEMENTS_PER_BLOCK = 4096
"""A channel of more elements is cut into parts, one a block, as one block alone would keep the GPU waiting."""

MOST_BLOCKS_PER_CHANNEL = 64
"""Every block adds up its channel's parts."""


def batch_norm(
    values: Array, weight: Array | None, bias: Array | None, eps: float, relu: bool
) -> tuple[Array, Statistics]:
    """See `batch_norm` of this folder. ReLU takes a launch of its own."""
    xp, dtype = xp_of(values), values.dtype
    output, (threads, parts, sizes) = xp.empty(values.shape, dtype), _work(values)
    means, squares = (xp.empty(parts, dtype) for _ in range(2))
    launch(STATISTICS, threads, values, means, squares, *sizes)
    numbers = [xp.empty(values.shape[1], dtype) for _ in range(3)]
    affine = (contiguous(weight), contiguous(bias))
    launch(NORMALIZE, threads, values, means, squares, *affine, output, *numbers, *sizes, dtype.type(eps))
    mean, variance, inverse = numbers
    return rectified(output) if relu else output, Statistics(mean, variance, inverse, Way.CUDA)


def batch_norm_gradients(
    gradient: Array, values: Array, weight: Array | None, statistics: Statistics, found: Gradients, output: Array | None
) -> Array:
    """See `batch_norm_gradients` of this folder."""
    xp, dtype = xp_of(values), values.dtype
    result, (threads, parts, sizes) = xp.empty(values.shape, dtype), _work(values)
    sums, products = (xp.empty(parts, dtype) for _ in range(2))
    known = (gradient, values, statistics.mean, statistics.inverse)
    launch(SUMS, threads, *known, sums, products, *sizes)
    launch(GRADIENT, threads, *known, contiguous(weight), sums, products, result, *found, *sizes)
    return result


def _work(values: Array) -> tuple[int, tuple[int, int], tuple[int, ...]]:
    """How many threads there should be, the shape of an array of parts, and the sizes that all the kernels take."""
    batch, channels, positions = values.shape
    elements = batch * positions
    length = max(ELEMENTS_PER_BLOCK, -(-elements // MOST_BLOCKS_PER_CHANNEL))
    parts = -(-elements // length)
    return channels * parts * STATISTICS.block, (channels, parts), (elements, channels, positions, parts, length)
