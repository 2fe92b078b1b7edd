"""Dataset: what the loader needs of a data set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from gpucnn.backend import Array, Device
from gpucnn.checks import as_items
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text

MEMBERS = ("__len__", "__getitem__", "labels", "num_classes", "device")

Batch: TypeAlias = tuple[Array, Array]
"""Images (B, C, H, W) and labels (B,), or soft labels (B, classes), on the device of their data set."""


class Dataset(Protocol):
    """Images with labels, in a fixed order.

    A class of one's own needs two members, and may be derived from this one or not: `__len__`, the number of samples, and
    `__getitem__(i)`, the sample of an int, which is (image, label), see `ItemDataset`.

    `ArrayDataset`, `ImageFolder` and `Subset` give whole batches, and so does any class with all of these members:

    - `__len__`, and `__getitem__(indices)`: the images (B, C, H, W) and int64 labels (B,) at int64 indices (B,), which live on
      the host or on `device`. With a loader that has workers, several threads ask at the same time.
    - `labels`: all of them, integers (N,) from 0 to below `num_classes`, the number of classes.
    - `device`: where batches are made, and `to(device)`: the same data set, its batches made there.
    """

    if TYPE_CHECKING:  # a class of one's own must not inherit what does nothing

        def __len__(self) -> int: ...

        def __getitem__(self, indices: Array) -> Batch: ...

        @property
        def labels(self) -> Array: ...

        @property
        def num_classes(self) -> int: ...

        @property
        def device(self) -> Device: ...

        def to(self, device: str | Device) -> "Dataset": ...


def whole_of(dataset: Any) -> Any:
    """What `dataset` is a part of; of samples of one's own these."""
    while hasattr(dataset, "parent"):
        dataset = dataset.parent
    return getattr(dataset, "items", dataset)


def class_names_of(dataset: Any) -> tuple[str, ...] | None:
    """What a data set, or the one that it is a part of, calls its classes; None if it does not name them."""
    names = as_items(getattr(whole_of(dataset), "class_names", None))
    return None if names is None else tuple(map(str, names))


def check_dataset(owner: str, dataset: object, members: Sequence[str] = MEMBERS) -> None:
    """ArgumentError, which names `owner`, unless `dataset` has these members of a data set."""
    missing = [name for name in members if not hasattr(dataset, name)]
    if missing:
        raise ArgumentError(
            f"{owner}: expected a data set, e.g. data.ArrayDataset(images, labels), got {value_text(dataset)}, which has "
            f"no {', '.join(missing)}"
        )
