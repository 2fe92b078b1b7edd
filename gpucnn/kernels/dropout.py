"""Dropout with masks that every device draws alike."""

from pathlib import Path

import numpy as np

from gpucnn.backend import Array, device_of, random_stream, random_words, to_device, xp_of
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.launch import Kernel, contiguous, launch
from gpucnn.kernels.ways import Way, choose

KERNEL = Kernel(
    Path(__file__).with_suffix(".cu"),
    "dropout",
    "const T* x, T* output, const unsigned long long* stream, long long size, unsigned long long threshold, T scale",
)
WORDS_PER_THREAD = 8


def dropout(x: Array, p: float, seed: int, purpose: str, counter: int) -> Array:
    """`x`, of any shape and a float dtype, with elements set to zero with probability `p`, the others over 1 - p.

    Element i is dropped if the i-th 32-bit word of the Philox stream (seed, purpose, counter) is below p * 2^32. The
    gradient is the same function of the output's gradient: the mask is drawn again, not kept.
    """
    return WAYS[choose(WAYS, x)](x, p, seed, purpose, counter)


def _on_a_gpu(x: Array, p: float, seed: int, purpose: str, counter: int) -> Array:
    xp = xp_of(x)
    output = xp.empty(x.shape, x.dtype)
    # What changes from call to call goes to the kernel in an array, not as scalars.
    stream, threads = xp.asarray(random_stream(seed, purpose, counter)), -(-x.size // WORDS_PER_THREAD)
    launch(KERNEL, threads, contiguous(x), output, stream, x.size, _threshold(p), _scale(x, p))
    return output


def _plainly(x: Array, p: float, seed: int, purpose: str, counter: int) -> Array:
    kept = to_device(random_words(seed, purpose, counter, count=x.size) >= np.uint64(_threshold(p)), device_of(x))
    return masked(x * _scale(x, p), kept.reshape(x.shape))


def _threshold(p: float) -> int:
    return round(p * (1 << 32))


def _scale(x: Array, p: float) -> np.floating:
    scale: np.floating = x.dtype.type(1 / (1 - p))
    return scale


WAYS = {Way.CUDA: _on_a_gpu, Way.PLAIN: _plainly}
