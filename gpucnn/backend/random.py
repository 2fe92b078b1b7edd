"""Random numbers as pure functions of (seed, purpose, counters).

Every draw in gpucnn comes from here: initial weights, shuffling, augmentation, dropout. The purpose is a name, the
counters are numbers such as epoch and sample. Nothing reads or changes a global random state, so the same seed gives
the same draws on every device, in every thread, and after a resumed run.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox 4x64, ten rounds).
"""

import functools
import hashlib

import numpy as np

from gpucnn.checks import is_int
from gpucnn.errors import ArgumentError


def generator(seed: int, purpose: str, *counters: int) -> "np.random.Generator":
    """A generator whose draws are a function of its arguments alone.

    `seed` is an int in [0, 2^64), `purpose` any name, and up to three `counters` are ints in [0, 2^64). Streams that
    differ in any argument do not overlap. Raises ArgumentError for other values.
    """
    return np.random.Generator(_philox(seed, purpose, counters))


def random_words(seed: int, purpose: str, *counters: int, count: int) -> np.ndarray:
    """`count` independent uint32 words, of the stream that `generator` with the same arguments draws from."""
    pairs = _philox(seed, purpose, counters).random_raw((count + 1) // 2)
    return pairs.astype("<u8", copy=False).view("<u4")[:count]


def random_stream(seed: int, purpose: str, *counters: int) -> np.ndarray:
    """Where the stream of `random_words` starts, for code that draws it elsewhere: uint64 (6,), Philox's key and counter."""
    return np.concatenate(_key_and_counter(seed, purpose, counters))


def _philox(seed: int, purpose: str, counters: tuple[int, ...]) -> "np.random.Philox":
    key, counter = _key_and_counter(seed, purpose, counters)
    return np.random.Philox(key=key, counter=counter)


def _key_and_counter(seed: int, purpose: str, counters: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    for name, value in (("seed", seed), *((f"counter of {purpose!r}", counter) for counter in counters)):
        if not is_int(value) or not 0 <= value < 1 << 64:
            raise ArgumentError(f"{name} must be an int from 0 to 2^64 - 1, got {value!r}")
    if len(counters) > 3:
        raise ArgumentError(f"at most 3 counters make a stream, got {len(counters)} for {purpose!r}")
    key = np.array([seed, _purpose_word(purpose)], dtype=np.uint64)
    # Philox counts its blocks in the first counter word, so streams with other counters never meet.
    return key, np.array([0, *counters, *[0] * (3 - len(counters))], dtype=np.uint64)


@functools.lru_cache(maxsize=4096)
def _purpose_word(purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
