"""Dataset: what the loader needs of a data set."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from gpucnn.backend import Array, Device
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text

MEMBERS = ("__len__", "__getitem__", "labels", "num_classes", "device")

Batch: TypeAlias = tuple[Array, Array]
"""Images (B, C, H, W) and labels (B,), or soft labels (B, classes), on the device of their data set."""


class Dataset(Protocol):
    """Images with labels, in a fixed order.

    `ArrayDataset`, `ImageFolder` and `Subset` are data sets, and any class with these members is one. With a loader that
    has workers, several threads ask for batches at the same time.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Array) -> Batch:
        """The images (B, C, H, W) and int64 labels (B,) at int64 `indices` (B,), which live on the host or on `device`."""
        ...

    @property
    def labels(self) -> Array:
        """All labels: integers (N,) from 0 to below `num_classes`."""
        ...

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        ...

    @property
    def device(self) -> Device:
        """Where batches are made."""
        ...

    def to(self, device: str | Device) -> "Dataset":
        """The same data set, its batches made on `device`."""
        ...


def check_dataset(owner: str, dataset: Dataset, members: Sequence[str] = MEMBERS) -> None:
    """ArgumentError, which names `owner`, unless `dataset` has these members of a data set."""
    missing = [name for name in members if not hasattr(dataset, name)]
    if missing:
        raise ArgumentError(
            f"{owner}: expected a data set, e.g. data.ArrayDataset(images, labels), got {value_text(dataset)}, which has "
            f"no {', '.join(missing)}"
        )
