"""Draws are functions of (seed, purpose, counters), and of nothing else."""

import numpy as np
import pytest

from gpucnn.backend import generator, random_words, uniforms
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


LARGEST = (1 << 64) - 1


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (12345, 3), (LARGEST, LARGEST)])
def test_a_batch_is_drawn_as_its_samples_alone(seed: int, epoch: int, count: int) -> None:
    indices = np.array([5, 0, 5, 70_000, LARGEST, 1 << 32], np.uint64)
    draws = uniforms(seed, "shift", epoch, indices, count)
    assert draws.dtype == np.float64
    alone = [generator(seed, "shift", epoch, int(index)).random(count) for index in indices]
    np.testing.assert_array_equal(draws, np.array(alone).reshape(6, count), strict=True)


def test_uniforms_of_a_batch_are_philox_by_the_paper() -> None:
    import hashlib

    purpose = int.from_bytes(hashlib.blake2b(b"flip", digest_size=8).digest(), "little")
    words = [philox4x64([block, 2, 41, 0], [7, purpose]) for block in (1, 2)]
    expected = [word / 2**64 for word in words[0] + words[1]]
    np.testing.assert_allclose(uniforms(7, "flip", 2, np.array([41]), 8)[0], expected, rtol=0, atol=2.0**-53)


def test_uniforms_are_uniform() -> None:
    draws = uniforms(1, "a", 0, np.arange(20_000), 2)
    assert 0 <= draws.min() < 1e-3
    assert 1 - 1e-3 < draws.max() < 1
    assert np.abs(np.histogram(draws, 20, (0, 1))[0] - 2000).max() < 5 * np.sqrt(2000)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.03
    assert abs(np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]) < 0.03


def test_an_empty_batch_draws_nothing() -> None:
    assert uniforms(0, "a", 0, np.arange(0), 3).shape == (0, 3)


@pytest.mark.parametrize(
    "indices", [np.array([0, -1]), np.array([0.0]), np.array([[0]]), np.array(3), np.array([True])]
)
def test_indices_that_are_none_are_refused(indices: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match=r"indices for 'flip' must be integers >= 0 of one axis, got (an )?array"):
        uniforms(0, "flip", 0, indices, 1)
    with pytest.raises(ArgumentError, match="counter of 'flip' must be an int"):
        uniforms(0, "flip", -1, np.arange(2), 1)
    with pytest.raises(ArgumentError, match="seed must be an int"):
        uniforms(-1, "flip", 0, np.arange(2), 1)
