"""Dropout with masks that every device draws alike."""

from pathlib import Path

import numpy as np

from gpucnn.backend import Array, device_of, random_stream, random_words, to_device, xp_of
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.launch import Kernel, accepts, launch

DROPOUT = Kernel(
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
    xp = xp_of(x)
    threshold = round(p * (1 << 32))
    scale = x.dtype.type(1 / (1 - p))
    if accepts(x):
        output = xp.empty(x.shape, x.dtype)  # ascontiguousarray would make a scalar one-dimensional
        # What changes from call to call goes to the kernel in an array, not as scalars.
        stream = xp.asarray(random_stream(seed, purpose, counter))
        threads = -(-x.size // WORDS_PER_THREAD)
        launch(DROPOUT, threads, xp.ascontiguousarray(x), output, stream, x.size, threshold, scale)
        return output
    kept = to_device(random_words(seed, purpose, counter, count=x.size) >= np.uint64(threshold), device_of(x))
    return masked(x * scale, kept.reshape(x.shape))
