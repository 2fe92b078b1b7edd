"""Numbers as tensor cores take them, by arithmetic in double precision."""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def as_tf32(x: Array) -> Array:
    """With a mantissa of 10 bits and the leading one: the nearest, of two the one farther from zero (cvt.rna)."""
    return _rounded(x, 11, lambda scaled: np.copysign(np.floor(np.abs(scaled) + 0.5), scaled))


def as_bf16(x: Array) -> Array:
    """With a mantissa of 7 bits and the leading one: the nearest, of two the even one (cvt.rn)."""
    return _rounded(x, 8, np.rint)


def bits(x: Array) -> Array:
    """As float32, as whole numbers; what is too large for it is infinite."""
    with np.errstate(over="ignore"):
        return x.astype(np.float32).view(np.uint32)


def bf16_bits(x: Array) -> Array:
    """Of numbers that bf16 has: the upper halves of float32."""
    return (bits(x) >> 16).astype(np.uint16)


def _rounded(x: Array, digits: int, to_nearest: Callable[[Array], Array]) -> Array:
    exponent = np.frexp(x.astype(np.float64))[1]
    last = np.maximum(exponent, -125) - digits  # the power of 2 of the last digit; subnormal numbers share the smallest
    return np.ldexp(to_nearest(np.ldexp(x.astype(np.float64), -last)), last)
