"""Checks of plain arguments, each with a message that says what was given and what was expected."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np

from gpucnn.errors import ArgumentError

Pair: TypeAlias = tuple[int, int]
IntOrPair: TypeAlias = int | Sequence[int]
Shape: TypeAlias = tuple[int, ...]


def is_int(value: object) -> bool:
    """Whether `value` is an integer, NumPy's too, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether `value` is a finite real number, NumPy's too, and not a bool."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def as_count(value: int, name: str) -> int:
    """`value` as an int >= 1; ArgumentError, which calls it `name`, if it is none."""
    if not is_int(value) or value < 1:
        raise ArgumentError(f"{name} must be an int >= 1, got {value!r}")
    return int(value)


def as_items(value: object) -> tuple[Any, ...] | None:
    """The items of a sequence, or of a plain array of one axis or more as Python has them; None for what is neither.

    A text is no sequence here.
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None


def as_kept(value: Any) -> Any:
    """`value` as a layer keeps it: a sequence or array as a tuple, which nobody changes later, and all else as it is."""
    items = as_items(value)
    return value if items is None else items


def as_pair(value: IntOrPair, name: str, minimum: int) -> Pair:
    """`value` as (height, width): an int stands for both. ArgumentError if it is not one or two ints >= `minimum`."""
    if type(value) is int and value >= minimum:  # the usual case, at once
        return value, value
    items = as_items(value)
    pair = (value, value) if items is None else items
    if len(pair) != 2 or any(not is_int(item) or item < minimum for item in pair):
        raise ArgumentError(f"{name} must be an int >= {minimum} or a (height, width) pair of them, got {value!r}")
    return int(pair[0]), int(pair[1])


def as_number(value: float, name: str, below: float = float("inf")) -> float:
    """`value` as a float; ArgumentError, which calls it `name`, unless 0 <= value < `below`."""
    if not is_finite(value) or not 0 <= value < below:
        limit = "a number >= 0" if below == float("inf") else f"a number from 0 to below {below:g}"
        raise ArgumentError(f"{name} must be {limit}, got {value!r}")
    return float(value)


def shape_text(shape: Sequence[object]) -> str:
    """A shape as messages print it: (32, 1, 28, 28), or (N, 6, H, W) where names stand for free sizes."""
    return f"({', '.join(str(size) for size in shape)}{',' if len(shape) == 1 else ''})"
