"""The default suite's sample of each grid: nothing that a list of parameters names is left out."""

import argparse
import itertools
from typing import Any

import pytest

from tests.backends import Backend
from tests.grid_sample import LEAST, Row, row_of, sampled, wants_whole_grids

BACKENDS, CASES, DTYPES = (
    ("plain", "numpy", "cupy"),
    tuple(f"case{number}" for number in range(100)),
    ("float32", "float64"),
)


def grid(test: str = "test_it") -> list[Row]:
    return [
        Row(
            f"tests/test_here.py::{test}[{backend}-{case}-{dtype}]",
            frozenset([backend, case, dtype]),
            backend,
        )
        for backend, case, dtype in itertools.product(BACKENDS, CASES, DTYPES)
    ]


def test_every_value_of_every_list_is_in_the_sample_and_each_backend_several_times() -> None:
    rows = [row for row in grid() if row.name in sampled(grid())]
    assert len(CASES) <= len(rows) <= 1.2 * len(CASES)
    assert frozenset().union(*(row.values for row in rows)) == {*BACKENDS, *CASES, *DTYPES}
    for backend in BACKENDS:
        assert sum(row.backend == backend for row in rows) >= LEAST


def test_rows_that_are_skipped_stand_for_nothing() -> None:
    rows = [row for row in grid() if row.name in sampled(grid(), absent=["cupy"])]
    assert sum(row.backend == "cupy" for row in rows) == LEAST
    assert frozenset().union(*(row.values for row in rows if row.backend != "cupy")) > {*CASES, *DTYPES}


def test_the_sample_is_the_same_in_any_order_and_of_each_test_by_itself() -> None:
    assert sampled(reversed(grid())) == sampled(grid())
    assert sampled([*grid("test_another"), *grid()]) == sampled(grid()) | sampled(grid("test_another"))
    smaller = [row for row in grid() if row.values & {*CASES[:50]}]
    assert len(sampled(smaller) - sampled(grid())) <= len(BACKENDS) * LEAST  # more cases leave most of it as it was


def test_one_list_is_no_grid() -> None:
    rows = [Row(f"tests/test_here.py::test_it[{number}]", frozenset([number])) for number in range(100)]
    assert sampled(rows) == {row.name for row in rows}
    assert sampled([Row("tests/test_here.py::test_that", frozenset())]) == {"tests/test_here.py::test_that"}


def test_of_rows_that_are_alike_some_are_enough() -> None:
    rows = [row._replace(wanted=6) for row in grid()]
    assert len(sampled(rows)) == 6 * len(BACKENDS)
    assert sampled([row._replace(wanted=0) for row in grid()]) == set()


@pytest.mark.sample(2)
def test_a_mark_says_how_many(request: pytest.FixtureRequest) -> None:
    assert row_of(request.node).wanted == 2


@pytest.mark.parametrize("letter", ["a", "b"])
@pytest.mark.parametrize(("number", "even"), [(1, False), (2, True), (3, False)])
def test_what_is_in_one_list_stays_together(
    letter: str, number: int, even: bool, request: pytest.FixtureRequest
) -> None:
    assert row_of(request.node) == Row(
        f"tests/test_grid_sample.py::{request.node.name}",
        frozenset([(("letter",), (id(letter),)), (("number", "even"), (id(number), id(even)))]),
    )


def test_a_backend_is_a_value(backend: Backend, request: pytest.FixtureRequest) -> None:
    row = row_of(request.node)
    assert row.backend == backend.name
    assert [names for names, _ in row.values] == [("backend",)]


@pytest.mark.parametrize(
    ("asked", "whole"),
    [
        ({}, False),
        ({"whole_grids": True}, True),
        ({"file_or_dir": ["tests/test_chapter.py"]}, True),
        ({"keyword": "conv2d"}, True),
        ({"markexpr": "jit"}, True),
        ({"backend": ["numpy"]}, True),
    ],
)
def test_what_is_asked_for_is_run_whole(asked: dict[str, Any], whole: bool, pytestconfig: pytest.Config) -> None:
    nothing = {"whole_grids": False, "file_or_dir": [], "keyword": "", "markexpr": "", "backend": None}
    assert set(nothing) <= set(vars(pytestconfig.option))
    assert wants_whole_grids(argparse.Namespace(**nothing | asked)) is whole
