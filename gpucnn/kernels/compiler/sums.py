"""Sums over a plane, in an order that is always the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size, Vector


IN_TURN = 4
"""Vectors that are added up side by side, as each addition waits for the one before."""


def add_up(b: Builder, size: int, count: int, terms: Callable[[Size, int], Sequence[Vector]]) -> list[Vector]:
    """The sums of the `count` vectors terms(i, width) over all elements i below `size`, each a vector of one."""
    step = IN_TURN * b.lanes
    turns, whole = size // step * step, size // b.lanes * b.lanes

    def add_turn(i: Size, totals: list[Vector]) -> list[Vector]:
        fresh = [term for turn in range(IN_TURN) for term in terms(i + turn * b.lanes, b.lanes)]
        return [total + term for total, term in zip(totals, fresh, strict=True)]

    def add(width: int) -> Callable[[Size, list[Vector]], list[Vector]]:
        return lambda i, totals: [total + term for total, term in zip(totals, terms(i, width), strict=True)]

    vectors = b.fold(0, turns, step, [b.splat(0.0)] * (IN_TURN * count), add_turn)
    totals = [
        (vectors[k] + vectors[k + count]) + (vectors[k + 2 * count] + vectors[k + 3 * count]) for k in range(count)
    ]
    totals = b.fold(turns, whole, b.lanes, totals, add(b.lanes))
    rest = b.fold(whole, size, 1, [b.splat(0.0, 1)] * count, add(1))
    return [b.sum(total) + one for total, one in zip(totals, rest, strict=True)]
