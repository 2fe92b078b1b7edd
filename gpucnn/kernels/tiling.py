"""A part of a batch in tiles, for what NumPy does in several calls: all of them find a tile in the cache."""

from collections.abc import Iterator

PASS_BYTES = 2 << 20
"""What NumPy's passes over an array take at a time: less stays in the cache, but makes calls so short that threads spend
their time on waiting for Python's lock."""

PASS_PARTS = 4
"""Parts of a batch that threads have NumPy's passes over, for the same reason."""


def pieces(length: int, piece: int) -> Iterator[slice]:
    """Cut `length` into slices of `piece` each, of which the last may be shorter."""
    for start in range(0, length, piece):
        yield slice(start, min(start + piece, length))


def passes(part: slice, bytes_per_item: int) -> Iterator[slice]:
    """Cut a part of a batch into slices of at most `PASS_BYTES`, or of one item."""
    for piece in pieces(part.stop - part.start, max(1, PASS_BYTES // max(1, bytes_per_item))):
        yield slice(part.start + piece.start, part.start + piece.stop)
