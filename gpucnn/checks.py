"""Checks of plain arguments, each with a message that says what was given and what was expected."""

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import TypeAlias

from gpucnn.errors import ArgumentError

Pair: TypeAlias = tuple[int, int]
IntOrPair: TypeAlias = int | Sequence[int]
Shape: TypeAlias = tuple[int, ...]

LONGEST_NAME = 60
"""Characters of an unknown name that are compared with known ones."""


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


def as_pair(value: IntOrPair, name: str, minimum: int) -> Pair:
    """`value` as (height, width): an int stands for both. ArgumentError if it is not one or two ints >= `minimum`."""
    if type(value) is int and value >= minimum:  # the usual case, at once
        return value, value
    pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(pair) != 2 or any(not is_int(item) or item < minimum for item in pair):
        raise ArgumentError(f"{name} must be an int >= {minimum} or a (height, width) pair of them, got {value!r}")
    return int(pair[0]), int(pair[1])


def as_number(value: float, name: str, below: float = float("inf")) -> float:
    """`value` as a float; ArgumentError, which calls it `name`, unless 0 <= value < `below`."""
    if not is_finite(value) or not 0 <= value < below:
        limit = "a number >= 0" if below == float("inf") else f"a number from 0 to below {below:g}"
        raise ArgumentError(f"{name} must be {limit}, got {value!r}")
    return float(value)


def labels_fix(shape: Sequence[int], count: int | None = None) -> str:
    """What makes labels of `shape` one class index an image, (N,), as messages say it; "" if that is not plain.

    `count`: how many images there are, if that is known.
    """
    if len(shape) != 2 or count not in (None, *shape):
        return ""
    rows, columns = shape
    if count in (None, rows) and columns == 1:
        return "they are a column: take labels[:, 0]"
    if rows == 1 and count == columns:
        return "they are a row: take labels[0]"
    return "they look one-hot: take labels.argmax(axis=1)" if count in (None, rows) else ""


def matching(name: str, names: Iterable[str]) -> str | None:
    """That of `names` which is `name` but for capitals, hyphens, underscores and spaces; None if there is none."""
    wanted = _bare(name)
    return next((known for known in names if known == name or _bare(known) == wanted), None)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """That of `names` which begins with `name`, or is most like it; None if none is like it."""
    by_bare = {_bare(known): known for known in names}
    wanted = _bare(name)
    begun = [bare for bare in by_bare if wanted and bare.startswith(wanted)]
    found = begun or difflib.get_close_matches(wanted, by_bare, 1)
    return by_bare[found[0]] if found else None


def _bare(name: str) -> str:
    return "".join(letter for letter in name[:LONGEST_NAME].lower() if letter not in "-_ ")


def shape_text(shape: Sequence[object]) -> str:
    """A shape as messages print it: (32, 1, 28, 28), or (N, 6, H, W) where names stand for free sizes."""
    return f"({', '.join(str(size) for size in shape)}{',' if len(shape) == 1 else ''})"
