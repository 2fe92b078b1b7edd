"""Arrays that lie side by side in memory, worked on as one."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from gpucnn.backend.arrays import Array, xp_of
from gpucnn.backend.device import current, device_of

CPU_TILE, GPU_TILE = 1 << 16, 1 << 22
"""Elements of a row at most: few enough for a CPU's cache; and so that what is computed of them takes little of a GPU's memory."""


def joined(*columns: Iterable[Array]) -> Iterator[tuple[Array, ...]]:
    """Columns of arrays in other rows: what lies side by side in all columns is taken together, and cut into flat tiles.

    The arrays of a row given are of one shape. What is done in place to every element of the result is done to the arrays
    given: in one launch, or few, for all the parameters that an optimizer keeps in one flat buffer. An array with strides
    stays as it is. The order depends on that of the arrays and on how they lie in flat arrays, not on where those are.
    """
    for _, arrays in _rows([list(column) for column in columns]):
        if all(array.flags.c_contiguous for array in arrays):
            flats = [array.reshape(-1) for array in arrays]
            size = flats[0].size
            tile = CPU_TILE if isinstance(flats[0], np.ndarray) else GPU_TILE
            if not isinstance(flats[0], np.ndarray) and flats[0].dtype in (np.float32, np.float64):
                tile = max(size, 1)  # kernels of our own make no arrays on their way
            for start in range(0, size, tile):
                yield tuple(flat[start : start + tile] for flat in flats)
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


def side_by_side(arrays: Iterable[Array]) -> list[Array]:
    """A copy of each array: stretches of flat arrays, one for each dtype and device, in the order given."""
    given = list(arrays)
    groups: dict[tuple[Any, Any], list[int]] = {}
    for number, array in enumerate(given):
        groups.setdefault((device_of(array), array.dtype), []).append(number)
    for (device, dtype), numbers in groups.items():
        with current(device):
            rest = xp_of(given[numbers[0]]).empty(sum(given[number].size for number in numbers), dtype)
            for number in numbers:
                array, size = given[number], given[number].size
                given[number], rest = rest[:size].reshape(array.shape), rest[size:]
                given[number][...] = array
    return given


def is_stretch(array: Array) -> bool:
    """Whether an array is a stretch of a flat one, where others may lie beside it."""
    return _place(array)[2] >= 0


def _rows(columns: list[list[Array]]) -> Iterator[tuple[list[int], tuple[Array, ...]]]:
    """What lies side by side in all columns: the numbers of the rows given, and the arrays that they are together."""
    places = [[_place(array) for array in column] for column in columns]
    seen: dict[int, int] = {}
    order = [(seen.setdefault(whole, row), start, stop, row) for row, (whole, start, stop) in enumerate(places[0])]
    groups: list[list[int]] = []
    for *_, row in sorted(order):
        if groups and all(column[groups[-1][-1]][::2] == column[row][:2] for column in places):
            groups[-1].append(row)
        else:
            groups.append([row])
    for rows in groups:
        first, last = rows[0], rows[-1]
        arrays = (
            column[first] if first == last else column[first].base[place[first][1] : place[last][2]]
            for column, place in zip(columns, places, strict=True)
        )
        yield rows, tuple(arrays)


def _place(array: Array) -> tuple[int, int, int]:
    """Where `array` lies: the address of a flat array, from which of its elements, and to below which.

    What is not a stretch of a flat array of its dtype has a place without neighbours.
    """
    base, address = array.base, _address(array)
    if type(base) is not type(array) or base.ndim != 1 or base.dtype != array.dtype or not array.flags.c_contiguous:
        return address, -2, -1
    whole = _address(base)
    start = (address - whole) // array.itemsize
    return whole, start, start + array.size


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data.ptr
    return address
