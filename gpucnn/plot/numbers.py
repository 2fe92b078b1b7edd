"""Numbers that are drawn: how they are written, the largest of them, and those that are none, NaN and infinity."""

import numpy as np

from gpucnn.errors import ArgumentError

SHOWN = 2
"""Digits of a number beside a scale."""


def written(value: float, digits: int = SHOWN) -> str:
    """A number in so many digits, without an exponent as long as people read it so: 170, not 1.7e+02."""
    return f"{float(f'{value:.{digits}g}'):g}"


def percent(share: float) -> str:
    """A share as a whole percentage, or in words that it is no number."""
    return f"{100 * share:.0f} %" if np.isfinite(share) else "no number"


def largest(values: np.ndarray) -> float:
    """The largest absolute value of those that are finite, for a scale; 1 where that is 0, or there is none."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0


def not_finite_text(values: np.ndarray) -> str:
    """How many numbers are NaN or infinite, to add to a title; empty where none is."""
    count = int((~np.isfinite(values)).sum())
    return f"; {count:,} of {values.size:,} numbers are NaN or infinite" if count else ""


def check_finite(owner: str, what: str, values: np.ndarray, fix: str) -> None:
    """ArgumentError, which names `owner` and `what` they are, for numbers of which one is NaN or infinite."""
    count = int((~np.isfinite(values)).sum())
    if count:
        raise ArgumentError(f"{owner}: {count:,} of {values.size:,} numbers of {what} are NaN or infinite; {fix}")
