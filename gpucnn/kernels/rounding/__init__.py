"""Rounding float32 to the nearest number that a shorter float has: TF32 or bfloat16, held in float32.

Kernels of a GPU also take and give bfloat16 as it is stored, in arrays of two bytes (`kernel.BF16`): `narrowed` and `widened` go
there and back.
"""

from gpucnn.backend import Array
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels.rounding import compiled, cuda, plain
from gpucnn.kernels.ways import Way, choose

ROUND = {Way.CUDA: cuda.round_to, Way.COMPILED: compiled.round_to, Way.PLAIN: plain.round_to}
SUITS = {Way.CUDA: cuda.suits}


def round_to(name: str, values: Array, out: Array | None = None) -> Array:
    """Each of `values`, float32 of any shape, as the nearest number of "bf16" or "tf32", in `out` or in a new array.

    `out` may be `values` itself, and is contiguous. A NaN stays one, and what lies beyond the largest number becomes infinite.
    Halfway between two numbers bf16 takes the even one, and tf32 that which is farther from 0: as NVIDIA's instructions do
    (PTX ISA, `cvt.rn.bf16.f32` and `cvt.rna.tf32.f32`).
    """
    return ROUND[choose(ROUND, values, out, task=name, suits=SUITS)](name, values, out)


def narrowed(values: Array) -> Array:
    """Each of `values`, float32 of any shape on a GPU, as the nearest bfloat16, in two bytes."""
    return cuda.narrowed(values)


def widened(values: Array) -> Array:
    """Values of bfloat16 in two bytes, on a GPU, as float32."""
    return cuda.widened(values)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
