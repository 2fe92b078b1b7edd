"""Arrays that lie side by side in memory, worked on as one."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, current, device_of

TILE = 1 << 16
"""Elements of a row on a CPU at most, so that three arrays of float32 fit its cache."""


def joined(*columns: Iterable[Array]) -> Iterator[tuple[Array, ...]]:
    """Columns of arrays, with fewer rows: what lies side by side in all columns is taken together, as flat arrays.

    A row's arrays are of one shape. What is done in place to every element of the result is done to the arrays given, on a
    GPU in one launch for all the parameters that an optimizer keeps in one flat buffer, on a CPU in one loop over tiles of
    it. An array without a neighbour stays as it is, unless it is flat. Which rows there are, and their order, depends on
    the order of the arrays and on how they lie in flat arrays, not on where in memory those are.
    """
    for _, arrays in _rows([list(column) for column in columns]):
        if isinstance(arrays[0], np.ndarray) and arrays[0].ndim == 1:
            for start in range(0, arrays[0].size, TILE):
                yield tuple(array[start : start + TILE] for array in arrays)
        else:
            yield arrays


def copied(arrays: Iterable[Array]) -> list[Array]:
    """A copy of each array. Copies lie side by side where the arrays do."""
    copies = list(arrays)
    for numbers, (whole,) in _rows([list(copies)]):
        with current(device_of(whole)):
            rest = whole.copy().reshape(-1)
            for number in numbers:
                size, shape = copies[number].size, copies[number].shape
                copies[number], rest = rest[:size].reshape(shape), rest[size:]
    return copies


class _Place(NamedTuple):
    """Where an array lies: in the flat array at the address `block`, from its element `start` to below `stop`."""

    block: int
    start: int
    stop: int


def _rows(columns: list[list[Array]]) -> Iterator[tuple[list[int], tuple[Array, ...]]]:
    """What lies side by side in all columns: the numbers of the rows given, and what they are together."""
    places = [_places(column) for column in columns]
    seen: dict[int, int] = {}
    groups: list[list[int]] = []

    def order(row: int) -> tuple[int, ...]:
        place = places[0][row]
        return (row,) if place is None else (seen.setdefault(place.block, row), place.start, place.stop)

    for row in sorted(range(len(columns[0])), key=order):
        if groups and all(_follows(column[groups[-1][-1]], column[row]) for column in places):
            groups[-1].append(row)
        else:
            groups.append([row])
    for rows in groups:
        first, last = rows[0], rows[-1]
        yield rows, tuple(
            column[first] if first == last else column[first].base[place[first].start : place[last].stop]
            for column, place in zip(columns, places, strict=True)
        )


def _follows(before: _Place | None, after: _Place | None) -> bool:
    return before is not None and after is not None and before[0] == after[0] and before[2] == after[1]


def _places(arrays: list[Array]) -> list[_Place | None]:
    """Where each array lies; None for what is not a stretch of a flat array of its dtype."""
    bases: dict[int, tuple[Array, int]] = {}  # by identity, and kept, so that no other array gets that identity
    places: list[_Place | None] = []
    for array in arrays:
        base, place = array.base, None
        if type(base) is type(array) and base.ndim == 1 and base.dtype == array.dtype and array.flags.c_contiguous:
            if id(base) not in bases:
                bases[id(base)] = base, _address(base)
            block = bases[id(base)][1]
            start = (_address(array) - block) // array.itemsize
            place = _Place(block, start, start + array.size)
        places.append(place)
    return places


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data.ptr
    return address
