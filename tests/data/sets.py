"""Data sets to load from, and what the tests of the loader compare and watch."""

import threading
from collections.abc import Iterable

import numpy as np

from gpucnn.backend import Array
from gpucnn.data import ArrayDataset, Batch
from gpucnn.data.prefetch import THREAD_NAME


def numbered(count: int = 53, classes: int = 5) -> ArrayDataset:
    """Float images, of which the first pixel is the sample's index, labels 0, 1, 2, ..., 0, 1, ..."""
    images = np.random.default_rng(count).random((count, 3, 6, 5), np.float32)
    images[:, 0, 0, 0] = np.arange(count)
    return ArrayDataset(images, np.arange(count) % classes, num_classes=classes)


class Interfering(ArrayDataset):
    """`numbered`, but a subclass says what happens before a batch is given."""

    def __init__(self, count: int = 53) -> None:
        plain = numbered(count)
        super().__init__(plain.images, plain.labels, num_classes=plain.num_classes)

    def __getitem__(self, indices: int | slice | Array) -> Batch:
        self.before(np.asarray(indices))
        return super().__getitem__(indices)

    def before(self, indices: np.ndarray) -> None:
        """What a subclass has to say."""
        raise NotImplementedError


def as_bytes(batches: Iterable[Batch]) -> list[tuple[object, ...]]:
    """Batches as values that are equal if every bit, shape and dtype is."""
    return [(*((array.shape, array.dtype.str, array.tobytes()) for array in batch),) for batch in batches]


def loader_threads() -> list[str]:
    """The loaders' threads that run at this moment."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]
