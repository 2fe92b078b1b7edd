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
from gpucnn.text import value_text

WORDS_PER_BLOCK = 8
"""32-bit words that Philox makes at once."""


def generator(seed: int, purpose: str, *counters: int) -> "np.random.Generator":
    """A generator whose draws are a function of its arguments alone.

    `seed` is an int in [0, 2^64), `purpose` any name, and up to three `counters` are ints in [0, 2^64). Streams that
    differ in any argument do not overlap. Raises ArgumentError for other values.
    """
    return np.random.Generator(_philox(seed, purpose, counters))


def random_words(seed: int, purpose: str, *counters: int, count: int) -> np.ndarray:
    """`count` independent uint32 words, of the stream that `generator` with the same arguments draws from."""
    return stream_words(random_stream(seed, purpose, *counters), count)


def random_stream(seed: int, purpose: str, *counters: int, skip: int = 0) -> np.ndarray:
    """Where the stream of `random_words` starts, for code that draws it elsewhere: Philox's key and counter, uint64 (7,).

    The last number says how many words of the first block are passed over: of all words the first `skip` are left out.
    """
    key, counter = _key_and_counter(seed, purpose, counters)
    blocks, words = divmod(skip, WORDS_PER_BLOCK)
    counter[0] = blocks
    return np.array([*key, *counter, words], np.uint64)


def stream_words(stream: np.ndarray, count: int) -> np.ndarray:
    """The first `count` uint32 words of a stream that starts as `random_stream` says."""
    skip = int(stream[6])
    pairs = np.random.Philox(key=stream[:2], counter=stream[2:6]).random_raw((skip + count + 1) // 2)
    return pairs.astype("<u8", copy=False).view("<u4")[skip : skip + count]


def uniforms(seed: int, purpose: str, epoch: int, indices: np.ndarray, count: int) -> np.ndarray:
    """`count` draws in [0, 1) for each sample of a batch: float64 (B, count).

    Row b is what `generator(seed, purpose, epoch, indices[b]).random(count)` gives, to the bit, for a whole batch at
    once: making a generator takes longer than some draws from it. `indices` are integers (B,) in [0, 2^64). Raises
    ArgumentError for other values.
    """
    key, counter = _key_and_counter(seed, purpose, (epoch,))
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or (indices.size and indices.min() < 0):
        raise ArgumentError(f"indices for {purpose!r} must be integers >= 0 of one axis, got {value_text(indices)}")
    blocks = -(-count // _WORDS)
    counters = np.zeros((_WORDS, len(indices), blocks), np.uint64)
    counters[0] = np.arange(1, blocks + 1)  # NumPy's Philox counts before it draws
    counters[1] = counter[1]
    counters[2] = indices[:, None]
    words = _philox_rounds(key, counters.reshape(_WORDS, -1)).reshape(counters.shape)
    draws = words.transpose(1, 2, 0).reshape(len(indices), blocks * _WORDS)[:, :count]
    return (draws >> np.uint64(11)) * 2.0**-53  # NumPy's way from a word to a float


def _philox(seed: int, purpose: str, counters: tuple[int, ...]) -> "np.random.Philox":
    key, counter = _key_and_counter(seed, purpose, counters)
    return np.random.Philox(key=key, counter=counter)


def _key_and_counter(seed: int, purpose: str, counters: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(purpose, str):
        raise ArgumentError(f"the purpose of a draw must be a text, got {value_text(purpose)}")
    for name, value in (("seed", seed), *((f"counter of {purpose!r}", counter) for counter in counters)):
        if not is_int(value) or not 0 <= value < 1 << 64:
            raise ArgumentError(f"{name} must be an int from 0 to 2^64 - 1, got {value_text(value)}")
    if len(counters) > 3:
        raise ArgumentError(f"at most 3 counters make a stream, got {len(counters)} for {purpose!r}")
    key = np.array([seed, purpose_word(purpose)], dtype=np.uint64)
    # Philox counts its blocks in the first counter word, so streams with other counters never meet.
    return key, np.array([0, *counters, *[0] * (3 - len(counters))], dtype=np.uint64)


_WORDS = 4
_ROUNDS = 10
_MULTIPLIERS = np.array([[0xD2E7470EE14C6C93], [0xCA5A826395121157]], np.uint64)
_KEY_STEPS = np.array([[0x9E3779B97F4A7C15], [0xBB67AE8584CAA73B]], np.uint64)
_HALF = np.uint64(32)
_LOW_HALF = np.uint64(0xFFFFFFFF)


def _philox_rounds(key: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """Philox of many counters, uint64 (4, n), under one key (2,): uint64 (4, n)."""
    even, odd, key = counters[::2], counters[1::2], key[:, None]
    for _ in range(_ROUNDS):
        high, low = _products(_MULTIPLIERS, even)
        even, odd = high[::-1] ^ odd ^ key, low[::-1]
        key = key + _KEY_STEPS
    return np.stack([even[0], odd[0], even[1], odd[1]])


def _products(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower 64 of the 128 bits of a * b, from products of 32-bit halves, as NumPy has no others."""
    a_high, a_low, b_high, b_low = a >> _HALF, a & _LOW_HALF, b >> _HALF, b & _LOW_HALF
    middle = a_high * b_low + (a_low * b_low >> _HALF)
    other_middle = a_low * b_high + (middle & _LOW_HALF)
    return a_high * b_high + (middle >> _HALF) + (other_middle >> _HALF), a * b


@functools.lru_cache(maxsize=4096)
def purpose_word(purpose: str) -> int:
    """The half of Philox's key that stands for a purpose."""
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
