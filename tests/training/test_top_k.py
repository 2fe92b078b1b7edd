"""Top-k accuracy, against a sorted list."""

import numpy as np
import pytest

from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.training import in_top_k
from tests.backends import Backend, host


def test_as_a_sorted_list_has_it(backend: Backend, rng: np.random.Generator) -> None:
    logits = rng.integers(0, 4, (50, 7)).astype(np.float32)  # with many ties
    labels = rng.integers(0, 7, 50)
    for k in (1, 2, 5, 7, 9):
        found = in_top_k(backend.array(logits), backend.array(labels), k)
        expected = [
            label in sorted(range(7), key=lambda place, row=row: (-row[place], place))[:k]
            for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
        ]
        np.testing.assert_array_equal(host(found), expected)
    np.testing.assert_array_equal(
        host(in_top_k(backend.array(logits), backend.array(labels), 1)), logits.argmax(axis=1) == labels
    )


def test_a_nan_has_no_order() -> None:
    logits = np.array([[1, np.nan, 3], [np.inf, -np.inf, 0], [np.nan] * 3])
    np.testing.assert_array_equal(in_top_k(logits, np.array([2, 1, 0]), 3), [False, True, False])


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="k must be an int >= 1, got 0"):
        in_top_k(np.zeros((2, 3)), np.zeros(2, int), 0)
    with pytest.raises(
        ShapeError, match=r"in_top_k: expected logits \(N, classes\) and labels \(N,\), got \(2, 3\) and \(3,\)"
    ):
        in_top_k(np.zeros((2, 3)), np.zeros(3, int), 1)
