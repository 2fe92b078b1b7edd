"""Values where a condition holds, and zero elsewhere."""

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.host_memory import empty_like
from gpucnn.kernels.ways import Way, choose


def masked(values: Array, condition: Array) -> Array:
    """`values`, of a float dtype, broadcast with `condition`, where `condition` holds, and 0 elsewhere, even in place of infinities.

    A product with the condition would make NaN of infinity times 0.
    """
    return MASKED[choose(MASKED, values)](values, condition)


def mask_into(values: np.ndarray, condition: np.ndarray, out: np.ndarray) -> None:
    """The same, for arrays of one shape, in `out`, of the values' dtype, which shares no memory with them."""
    bits = out.view(f"i{values.itemsize}")
    bits[...] = np.negative(condition.view(np.int8))  # -1 has all bits set, in every integer type
    np.bitwise_and(values.view(bits.dtype), bits, out=bits)


def _with_numpy(values: Array, condition: Array) -> Array:
    """Masks the bits, as NumPy's `where` takes some fifteen times as long."""
    if values.shape == condition.shape:
        result = empty_like(values)
        mask_into(values, condition, result)
        return result
    integer = np.dtype(f"i{values.itemsize}")
    kept: Array = values.view(integer) & np.negative(condition, dtype=integer)
    return kept.view(values.dtype)


def _plainly(values: Array, condition: Array) -> Array:
    return xp_of(values).where(condition, values, 0)


MASKED = {Way.NUMPY: _with_numpy, Way.PLAIN: _plainly}
