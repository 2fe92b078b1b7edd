"""Parts of a data set."""

from functools import cached_property

import numpy as np

from gpucnn.backend import Array, Device, current, random_words, to_device
from gpucnn.checks import labels_fix
from gpucnn.data.dataset import Batch, Dataset
from gpucnn.data.image_sheet import dataset_html
from gpucnn.data.item_dataset import Items, as_dataset
from gpucnn.errors import ArgumentError
from gpucnn.html_fragments import Html, text_instead
from gpucnn.text import shape_text, value_text


class Subset:
    """The samples of `parent` at `indices`, integers (n,) or a mask, in that order. No image is copied.

    Raises IndexError for an index that the parent does not have, ArgumentError for indices of another shape
    or dtype, and for anything but a data set.
    """

    def __init__(self, parent: Dataset | Items, indices: np.ndarray) -> None:
        self.parent = parent = as_dataset("Subset", parent)
        try:
            chosen = np.asarray(indices)
            chosen = chosen.astype(np.int64) if chosen.size == 0 else chosen
        except ValueError:
            chosen = np.zeros((), object)  # rows of uneven length
        kind = chosen.dtype.kind
        if chosen.ndim != 1 or kind not in "iub" or (kind == "b" and len(chosen) != len(parent)):
            raise ArgumentError(
                f"Subset: expected indices (n,), integers or a mask ({len(parent)},), got {value_text(indices)}"
            )
        self.indices: np.ndarray = np.arange(len(parent))[chosen]
        self._indices_there = to_device(self.indices, parent.device)

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return f"Subset({len(self):,} of {self.parent!r})"

    @text_instead
    def _repr_html_(self) -> Html | None:
        return dataset_html(self, repr(self))

    def __getitem__(self, indices: int | slice | Array) -> Batch:
        on_host = isinstance(indices, int | slice | list | np.ndarray | np.generic)
        own: Array = self.indices if on_host else self._indices_there
        with current(self.device):
            return self.parent[own[indices]]

    @cached_property
    def labels(self) -> Array:
        """The parent's, of these samples."""
        with current(self.device):
            labels = self.parent.labels  # on the host, if images are streamed
            return labels[self.indices if isinstance(labels, np.ndarray) else self._indices_there]

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
