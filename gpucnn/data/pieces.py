"""A batch that is cut into shards, of which a process may have some alone."""

from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import Array


class Pieces(NamedTuple):
    """The images, or labels, of a batch that is cut into shards."""

    sizes: tuple[int, ...]
    """How many images each shard has."""
    arrays: dict[int, Any]
    """By shard, an array (n, ...), or a `Gather` of images and labels: those that this process has; none of a shard without images."""

    def __len__(self) -> int:
        return sum(self.sizes)

    def first(self, shard: int) -> int:
        """The place in the batch of the shard's first image."""
        return sum(self.sizes[:shard])


def shard_sizes(images: int, shards: int) -> tuple[int, ...]:
    """How many images each shard of a batch has: the first ones one more where they do not share evenly, as of `np.array_split`."""
    return tuple(images // shards + (shard < images % shards) for shard in range(shards))


def cut(array: Array, shards: int, own: range) -> Pieces:
    """What the shards in `own` have of an array (N, ...)."""
    sizes = shard_sizes(len(array), shards)
    starts = np.cumsum([0, *sizes])
    return Pieces(sizes, {shard: array[starts[shard] : starts[shard + 1]] for shard in own if sizes[shard]})
