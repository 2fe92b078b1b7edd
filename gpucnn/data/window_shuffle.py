"""WindowShuffle: an order of samples for media where it is slow to jump from place to place."""

from dataclasses import dataclass

import numpy as np

from gpucnn.backend import generator
from gpucnn.checks import as_count
from gpucnn.data.dataset import Dataset
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.subset import Subset
from gpucnn.errors import ArgumentError
from gpucnn.text import call_text


@dataclass(frozen=True)
class WindowShuffle:
    """An order in which no more than so many `packs`, the tars that images are in, are read from at a time.

    The packs are drawn in a random order and taken so many at a time, and all images of these are shuffled: a permutation, and a
    function of (seed, epoch). It is as good as a whole shuffle if a pack has images of all classes, as those that
    `gpucnn data pack` writes have. ArgumentError unless `packs` is an int >= 1.
    """

    packs: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "packs", as_count(self.packs, "WindowShuffle: packs"))

    def __repr__(self) -> str:
        return call_text(self, packs=self.packs)

    def order(self, pack_of: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """The places of samples in the order of an epoch, int64 (N,), of which each is in the pack that `pack_of` (N,) says."""
        by_pack = np.argsort(pack_of, kind="stable")
        numbers, starts = np.unique(pack_of[by_pack], return_index=True)
        drawn = generator(seed, "shuffle packs", epoch).permutation(len(numbers))
        members = [*np.split(by_pack, starts[1:])] if len(numbers) else []
        found = []
        for window, start in enumerate(range(0, len(drawn), self.packs)):
            together = np.concatenate([members[pack] for pack in drawn[start : start + self.packs]])
            found.append(together[generator(seed, "shuffle window", epoch, window).permutation(len(together))])
        return np.concatenate(found) if found else by_pack


def pack_of_each(dataset: Dataset) -> np.ndarray:
    """The number of the pack that each sample is in: int64 (N,). ArgumentError for a data set that is not in packs."""
    if isinstance(dataset, Subset):
        return pack_of_each(dataset.parent)[dataset.indices]
    found = dataset.packs if isinstance(dataset, ImageFolder) else None
    if found is None:
        raise ArgumentError(
            f"shuffle is by windows of packs, but the images of {dataset!r} are in no tars; leave it out, or pack them with gpucnn "
            f"data pack"
        )
    return found
