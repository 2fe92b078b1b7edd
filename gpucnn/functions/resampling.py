"""An axis of another size: which of its elements each new one takes, and what they count there.

Every way to resize images is such a table for each of their axes. Its gradient is the same table read the other way.
Sources: Keys, "Cubic convolution interpolation for digital image processing", 1981; PyTorch's `upsample` functions, whose
positions these are.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.elementwise.masked import masked

CUBIC = -0.75
"""The slope of the cubic kernel at distance 1."""

SMOOTH_CUBIC = -0.5
"""That of the wider one, which keeps stripes from appearing where images shrink; as in Pillow."""


class Taps(NamedTuple):
    """For every element of a new axis the elements of the old one that it sums up; host arrays (taps, new size)."""

    source: np.ndarray
    """Which ones."""
    weight: np.ndarray
    """What they count."""
    used: np.ndarray
    """Whether there is one at all: some elements take fewer than others."""

    @classmethod
    def of(cls, source: np.ndarray, weight: np.ndarray) -> "Taps":
        """Taps that are all used."""
        return cls(source, weight, np.ones(source.shape, bool))

    def transposed(self, old: int) -> "Taps":
        """For each of the `old` elements the new ones that took it: tap by tap, and in their order."""
        used = self.used.ravel()
        source, weight = self.source.ravel()[used], self.weight.ravel()[used]
        new = np.broadcast_to(np.arange(self.source.shape[1]), self.source.shape).ravel()[used]
        order = np.argsort(source, kind="stable")
        source, weight, new = source[order], weight[order], new[order]
        counts = np.bincount(source, minlength=old)
        place = np.arange(len(source)) - np.repeat(counts.cumsum() - counts, counts)
        shape = (max(int(counts.max()), 1), old)
        turned = Taps(np.zeros(shape, np.int64), np.zeros(shape), np.arange(shape[0])[:, None] < counts)
        turned.source[place, source], turned.weight[place, source] = new, weight
        return turned

    def gather(self, x: Array, axis: int) -> Array:
        """x with its `axis` summed up so."""
        xp, total = xp_of(x), None
        for source, weight, used in zip(self.source, self.weight, self.used, strict=True):
            term = x.take(xp.asarray(source), axis=axis)
            if not used.all():
                term = masked(term, _along(used, axis, x))
            if (weight[used] != 1).any():
                term = term * _along(weight.astype(x.dtype), axis, x)
            total = term if total is None else total + term
        return total


def nearest(old: int, new: int, ratio: float, dtype: np.dtype, exact: bool) -> Taps:
    """One element each: that at floor(i * ratio), or, if `exact`, that in which the new one's centre lies, (i + 1/2) * ratio.

    Positions are computed in `dtype`, so that the element is PyTorch's also where they are an edge.
    """
    positions = (np.arange(new).astype(dtype) + dtype.type(0.5 if exact else 0)) * dtype.type(ratio)
    source = np.minimum(np.floor(positions.astype(np.float32)).astype(np.int64), old - 1)
    return Taps.of(source[None], np.ones((1, new)))


def area(old: int, new: int) -> Taps:
    """The mean of all elements from floor(i * old / new) to below ceil((i + 1) * old / new)."""
    starts = np.arange(new) * old // new
    ends = -(-(np.arange(new) + 1) * old // new)
    return _windows(starts, ends, lambda places: np.ones(places.shape), old)


def linear(old: int, new: int, ratio: float, align_corners: bool) -> Taps:
    """The two elements around each position; the outermost beyond the ends."""
    if align_corners:
        positions = np.arange(new) * _corner_ratio(old, new)
    else:
        positions = np.maximum((np.arange(new) + 0.5) * ratio - 0.5, 0)
    lower = np.minimum(positions.astype(np.int64), old - 1)
    share = np.minimum(positions - lower, 1)
    return Taps.of(np.stack([lower, np.minimum(lower + 1, old - 1)]), np.stack([1 - share, share]))


def cubic(old: int, new: int, ratio: float, align_corners: bool) -> Taps:
    """The four elements around each position, weighted by a cubic kernel; beyond the ends stand the outermost."""
    positions = np.arange(new) * _corner_ratio(old, new) if align_corners else (np.arange(new) + 0.5) * ratio - 0.5
    lower = np.minimum(np.floor(positions).astype(np.int64), old - 1)
    share = np.minimum(positions - lower, 1)
    places = np.arange(-1, 3)[:, None]
    return Taps.of(np.clip(lower + places, 0, old - 1), _cubic_kernel(share - places, CUBIC))


def antialiased(old: int, new: int, ratio: float, align_corners: bool, is_cubic: bool) -> Taps:
    """Linear or cubic, with a kernel as wide as a new element is on the old axis, so that all old ones count."""
    step = _corner_ratio(old, new) if align_corners else ratio
    stretch = max(step, 1.0)
    reach = (2 if is_cubic else 1) * stretch
    centres = step * (np.arange(new) + 0.5)
    starts = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + reach + 0.5).astype(np.int64), old)

    def kernel(places: np.ndarray) -> np.ndarray:
        distances = (places + 0.5 - centres) / stretch
        if is_cubic:
            return _cubic_kernel(distances, SMOOTH_CUBIC)
        tent: np.ndarray = np.maximum(1 - np.abs(distances), 0)
        return tent

    return _windows(starts, ends, kernel, old)


def _windows(starts: np.ndarray, ends: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray], old: int) -> Taps:
    """Elements from `starts` to below `ends`, weighted by `kernel` of their places, so that the weights sum to 1."""
    places = starts + np.arange(max(int((ends - starts).max()), 1))[:, None]
    weight = np.where(places < ends, kernel(places), 0)
    total = weight.sum(axis=0)
    return Taps(np.minimum(places, old - 1), weight / np.where(total == 0, 1, total), weight != 0)


def _corner_ratio(old: int, new: int) -> float:
    """The distance of new elements on the old axis if the first and the last are the old ones."""
    return (old - 1) / (new - 1) if new > 1 else 0.0


def _cubic_kernel(distance: np.ndarray, slope: float) -> np.ndarray:
    d = np.abs(distance)
    near = ((slope + 2) * d - (slope + 3)) * d * d + 1
    far = slope * (((d - 5) * d + 8) * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _along(values: np.ndarray, axis: int, like: Array) -> Array:
    return xp_of(like).asarray(values).reshape(-1, *[1] * (like.ndim - 1 - axis))
