"""Tiles in one array: where each is, and nothing between them."""

import numpy as np
import pytest

from gpucnn.plot.mosaic import in_rows, mosaic, number_tiles


def test_tiles_lie_beside_and_below_one_another() -> None:
    tiles = [np.full((2, 3), value) for value in range(5)]
    found = mosaic(in_rows(tiles, 2))
    assert found.shape == (3 * 2 + 2, 2 * 3 + 1)
    for number in range(5):
        top, left = number // 2 * 3, number % 2 * 4
        assert (found[top : top + 2, left : left + 3] == number).all()
        found[top : top + 2, left : left + 3] = np.nan
    assert np.isnan(found).all()


def test_large_tiles_have_wider_gaps_and_few_no_empty_places() -> None:
    tiles = [np.ones((24, 24, 3)), np.zeros((24, 24, 3))]
    rows = in_rows(tiles, 8)
    assert [len(row) for row in rows] == [2]
    assert mosaic(rows).shape == (24, 50, 3)


def test_numbers_stand_in_the_corners_of_their_tiles() -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="figures need the extra plot")

    axes = figure.Figure().subplots()
    number_tiles(axes, (3, 24), [[5, 8], [9, None]])
    found = {text.get_text(): text.get_position() for text in axes.texts}
    assert found == {"5": (-0.5, -0.5), "8": (24 + 2 - 0.5, -0.5), "9": (-0.5, 3 + 2 - 0.5)}, "gaps are two pixels wide"
