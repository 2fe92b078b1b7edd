"""Splitting a data set in two: images in files by their names, others by their places."""

import hashlib
import math
import unicodedata

import numpy as np

from gpucnn.backend import to_host, uniforms
from gpucnn.checks import as_number
from gpucnn.data.dataset import Dataset
from gpucnn.data.image_folder import names_of
from gpucnn.data.item_dataset import Items, as_dataset
from gpucnn.data.subset import Subset, stratified_choice
from gpucnn.errors import ArgumentError


def split(dataset: Dataset | Items, share: float, seed: int = 0) -> tuple[Subset, Subset]:
    """Two parts of `dataset`, the first with this share of each class, e.g. 0.8, and the rest.

    Which samples go where is a function of `seed`; both parts keep their order. An image in a file goes where a draw for its
    class and its name says, so that it stays there when others come and go; each class then has its share to within a third of
    the smaller part's, and an image at least in either part if it has two. Raises ArgumentError unless 0 < share < 1, or if a
    part would be empty.
    """
    dataset = as_dataset("split", dataset)
    share = as_number(share, "share", below=1)
    names = names_of(dataset)
    if names is None:
        return split_by_place(dataset, share, seed)
    labels = to_host(dataset.labels)
    is_first = np.ones(len(dataset), bool)
    draws = _draws(dataset, names, seed)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(draws[members], kind="stable")]
        is_first[members[: _rest(draws[members], share)]] = False
    return _parts(dataset, is_first, share)


def split_by_place(dataset: Dataset, share: float, seed: int = 0) -> tuple[Subset, Subset]:
    """As `split`, with exact shares, by the samples' places in the data set: one that is added moves others from part to part."""
    count = round(len(dataset) * as_number(share, "share", below=1))
    if not 0 < count < len(dataset):
        raise ArgumentError(_empty_part(dataset, share))
    return _parts(dataset, stratified_choice(to_host(dataset.labels), count, seed, "split"), share)


def _draws(dataset: Dataset, names: "tuple[str, ...]", seed: int) -> np.ndarray:
    """A draw in [0, 1) for each name, float64 (N,), that depends on nothing else but the seed, and how deep a part this is."""
    depth = 0
    while isinstance(dataset, Subset):  # else a part of a part would be cut along the first cut
        dataset, depth = dataset.parent, depth + 1
    # File systems spell umlauts in two ways, and a folder may be copied from one to another.
    as_bytes = (unicodedata.normalize("NFC", name).encode("utf-8", "surrogatepass") for name in names)
    words = [int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") for name in as_bytes]
    return uniforms(seed, "split by name", depth, np.array(words, np.uint64), 1)[:, 0]


def _rest(draws: np.ndarray, share: float) -> int:
    """How many images of a class, with these draws, go into the second part."""
    count, rest = len(draws), 1 - share
    slack = min(share, rest) / 3
    least, most = math.ceil((rest - slack) * count - 1e-9), math.floor((rest + slack) * count + 1e-9)
    drawn = int(np.count_nonzero(draws < rest))
    return min(max(drawn, least), max(most, 1), count - 1)


def _parts(dataset: Dataset, is_first: np.ndarray, share: float) -> tuple[Subset, Subset]:
    if is_first.all() or not is_first.any():
        raise ArgumentError(_empty_part(dataset, share))
    return Subset(dataset, np.flatnonzero(is_first)), Subset(dataset, np.flatnonzero(~is_first))


def _empty_part(dataset: Dataset, share: float) -> str:
    return f"split: a share of {share:g} of {len(dataset)} images leaves one part empty; choose another share or add images"
