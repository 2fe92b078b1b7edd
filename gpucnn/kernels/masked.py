"""Values where a condition holds, and zero elsewhere."""

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.host_memory import empty


def masked(values: Array, condition: Array) -> Array:
    """`values`, of a float dtype, broadcast with `condition`, where `condition` holds, and 0 elsewhere, even in place of infinities.

    The bits are masked: a product with the condition would make NaN of infinity times 0, and NumPy's `where` takes some
    fifteen times as long.
    """
    integer = np.dtype(f"i{values.itemsize}")
    if isinstance(values, np.ndarray) and values.shape == condition.shape:
        mask, result = empty(values.shape, integer), empty(values.shape, integer)
        np.negative(condition, out=mask, dtype=integer)
        np.bitwise_and(values.view(integer), mask, out=result)
        return result.view(values.dtype)
    kept: Array = values.view(integer) & xp_of(condition).negative(condition, dtype=integer)
    return kept.view(values.dtype)
