"""What is done to all gradients on a GPU: few launches, and nothing is waited for. See finite.cu, norm.cu and mean.cu."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpucnn.backend import Array, are_together, xp_of
from gpucnn.kernels.gradients.plain import SMALLEST_NORM
from gpucnn.kernels.kernel import TYPE_NAMES, Kernel
from gpucnn.kernels.launch import launch

FINITE = Kernel(
    Path(__file__).with_name("finite.cu"),
    "all_finite",
    "const T* values, const T* loss = null, int* flag, long long size",
)
SQUARES = Kernel(
    Path(__file__).with_name("norm.cu"), "squares", "const T* values, double* sums, long long size, int parts"
)
NORM = Kernel(
    Path(__file__).with_name("norm.cu"),
    "gradient_norm",
    "const double* sums, double* found, int parts, double most, double smallest",
)
SCALE = Kernel(Path(__file__).with_name("norm.cu"), "scale_gradients", "T* values, const double* found, long long size")
ADD_BATCH = Kernel(
    Path(__file__).with_name("mean.cu"), "add_batch", "T* total, const T* gradient, long long size, T images"
)
TAKE_MEAN = Kernel(
    Path(__file__).with_name("mean.cu"), "take_mean", "T* total, T* gradient, const T* images, long long size"
)

ELEMENTS_PER_BLOCK, MOST_PARTS = 4096, 1024
"""A norm's array is cut into parts, one a block, of about so many elements; at most so many parts, which one block adds up."""


def suits(arrays: Sequence[Array]) -> bool:
    """Whether they lie on one device, without strides, in dtypes that there are kernels for."""
    first = arrays[0]
    return all(
        array.dtype in TYPE_NAMES and array.flags.c_contiguous and are_together(array, first) for array in arrays
    )


def clear_unless_finite(flag: Array, values: Array, loss: Array | None) -> None:
    """See `clear_unless_finite` of this folder."""
    if loss is None or loss.dtype == values.dtype:
        launch(FINITE, max(values.size, 1), values, loss, flag, values.size)
    else:
        launch(FINITE, max(values.size, 1), values, None, flag, values.size)
        launch(FINITE, 1, loss, None, flag, 1)


def limit_norm(gradients: Sequence[Array], most: float) -> Array:
    """See `limit_norm` of this folder. Three launches for one array, two more for each further one."""
    xp = xp_of(gradients[0])
    counts = [max(1, min(MOST_PARTS, -(-gradient.size // ELEMENTS_PER_BLOCK))) for gradient in gradients]
    sums, found = xp.empty(sum(counts), np.float64), xp.empty(2, np.float64)
    start = 0
    for gradient, parts in zip(gradients, counts, strict=True):
        own = sums[start : start + parts]
        launch(SQUARES, parts * SQUARES.block, gradient, own, gradient.size, parts)
        start += parts
    launch(NORM, NORM.block, sums, found, start, np.float64(most), np.float64(SMALLEST_NORM))
    for gradient in gradients:
        launch(SCALE, gradient.size, gradient, found, gradient.size)
    return found[0]


def add_batch(total: Array, gradient: Array, images: int) -> None:
    """See `add_batch` of this folder."""
    launch(ADD_BATCH, total.size, total, gradient, total.size, total.dtype.type(images))


def take_mean(total: Array, gradient: Array, images: Array) -> None:
    """See `take_mean` of this folder."""
    launch(TAKE_MEAN, total.size, total, gradient, images, total.size)
