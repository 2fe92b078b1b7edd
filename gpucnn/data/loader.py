"""DataLoader: batches of a data set, epoch after epoch."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np

from gpucnn.backend import current, generator, to_device
from gpucnn.checks import as_count, as_flag, as_function
from gpucnn.data.augment import Augment, Mix
from gpucnn.data.dataset import Batch, Dataset, check_dataset
from gpucnn.data.prefetch import prefetch
from gpucnn.data.sampling import occurrences, sample_weights, weighted_draws
from gpucnn.errors import ArgumentError

NAMED_SAMPLES = 16
"""Samples of a batch that the note to an error names."""


class DataLoader:
    """Iterate to get the batches of one epoch as (images, labels); every iteration is the next epoch.

    Batches are made on the data set's device. Each is a function of the arguments, the epoch and its number: neither
    `workers` nor where one begins changes a bit.

    - `batch_size`: images per batch. The last batch has what is left over; `drop_last` leaves it out.
    - `shuffle`: a new order every epoch, a function of (`seed`, epoch).
    - `augment`: None, or random changes of the images, e.g. `RandomShift(2)`, a function of (`seed`, epoch, sample).
    - `mix`: None, or what blends the images of a batch and their labels, e.g. `Mixup(0.2)`; labels are then soft.
    - `workers`: how many threads make batches ahead of the consumer; 0 leaves it to the consumer's own. Batches of a
      data set on a GPU are queued there by the consumer in any case.
    - `weights`: None, or numbers >= 0, one per class or one per sample (one per class, if there are as many of both): an epoch
      is then as many draws with replacement, by weight, as there are samples, a function of (`seed`, epoch), with or
      without `shuffle`. A sample that is drawn again is augmented anew. See `class_weights`.
    - `epoch`: the number of the epoch that comes next; set it to go on from there.
    - `waited`: the seconds that the consumer of the latest epoch has waited for batches.

    What making a batch raises reaches the consumer, with a note of the batch and its samples. Raises ArgumentError for a
    batch size below 1, a wrong number of workers, weights that do not fit, or if there is not a single batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        augment: Augment | None = None,
        mix: Mix | None = None,
        workers: int = 0,
        weights: np.ndarray | None = None,
    ) -> None:
        check_dataset("DataLoader", dataset)
        self.dataset = dataset
        self.batch_size = as_count(batch_size, "batch_size")
        self.shuffle, self.drop_last = as_flag(shuffle, "shuffle"), as_flag(drop_last, "drop_last")
        self.seed = seed
        generator(seed, "shuffle")  # refuses what cannot be a seed
        if augment is not None:
            as_function(augment, "DataLoader: augment", "of (images, indices, seed, epoch), e.g. RandomFlip(), or None")
        if mix is not None:
            as_function(mix, "DataLoader: mix", "of images and labels, e.g. Mixup(0.2), or None")
        self.augment, self.mix = augment, mix
        self.workers = as_count(workers, "workers", 0)
        self.epoch = 0
        self.waited = 0.0
        if len(self) == 0:
            raise ArgumentError(
                f"DataLoader: {len(dataset)} images give no batch of {batch_size}{' with drop_last' if drop_last else ''}; "
                f"add images or lower batch_size"
            )
        self.weights = None if weights is None else sample_weights(weights, dataset)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self.batches(epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch in their order, from number `first` on. `self.epoch` stays as it is.

        Close the iterator, or drop it, to end its threads early. Raises ArgumentError for numbers below 0.
        """
        return self._produce(as_count(epoch, "epoch", 0), range(as_count(first, "first", 0), len(self)))

    def indices(self, epoch: int, batch: int) -> np.ndarray:
        """Which samples of the data set make up a batch: int64 (B,). ArgumentError if there is no such batch."""
        if as_count(batch, "batch", 0) >= len(self):
            raise ArgumentError(f"batch must be below {len(self)}, the number of batches, got {batch}")
        return self._order(as_count(epoch, "epoch", 0)).samples[self._places(batch)]

    def _produce(self, epoch: int, numbers: range) -> Iterator[Batch]:
        self.waited, start = 0.0, time.perf_counter()
        order = self._order(epoch)
        order_there = to_device(order.samples, self.dataset.device)  # once an epoch: a step has nothing to send

        def make(number: int) -> Batch:
            places = self._places(number)
            try:
                with current(self.dataset.device):
                    images, labels = self.dataset[order_there[places]]
                    if self.augment is not None:
                        images = self.augment(images, order.keys[places], self.seed, epoch)
                    if self.mix is not None:
                        keys, classes = order.keys[places], self.dataset.num_classes
                        images, labels = self.mix(images, labels, keys, self.seed, epoch, classes)
            except Exception as error:
                error.add_note(_place_text(epoch, number, order.samples[places]))
                raise
            return images, labels

        threads = self.workers if self.dataset.device.kind == "cpu" else 0
        with closing(prefetch(make, numbers, threads)) as batches:
            self.waited += time.perf_counter() - start
            for _ in numbers:
                yield self._next_of(batches)  # in no variable, so that the consumer alone holds it

    def _next_of(self, batches: Iterator[Batch]) -> Batch:
        """The next batch, for which the consumer waits."""
        start = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - start
        return batch

    def _places(self, batch: int) -> slice:
        """Where a batch stands in the order of its epoch."""
        return slice(batch * self.batch_size, (batch + 1) * self.batch_size)

    def _order(self, epoch: int) -> "_Order":
        count = len(self.dataset)
        if self.weights is not None:
            samples = weighted_draws(self.weights, self.seed, epoch)
            return _Order(samples, samples + count * occurrences(samples))
        samples = generator(self.seed, "shuffle", epoch).permutation(count) if self.shuffle else np.arange(count)
        return _Order(samples, samples)


class _Order(NamedTuple):
    """The samples (N,) of an epoch in order, and the keys (N,) of their random changes: one each time a sample is drawn."""

    samples: np.ndarray
    keys: np.ndarray


def _place_text(epoch: int, batch: int, samples: np.ndarray) -> str:
    named = ", ".join(map(str, samples[:NAMED_SAMPLES]))
    more = f" and {len(samples) - NAMED_SAMPLES} more" if len(samples) > NAMED_SAMPLES else ""
    return f"in batch {batch} of epoch {epoch}, samples {named}{more} of the data set"
