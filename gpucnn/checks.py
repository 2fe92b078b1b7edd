"""Checks of plain arguments, each with a message that says what was given and what was expected."""

import math
import unicodedata
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TypeAlias

from gpucnn.errors import ArgumentError

Pair: TypeAlias = tuple[int, int]
IntOrPair: TypeAlias = int | Sequence[int]
Shape: TypeAlias = tuple[int, ...]

UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, surrogates, and separators of lines and paragraphs."""
REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They turn the order of all that follows them in a line. The marks that names in Arabic or Hebrew use are not among them."""


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


def shape_text(shape: Sequence[object]) -> str:
    """A shape as messages print it: (32, 1, 28, 28), or (N, 6, H, W) where names stand for free sizes."""
    return f"({', '.join(str(size) for size in shape)}{',' if len(shape) == 1 else ''})"


def is_printed(letter: str) -> bool:
    """Whether a character does no more than stand in its line, in any script: joiners and odd spaces do no more."""
    return letter.isprintable() or (unicodedata.category(letter) not in UNPRINTABLE and letter not in REORDERING)


def printed(text: str) -> str:
    r"""`text` with escapes such as \x1b in place of what would do something to a terminal, or cannot be written to it."""
    if text.isprintable():
        return text
    return "".join(letter if is_printed(letter) else letter.encode("unicode_escape").decode("ascii") for letter in text)


def names_text(names: Sequence[str], most: int = 10) -> str:
    """Names as messages print them: a, b, c and 997 more."""
    left = len(names) - most
    return ", ".join(map(printed, names)) if left <= 1 else f"{', '.join(map(printed, names[:most]))} and {left:,} more"
