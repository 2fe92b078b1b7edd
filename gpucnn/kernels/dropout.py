"""Dropout with masks that every device draws alike."""

from pathlib import Path

import numpy as np

from gpucnn.backend import Array, device_of, stream_words, to_device, to_host, xp_of
from gpucnn.checks import Shape
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch
from gpucnn.kernels.ways import Way, choose

KERNEL = Kernel(
    Path(__file__).with_suffix(".cu"),
    "dropout",
    "const T* x = null, T* output, const unsigned long long* stream, long long size, unsigned long long threshold, T scale",
)
WORDS_PER_THREAD = 8


def dropout(x: Array, p: float, stream: Array) -> Array:
    """`x`, of any shape and a float dtype, with elements set to zero with probability `p`, the others over 1 - p.

    Element i is dropped if the i-th 32-bit word of the Philox stream is below p * 2^32. `stream`, uint64 (7,) on the device
    of `x`, says where that starts, see `random_stream`: what changes from call to call goes to a kernel in an array. The
    gradient is the same function of the output's gradient: the mask is drawn again, not kept.
    """
    return DROPOUT[choose(DROPOUT, x)](x, p, stream)


def dropout_factors(like: Array, shape: Shape, p: float, stream: Array) -> Array:
    """What `dropout` makes of ones of `shape`, in the dtype and on the device of `like`."""
    return FACTORS[choose(FACTORS, like)](like, shape, p, stream)


def _on_a_gpu(x: Array, p: float, stream: Array) -> Array:
    output = xp_of(x).empty(x.shape, x.dtype)
    _launch(contiguous(x), output, p, stream)
    return output


def _factors_on_a_gpu(like: Array, shape: Shape, p: float, stream: Array) -> Array:
    output = xp_of(like).empty(shape, like.dtype)
    _launch(None, output, p, stream)
    return output


def _launch(x: Array | None, output: Array, p: float, stream: Array) -> None:
    threads = -(-(output.size + WORDS_PER_THREAD - 1) // WORDS_PER_THREAD)  # a stream may start within a block
    launch(KERNEL, threads, x, output, stream, output.size, _threshold(p), _scale(output, p))


def _plainly(x: Array, p: float, stream: Array) -> Array:
    kept = to_device(stream_words(to_host(stream), x.size) >= np.uint64(_threshold(p)), device_of(x))
    return masked(x * _scale(x, p), kept.reshape(x.shape))


def _factors_plainly(like: Array, shape: Shape, p: float, stream: Array) -> Array:
    return _plainly(xp_of(like).ones(shape, like.dtype), p, stream)


def _threshold(p: float) -> int:
    return round(p * (1 << 32))


def _scale(x: Array, p: float) -> np.floating:
    scale: np.floating = x.dtype.type(1 / (1 - p))
    return scale


DROPOUT = {Way.CUDA: _on_a_gpu, Way.PLAIN: _plainly}
FACTORS = {Way.CUDA: _factors_on_a_gpu, Way.PLAIN: _factors_plainly}
