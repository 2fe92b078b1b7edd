"""Arrays that lie side by side: what is taken together, what is not, and that all is reached once."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn.backend import Array, beside
from gpucnn.backend import joined as module
from gpucnn.backend.joined import copied, is_stretch, joined, side_by_side
from tests.backends import Backend, host

SHAPES = [(2, 3), (4,), (), (0, 2), (1, 5)]
SIZES = [6, 4, 1, 0, 5]


def parts(flat: Array) -> list[Array]:
    """Arrays of SHAPES, side by side in a flat array."""
    stops = np.cumsum(SIZES)
    return [flat[stop - size : stop].reshape(shape) for stop, size, shape in zip(stops, SIZES, SHAPES, strict=True)]


def flat_on(backend: Backend, start: float = 0.0, dtype: str = "float32") -> Array:
    return backend.array(np.arange(start, start + 16, dtype=dtype))


def shapes(*columns: list[Array]) -> list[tuple[int, ...]]:
    return [arrays[0].shape for arrays in joined(*columns)]


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]])
def test_neighbours_are_one_array_in_whatever_order_they_come(backend: Backend, numbers: list[int]) -> None:
    flat, other = flat_on(backend), flat_on(backend, 100)
    first, second = parts(flat), parts(other)
    ((one, two),) = joined([first[i] for i in numbers], [second[i] for i in numbers])
    np.testing.assert_array_equal(host(one), np.arange(16))
    np.testing.assert_array_equal(host(two), np.arange(100, 116))
    with beside(one):
        one += two
    np.testing.assert_array_equal(host(first[4]), [[111 + 11, 112 + 12, 113 + 13, 114 + 14, 115 + 15]])


def test_what_has_no_neighbour_is_a_row_of_its_own(backend: Backend) -> None:
    flat = flat_on(backend)
    first = parts(flat)
    assert shapes([first[0], first[2]]) == [(6,), (1,)], "a gap"
    assert shapes([first[0], first[0]]) == [(6,), (6,)], "one array twice"
    assert shapes([backend.array(np.ones((2, 2))), backend.array(np.ones((1, 3)))]) == [(4,), (3,)], "no base"
    matrix = backend.array(np.ones((4, 3), np.float32))
    assert shapes([matrix[:2], matrix[2:]]) == [(6,), (6,)], "parts of what is not flat"
    assert shapes([first[0].T, first[1]]) == [(3, 2), (4,)], "other strides"
    assert shapes([first[0], first[1]], [first[0].T.copy().T, first[1]]) == [(2, 3), (4,)], "strides in a column"
    doubles = flat_on(backend, dtype="float64")
    assert shapes([doubles.view("float32")[:4].reshape(2, 2), doubles[2:]]) == [(4,), (14,)], "another dtype"
    assert shapes([first[3]]) == [], "nothing"


def test_columns_are_joined_where_all_of_them_have_neighbours(backend: Backend) -> None:
    first, second = parts(flat_on(backend)), parts(flat_on(backend, 100))
    apart = [*second[:2], *[backend.array(host(array)) for array in second[2:4]], second[4]]
    found = [tuple(host(array).ravel().tolist() for array in row) for row in joined(first, apart)]
    assert found == [
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], [100.0 + i for i in range(10)]),
        ([10.0], [110.0]),
        ([11.0, 12.0, 13.0, 14.0, 15.0], [111.0 + i for i in range(5)]),
    ]


def test_the_order_is_that_of_the_first_of_each_flat_array(backend: Backend) -> None:
    """Not that of their addresses, which differ from run to run: sums over all would."""
    flats = [flat_on(backend, 100 * i) for i in range(8)]
    for numbers in ([0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0], [3, 0, 7, 1, 6, 2, 5, 4]):
        halves = [flats[i][start : start + 8].reshape(2, 4) for start in (8, 0) for i in numbers]
        assert [float(host(row)[0]) for (row,) in joined(halves)] == [100.0 * i for i in numbers]


def test_rows_are_cut_into_tiles(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CPU_TILE" if backend.on_cpu else "GPU_TILE", 7)
    assert shapes(parts(flat_on(backend, dtype="float16"))) == [(7,), (7,), (2,)]
    assert shapes(parts(flat_on(backend))) == ([(7,), (7,), (2,)] if backend.on_cpu else [(16,)])
    assert shapes([backend.array(np.ones((3, 5), np.float16))]) == [(7,), (7,), (1,)]
    rows = list(joined(parts(flat_on(backend)), parts(flat_on(backend, 5))))
    assert all(one.shape == two.shape for one, two in rows)
    np.testing.assert_array_equal(np.concatenate([host(two) for _, two in rows]), np.arange(5, 21))


@pytest.mark.parametrize("arrange", [lambda arrays: arrays, lambda arrays: arrays[::-1], lambda arrays: arrays[::2]])
def test_copies_lie_as_the_arrays_do(backend: Backend, arrange: Callable[[list[Array]], list[Array]]) -> None:
    arrays = arrange([*parts(flat_on(backend)), *parts(flat_on(backend, 100)), backend.array(np.ones((2, 2)))])
    arrays.append(backend.strided(np.arange(6.0).reshape(2, 3)))
    copies = copied(arrays)
    for copy, array in zip(copies, arrays, strict=True):
        assert (copy.shape, copy.dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(host(copy), host(array))
    assert shapes(arrays, copies) == shapes(arrays)
    before = [host(array).copy() for array in arrays]
    for copy in copies:
        with beside(copy):
            copy[...] = -1
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(host(array), old)


def test_what_is_put_side_by_side_is_one_array_a_dtype(backend: Backend) -> None:
    arrays = [backend.array(np.full(shape, i, dtype)) for i, shape in enumerate(SHAPES) for dtype in ("f4", "f8")]
    arrays.append(backend.strided(np.arange(6, dtype="f4").reshape(2, 3)))
    found = side_by_side(arrays)
    for array, copy in zip(arrays, found, strict=True):
        assert (copy.shape, copy.dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(host(copy), host(array))
    assert shapes(found) == [(22,), (16,)]
    assert [is_stretch(array) for array in found] == [True] * len(found)
    assert not any(is_stretch(array) for array in arrays)


def test_nothing_is_nothing() -> None:
    assert list(joined([])) == list(joined([], [])) == copied([]) == side_by_side([]) == []
