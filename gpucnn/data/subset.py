"""Parts of a data set, and its split into two."""

import numpy as np

from gpucnn.backend import Array, Device, current, random_words, to_device, to_host
from gpucnn.checks import as_number, labels_fix, shape_text
from gpucnn.data.dataset import Batch, Dataset
from gpucnn.errors import ArgumentError


class Subset:
    """The samples of `parent` at `indices`, integers (n,) or a mask, in that order. No image is copied.

    Raises IndexError for an index that the parent does not have, ArgumentError for indices of another shape.
    """

    def __init__(self, parent: Dataset, indices: np.ndarray) -> None:
        self.parent = parent
        self.indices: np.ndarray = np.arange(len(parent))[indices]
        if self.indices.ndim != 1:
            raise ArgumentError(f"Subset: expected indices (n,), got {shape_text(np.shape(indices))}")
        self._indices_there = to_device(self.indices, parent.device)
        with current(parent.device):
            self.labels: Array = parent.labels[self._indices_there]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, indices: int | slice | Array) -> Batch:
        on_host = isinstance(indices, int | slice | list | np.ndarray | np.generic)
        own: Array = self.indices if on_host else self._indices_there
        with current(self.device):
            return self.parent[own[indices]]

    @property
    def num_classes(self) -> int:
        """The parent's: a part may lack a class."""
        return self.parent.num_classes

    @property
    def device(self) -> Device:
        """The parent's."""
        return self.parent.device

    def to(self, device: str | Device) -> "Subset":
        """The same samples of the parent on `device`, which moves as a whole: two parts take less memory if split there."""
        return Subset(self.parent.to(device), self.indices)


def split(dataset: Dataset, share: float, seed: int = 0) -> tuple[Subset, Subset]:
    """Two parts of `dataset`, the first with this share of each class, e.g. 0.8, and the rest.

    Which samples go where is a function of `seed`; both parts keep their order. Raises ArgumentError unless
    0 < share < 1, or if a part would be empty.
    """
    count = round(len(dataset) * as_number(share, "share", below=1))
    if not 0 < count < len(dataset):
        raise ArgumentError(
            f"split: a share of {share:g} of {len(dataset)} images leaves one part empty; "
            f"choose another share or add images"
        )
    is_first = stratified_choice(to_host(dataset.labels), count, seed, "split")
    return Subset(dataset, np.flatnonzero(is_first)), Subset(dataset, np.flatnonzero(~is_first))


def stratified_choice(labels: np.ndarray, count: int, seed: int, purpose: str) -> np.ndarray:
    """A mask (N,) of `count` samples, of which each class has its share, to within one; a function of (seed, purpose).

    Raises ArgumentError, which begins with the purpose, for labels that are not (N,).
    """
    if labels.ndim != 1:
        fix = labels_fix(labels.shape)
        raise ArgumentError(
            f"{purpose}: expected labels (N,), got {shape_text(labels.shape)}{f'; {fix}' if fix else ''}"
        )
    shares = np.bincount(labels) * count / len(labels)
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares, kind="stable")[: count - counts.sum()]] += 1
    chosen = np.zeros(len(labels), bool)
    for label, number in enumerate(counts):
        members = np.flatnonzero(labels == label)
        # Sorted random words, as the order that a Generator draws may change with NumPy's version.
        order = np.argsort(random_words(seed, purpose, label, count=len(members)), kind="stable")
        chosen[members[order[:number]]] = True
    return chosen
