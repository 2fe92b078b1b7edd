"""Rounding to bfloat16 on a GPU, see rounding.cu. TF32 is left to cuBLAS there, which rounds what it multiplies."""

from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch

ROUND = Kernel(Path(__file__).with_name("rounding.cu"), "round_bf16", "const float* values, float* found, I size")


def suits(name: str) -> bool:
    """Whether there is a kernel that rounds to this."""
    return name == "bf16"


def round_to(name: str, values: Array, out: Array | None = None) -> Array:
    """See `round_to` of this folder."""
    found = xp_of(values).empty(values.shape, values.dtype) if out is None else out
    launch(ROUND, values.size, contiguous(values), found, values.size)
    return found
