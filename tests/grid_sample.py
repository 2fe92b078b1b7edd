"""Which rows of large grids of parameters `pytest` alone runs; `pytest --whole-grids` runs them all, and so does CI.

A grid is what a test gets from several lists of parameters: every case on every backend in every dtype. A test that has one
list alone keeps every row, but for `@pytest.mark.sample(4)`: its rows are dear and alike, so that 4 on each backend are enough.
With `sample(0)` a test that takes seconds runs with --whole-grids alone.
"""

import argparse
import zlib
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import pytest

LEAST = 4
"""So many rows of each test on each backend, if there are so many."""


NARROWER = ("file_or_dir", "keyword", "markexpr", "backend")
"""Where pytest has what was asked for: files or tests, -k, -m and --backend."""


def wants_whole_grids(option: argparse.Namespace) -> bool:
    """Whether every row is run: that was said, or something less than the whole suite was asked for."""
    return option.whole_grids or any(getattr(option, name) for name in NARROWER)


class Row(NamedTuple):
    """A test with its parameters."""

    name: str
    """What pytest calls it: tests/test_it.py::test_it[numpy-float32-3]."""
    values: frozenset[Hashable]
    """What it got from each list of parameters, with something that tells the lists apart."""
    backend: str = ""
    wanted: int | None = None
    """How many rows on each backend are enough, whatever their values are."""


def row_of(item: pytest.Item) -> Row:
    """Of a test of pytest's."""
    mark = item.get_closest_marker("sample")
    wanted = None if mark is None else int(*mark.args)
    if not hasattr(item, "callspec"):
        return Row(item.nodeid, frozenset(), wanted=wanted)
    rest = dict(item.callspec.params)
    values: set[Hashable] = set()
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0]
        names = tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else tuple(names)
        values.add((names, tuple(id(rest.pop(name)) for name in names)))
    values |= {((name,), (id(value),)) for name, value in rest.items()}  # of fixtures, and of conftest.py
    return Row(item.nodeid, frozenset(values), item.callspec.params.get("backend", ""), wanted)


def sampled(rows: Iterable[Row], absent: Iterable[str] = ()) -> set[str]:
    """Names of the rows to run, always the same: every value of every list is in one of them, and each backend in several.

    Rows of a backend that is absent here are skipped, so they stand for no value.
    """
    of_test: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (zlib.crc32(row.name.encode()), row.name)):
        of_test[row.name.partition("[")[0]].append(row)
    chosen: set[str] = set()
    for grid in of_test.values():
        seen: set[Hashable] = set()
        counts: dict[str, int] = defaultdict(int)
        for row in grid:
            values = frozenset() if row.backend in absent or row.wanted is not None else row.values - seen
            if values or counts[row.backend] < (LEAST if row.wanted is None else row.wanted):
                seen |= values
                counts[row.backend] += 1
                chosen.add(row.name)
    return chosen
