"""Sums over shards: one order, whatever the number of processes."""

import itertools

import numpy as np
import pytest

from gpucnn.backend import Device
from gpucnn.backend.group import Group, SingleProcess
from gpucnn.optim.shard_sum import ShardSum, shards_of
from tests.backend.thread_group import on_ranks

LENGTH = 13
BY_HAND = {
    1: "a",
    2: "a+b",
    3: "(a+b)+c",
    4: "(a+b)+(c+d)",
    5: "((a+b)+(c+d))+e",
    6: "((a+b)+(c+d))+(e+f)",
    7: "((a+b)+(c+d))+((e+f)+g)",
    8: "((a+b)+(c+d))+((e+f)+(g+h))",
    9: "(((a+b)+(c+d))+((e+f)+(g+h)))+i",
}


def values(shards: int) -> np.ndarray:
    """Of very different sizes, so that no two orders of adding give the same."""
    draws = np.random.default_rng(shards).standard_normal((shards, LENGTH))
    return (draws * 10.0 ** np.random.default_rng(7).integers(-3, 4, (shards, LENGTH))).astype(np.float32)


def summed(group: Group, given: np.ndarray, cuts: list[int], times: int = 1) -> np.ndarray:
    total = ShardSum(group, len(given), LENGTH, given.dtype, Device())
    for _ in range(times):
        for shard in total.own:
            total.place(shard)[...] = given[shard]
            for start, stop in itertools.pairwise([0, *cuts, LENGTH] if shard == total.own[-1] else [0, LENGTH]):
                total.add(shard, start, stop)
        found = np.array(total.total())
    return found


@pytest.mark.parametrize("shards", BY_HAND)
def test_the_order_is_the_trees_on_any_number_of_processes(shards: int) -> None:
    given = values(shards)
    expected = eval(BY_HAND[shards], dict(zip("abcdefghi", given, strict=False)))
    assert np.isfinite(expected).all()
    assert summed(SingleProcess(), given, []).tobytes() == expected.tobytes()
    for size in range(1, shards + 1):
        for found in on_ranks(size, lambda group: summed(group, given, [])):
            assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("cuts", [[6], [1, 12], [0, 0, 5], [3, 4, 5, 6]])
def test_slices_and_batches_one_after_the_other_change_nothing(cuts: list[int]) -> None:
    given = values(7)
    expected = summed(SingleProcess(), given, [])
    assert summed(SingleProcess(), given, cuts, times=2).tobytes() == expected.tobytes()
    for size in (2, 3, 5):
        for found in on_ranks(size, lambda group: summed(group, given, cuts, times=3)):
            assert found.tobytes() == expected.tobytes()


def test_each_shard_is_one_ranks() -> None:
    for shards in range(1, 12):
        for size in range(1, shards + 1):
            blocks = [shards_of(rank, size, shards) for rank in range(size)]
            assert [shard for block in blocks for shard in block] == list(range(shards))
            assert {len(block) for block in blocks} <= {shards // size, shards // size + 1}


def test_memory_is_that_of_the_trees_levels() -> None:
    total = ShardSum(SingleProcess(), 64, 5, np.dtype("f4"), Device())
    assert len(total._slots) == 7
