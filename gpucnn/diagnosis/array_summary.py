"""What an array's numbers are like, in a few numbers."""

from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, to_host


class ArraySummary(NamedTuple):
    """Of an array of floats. Where not a single number is finite, `least`, `most` and `mean` are NaN."""

    size: int
    least: float
    most: float
    mean: float
    """With `least` and `most`: of the finite numbers."""
    nan: int
    infinite: int
    """How many numbers are NaN, and how many infinite."""

    @property
    def finite(self) -> bool:
        """Whether every number is."""
        return self.nan == self.infinite == 0

    def __str__(self) -> str:
        shares = [
            f"{_percent(count, self.size)} {name}"
            for count, name in ((self.nan, "NaN"), (self.infinite, "inf"))
            if count
        ]
        if self.nan + self.infinite < self.size:
            shares.insert(0, f"{self.least:.3g} to {self.most:.3g}, mean {self.mean:.3g}")
        return ", ".join(shares) or "empty"


def summarize(array: Array) -> ArraySummary:
    """The summary of an array of any shape, on any device, which is waited for."""
    values = to_host(array).astype(np.float64).reshape(-1)
    nan = int(np.isnan(values).sum())
    finite = values[np.isfinite(values)]
    infinite = values.size - finite.size - nan
    if not finite.size:
        return ArraySummary(values.size, np.nan, np.nan, np.nan, nan, infinite)
    with np.errstate(over="ignore"):
        mean = float(finite.mean())
    return ArraySummary(values.size, float(finite.min()), float(finite.max()), mean, nan, infinite)


def _percent(count: int, size: int) -> str:
    """A share as text, which is 100% for all and nothing else, and never 0%."""
    share = 100 * count / size
    return f"{share:.0f}%" if count == size else f"{min(max(share, 0.1), 99.9):.1f}%"
