"""Draws are functions of (seed, purpose, counters), and of nothing else."""

import numpy as np
import pytest

from gpucnn.backend import generator, random_words
from gpucnn.errors import ArgumentError


def test_draws_repeat_and_leave_numpy_s_global_state_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = generator(7, "shuffle", 1, 2).permutation(50)
    generator(8, "noise").standard_normal(10)
    np.testing.assert_array_equal(generator(7, "shuffle", 1, 2).permutation(50), first)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_every_argument_matters() -> None:
    keys = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", 0, 1), (0, "a", 0, 0, 1), (1 << 63, "a")]
    draws = {generator(*key).bytes(16) for key in keys}
    assert len(draws) == len(keys)


def test_trailing_zero_counters_are_the_default() -> None:
    assert generator(3, "a", 5).bytes(8) == generator(3, "a", 5, 0, 0).bytes(8)


def test_streams_do_not_overlap() -> None:
    words = [random_words(0, "a", epoch, count=4000) for epoch in range(8)]
    assert len(np.unique(np.concatenate(words))) > 8 * 4000 - 10  # a birthday clash or two is chance, overlap is not


def philox4x64(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds of Philox 4x64, after the paper, on Python integers."""
    mask = (1 << 64) - 1
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * counter[0], 1 << 64)
        high1, low1 = divmod(0xCA5A826395121157 * counter[2], 1 << 64)
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
    return counter


def test_words_are_philox_by_the_paper() -> None:
    import hashlib

    purpose = int.from_bytes(hashlib.blake2b(b"dropout fc1", digest_size=8).digest(), "little")
    expected = []
    for block in (1, 2, 3):
        for word in philox4x64([block, 9, 8, 7], [12345, purpose]):
            expected += [word & 0xFFFFFFFF, word >> 32]
    words = random_words(12345, "dropout fc1", 9, 8, 7, count=23)
    assert words.dtype == np.uint32
    assert words.tolist() == expected[:23]


def test_fewer_words_are_a_prefix_of_more() -> None:
    np.testing.assert_array_equal(random_words(1, "a", count=5), random_words(1, "a", count=100)[:5])
    assert random_words(1, "a", count=0).shape == (0,)


@pytest.mark.parametrize("seed", [-1, 1 << 64, 1.0, "0", None, True])
def test_a_seed_that_is_none_is_refused(seed: object) -> None:
    with pytest.raises(ArgumentError, match=r"seed must be an int from 0 to 2\^64 - 1, got"):
        generator(seed, "a")  # type: ignore[arg-type]


def test_counters_are_checked() -> None:
    with pytest.raises(ArgumentError, match="counter of 'shuffle' must be an int"):
        generator(0, "shuffle", -1)
    with pytest.raises(ArgumentError, match="at most 3 counters"):
        generator(0, "shuffle", 1, 2, 3, 4)
