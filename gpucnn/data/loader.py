"""DataLoader: batches of a data set, epoch after epoch."""

import time
from collections.abc import Iterator

import numpy as np

from gpucnn.backend import current, generator, to_device
from gpucnn.checks import as_count
from gpucnn.data.array_dataset import ArrayDataset, Batch
from gpucnn.data.augment import Augment
from gpucnn.errors import ArgumentError


class DataLoader:
    """Iterate to get the batches of one epoch as (images, labels); every iteration is the next epoch.

    Batches are made on the data set's device.

    - `batch_size`: images a batch. The last batch has what is left over; `drop_last` leaves it out.
    - `shuffle`: a new order every epoch, a function of (`seed`, epoch).
    - `augment`: None, or random changes of the images, e.g. `RandomShift(2)`, a function of (`seed`, epoch, sample).
    - `epoch`: the number of the epoch that comes next; set it to go on from there.
    - `waited`: the seconds that the consumer of the latest epoch has waited for batches.

    Raises ArgumentError for a batch size below 1, or if there is not a single batch.
    """

    def __init__(
        self,
        dataset: ArrayDataset,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        augment: Augment | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = as_count(batch_size, "batch_size")
        self.shuffle, self.seed, self.drop_last, self.augment = shuffle, seed, drop_last, augment
        self.epoch = 0
        self.waited = 0.0
        if len(self) == 0:
            raise ArgumentError(
                f"DataLoader: {len(dataset)} images give no batch of {batch_size}; add images or lower batch_size"
            )

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self.batches(epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch in their order, from number `first` on. `self.epoch` stays as it is."""
        self.waited, start = 0.0, time.perf_counter()
        order = self._order(epoch)
        order_there = to_device(order, self.dataset.device)  # once an epoch, so that a step has nothing to send
        for number in range(first, len(self)):
            batch = self._places(number)
            with current(self.dataset.device):
                images, labels = self.dataset[order_there[batch]]
                if self.augment is not None:
                    images = self.augment(images, order[batch], self.seed, epoch)
            self.waited += time.perf_counter() - start
            yield images, labels
            start = time.perf_counter()

    def indices(self, epoch: int, batch: int) -> np.ndarray:
        """Which samples of the data set make up a batch: int64 (B,)."""
        return self._order(epoch)[self._places(batch)]

    def _places(self, batch: int) -> slice:
        return slice(batch * self.batch_size, (batch + 1) * self.batch_size)

    def _order(self, epoch: int) -> np.ndarray:
        count = len(self.dataset)
        return generator(self.seed, "shuffle", epoch).permutation(count) if self.shuffle else np.arange(count)
