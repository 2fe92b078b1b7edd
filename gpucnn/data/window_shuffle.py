"""WindowShuffle: an order of samples for media where it is slow to jump from place to place."""

from dataclasses import dataclass

import numpy as np

from gpucnn.backend import generator
from gpucnn.checks import as_count
from gpucnn.data.dataset import Dataset
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.subset import Subset
from gpucnn.errors import ArgumentError
from gpucnn.text import call_text, quoted


@dataclass(frozen=True, repr=False)
class WindowShuffle:
    """An order in which no more than so many `files`, the tars or tables that images are in, are read from at a time.

    The files are drawn in a random order and taken so many at a time, and all images of these are shuffled: a permutation, and a
    function of (seed, epoch). It is as good as a whole shuffle if each file has images of all classes, as those that
    `gpucnn data pack` writes. ArgumentError unless `files` is an int >= 1.
    """

    files: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", as_count(self.files, "WindowShuffle: files"))

    def __repr__(self) -> str:
        return call_text(self, files=self.files)

    def order(self, file_of: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """The places of samples in the order of an epoch, int64 (N,), of which each is in the file that `file_of` (N,) says."""
        by_file = np.argsort(file_of, kind="stable")
        numbers, starts = np.unique(file_of[by_file], return_index=True)
        members = np.split(by_file, starts[1:])
        # Another name of the draw would draw another order.
        drawn = generator(seed, "shuffle shards", epoch).permutation(len(numbers))
        found = [by_file[:0]]
        for window, start in enumerate(range(0, len(drawn), self.files)):
            together = np.concatenate([members[number] for number in drawn[start : start + self.files]])
            found.append(together[generator(seed, "shuffle window", epoch, window).permutation(len(together))])
        return np.concatenate(found)


def file_of_each(dataset: Dataset) -> np.ndarray:
    """The number of the file that each sample is in: int64 (N,). ArgumentError for images that have no files, or files of their own."""
    if isinstance(dataset, Subset):
        of_parent: np.ndarray = file_of_each(dataset.parent)[dataset.indices]
        return of_parent
    if not isinstance(dataset, ImageFolder):
        raise ArgumentError(
            f"shuffle is by windows of tars, but the images of this {type(dataset).__name__} are in none; leave it out"
        )
    files = [dataset.file_of(place) for place in range(len(dataset))]
    if files == list(dataset.paths):
        raise ArgumentError(
            f"shuffle is by windows of tars, but each image in {dataset.folder} has a file of its own; leave it out, or write them "
            f"into tars: gpucnn data pack {quoted(dataset.folder)} --to DIR"
        )
    numbers = {file: number for number, file in enumerate(sorted(set(files)))}
    return np.array([numbers[file] for file in files], np.int64)
