"""A convolution and the max pooling after it on a GPU, in one launch. See pooled.cu.

Small convolutions are bound by launches and by what they write: the maps before the pooling are four times what is left of them.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

from gpucnn.backend import Array, xp_of
from gpucnn.backend.precision import chosen_precision
from gpucnn.kernels.convolution.plain import Convolution
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch
from gpucnn.kernels.pooling import Pooling
from gpucnn.kernels.ways import rounds_to_tf32

SIZES = ", ".join(
    f"constant int {name}"
    for name in (
        "channels", "filters", "height", "width", "kernel_height", "kernel_width", "stride_height", "stride_width",
        "padding_top", "padding_left", "dilation_height", "dilation_width", "output_height", "output_width",
        "pool_height", "pool_width", "pool_stride_height", "pool_stride_width", "pooled_height", "pooled_width",
        "relu", "filters_together", "tf32",
    )
)  # fmt: skip


class PooledConvolution(NamedTuple):
    """A convolution, and the pooling of its output."""

    convolution: Convolution
    pooling: Pooling


def _multiply_adds(sizes: Mapping[str, int]) -> int:
    taps, window = sizes["kernel_height"] * sizes["kernel_width"], sizes["pool_height"] * sizes["pool_width"]
    return sizes["places"] * window * sizes["filters"] * sizes["channels"] * taps


KERNEL = Kernel(
    Path(__file__).with_name("pooled.cu"),
    "conv2d_max_pool",
    f"const T* images, const T* weight, const T* bias = null, T* output, int* argmax = null, I places, {SIZES}",
    block=128,
    multiply_adds=_multiply_adds,
)

MOST_SUMS, MOST_TAPS, MOST_ACROSS = 32, 4096, 16
"""As in pooled.cu: sums of a thread, taps in shared memory, columns of a patch."""

LONGEST_SUM, MOST_UNROLLED = 512, 32
"""How many products are added up one after the other, and taps of a filter, which stand in the machine code one by one."""

MOST_IN_TF32 = 1 << 28
"""Multiply-adds: with more a convolution on tensor cores gains more than the launch and the bytes that it costs."""

FEWEST_BLOCKS = 264
"""With fewer multiprocessors of a large GPU idle; then threads take fewer filters."""


def suits(task: PooledConvolution) -> bool:
    """Whether a convolution and its pooling are done well together.

    In bf16 they are not, as what is pooled is rounded first, and the first of equal numbers wins.
    """
    convolution, pooling = task
    window, pool, precision = convolution.window, pooling.window, chosen_precision()
    depth, taps = prod(convolution.weight_shape[1:]), prod(window.kernel)
    across = (pool.kernel[1] - 1) * window.stride[1] + window.extent[1]
    fits = depth <= LONGEST_SUM and taps <= MOST_UNROLLED and prod(pool.kernel) <= MOST_SUMS and across <= MOST_ACROSS
    simple = convolution.groups == 1 and not window.is_pixel and not pool.overlaps and pool.dilation == (1, 1)
    return (
        fits
        and simple
        and _stays_inside(pooling)
        and (
            precision == "float32"
            or (precision == "tf32" and convolution.work * convolution.image_shape[0] <= MOST_IN_TF32)
        )
    )


def _stays_inside(pooling: Pooling) -> bool:
    """Whether no window of the pooling lies in padding, or reaches beyond the end."""
    reached = zip(
        pooling.output_shape[2:], pooling.window.stride, pooling.window.kernel, pooling.image_size, strict=True
    )
    is_padded = pooling.window.padding != ((0, 0), (0, 0))
    return not is_padded and all((count - 1) * step + size <= whole for count, step, size, whole in reached)


def conv2d_max_pool(
    task: PooledConvolution, images: Array, weight: Array, bias: Array | None, with_argmax: bool
) -> tuple[Array, Array | None]:
    """A thread takes a window of the pooling."""
    xp, shape = xp_of(images), task.pooling.output_shape
    output, argmax = xp.empty(shape, images.dtype), xp.empty(shape, xp.int32) if with_argmax else None
    constants, parts = plan_of(task)
    places = shape[0] * shape[2] * shape[3]
    threads = _parts(places, KERNEL.block) * parts * KERNEL.block
    arrays = (contiguous(images), contiguous(weight), contiguous(bias), output, argmax)
    launch(KERNEL, threads, *arrays, places, *constants, rounds_to_tf32(images))
    return output, argmax


@lru_cache(4096)
def plan_of(task: PooledConvolution) -> tuple[tuple[int, ...], int]:
    """The constants but the last, and how many parts the filters are cut into."""
    (filters, channels, *kernel), pool = task.convolution.weight_shape, task.pooling.window
    batch, _, *pooled = task.pooling.output_shape
    size, output = task.convolution.image_shape[2:], task.convolution.output_shape[2:]
    window, taps = prod(pool.kernel), prod(kernel)
    most = max(1, min(MOST_SUMS // window, MOST_TAPS // (channels * taps), filters))
    blocks = _parts(batch * prod(pooled), KERNEL.block)
    enough = [count for count in range(1, most + 1) if blocks * _parts(filters, count) >= FEWEST_BLOCKS] or [1]
    # A patch is read once for each part, and products beyond the last filter are for nothing.
    together = min(enough, key=lambda count: _parts(filters, count) * (count + 1))
    sizes = task.convolution.window.sizes((size[0], size[1]), (output[0], output[1]))
    constants = (channels, filters, *sizes, *pool.kernel, *pool.stride, *pooled, int(task.convolution.relu), together)
    return constants, _parts(filters, together)


def _parts(whole: int, size: int) -> int:
    """How many parts of `size` cover a whole."""
    return -(-whole // size)
