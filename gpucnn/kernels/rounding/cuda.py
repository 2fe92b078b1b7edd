"""bfloat16 on a GPU, see rounding.cu. TF32 is left to cuBLAS there, which rounds what it multiplies."""

from pathlib import Path

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.kernel import BF16, Kernel
from gpucnn.kernels.launch import contiguous, launch

SOURCE = Path(__file__).with_name("rounding.cu")
ROUND = Kernel(SOURCE, "round_bf16", "const float* values, float* found, I size", bf16=True)
NARROW = Kernel(SOURCE, "narrow", "const A* values, T* found, I size", bf16=True)
WIDEN = Kernel(SOURCE, "widen", "const T* values, A* found, I size", bf16=True)


def suits(name: str) -> bool:
    """Whether there is a kernel that rounds to this."""
    return name == "bf16"


def round_to(name: str, values: Array, out: Array | None = None) -> Array:
    """See `round_to` of this folder."""
    found = xp_of(values).empty(values.shape, values.dtype) if out is None else out
    launch(ROUND, values.size, contiguous(values), found, values.size)
    return found


def narrowed(values: Array) -> Array:
    """See `narrowed` of this folder."""
    found = xp_of(values).empty(values.shape, BF16)
    launch(NARROW, values.size, contiguous(values), found, values.size)
    return found


def widened(values: Array) -> Array:
    """See `widened` of this folder."""
    found = xp_of(values).empty(values.shape, np.float32)
    launch(WIDEN, values.size, contiguous(values), found, values.size)
    return found
