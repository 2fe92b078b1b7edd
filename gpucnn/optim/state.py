"""Arrays of a saved state, checked before they are taken over."""

from typing import Any

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import as_array, to_host
from gpucnn.checks import Shape
from gpucnn.errors import DTypeError, StateError
from gpucnn.text import shape_text


def as_floats(key: str, value: Any, shape: Shape) -> np.ndarray:
    """`value` as floats of `shape` on the host; StateError, which names `key`, if it is something else."""
    return _checked(key, value, shape, "f", "floats")


def as_steps(key: str, value: Any, least: int) -> int:
    """`value`, an array () of an integer, as an int; StateError, which names `key`, unless it is at least `least`."""
    steps = int(_checked(key, value, (), "i", "integers"))
    if steps < least:
        raise StateError(f"{key!r} must be at least {least}, got {steps}")
    return steps


def _checked(key: str, value: Any, shape: Shape, kind: str, kind_name: str) -> np.ndarray:
    try:
        array = to_host(value.array if isinstance(value, Tensor) else as_array(value))
    except DTypeError as error:
        raise StateError(f"{key!r}: {error}") from None
    if array.shape != shape or array.dtype.kind != kind:
        raise StateError(
            f"{key!r} must be {kind_name} of shape {shape_text(shape)}, got {array.dtype} of shape {shape_text(array.shape)}"
        )
    return array
