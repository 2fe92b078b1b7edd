"""DataLoader: batches of a data set, epoch after epoch."""

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple, Never, TypeVar

import numpy as np

from gpucnn.backend import Array, current, generator, to_device
from gpucnn.checks import as_count, as_flag, as_function, nearest
from gpucnn.data.array_dataset import ArrayDataset, HostBatch
from gpucnn.data.augment import Augment, Mix
from gpucnn.data.augment.moves import MOVES_TEXT, moves_of
from gpucnn.data.dataset import Batch, Dataset
from gpucnn.data.epoch_sampler import BatchSampler, Drawn, EpochSampler, Sampler
from gpucnn.data.gather import Gather
from gpucnn.data.image_sheet import IMAGES, batch_html
from gpucnn.data.item_dataset import Items, array_of, as_dataset, sample_of
from gpucnn.data.pieces import Pieces, shard_sizes
from gpucnn.data.prefetch import AHEAD, prefetch
from gpucnn.data.sampling import occurrences, sample_weights, weighted_draws
from gpucnn.data.subset import Subset
from gpucnn.data.window_shuffle import WindowShuffle, file_of_each
from gpucnn.errors import ArgumentError, DataError
from gpucnn.html_fragments import Html, text_instead
from gpucnn.kernels.preprocess import Move, Moves, can_be_recorded
from gpucnn.text import counted, value_text

Made = TypeVar("Made")

BATCH_SIZE = 64
_TOLD = ("shuffle", "drop_last", "seed", "augment", "mix", "workers", "sampler", "batch_sampler", "collate")
"""What else a loader's repr tells, where it is not as by default."""
NAMED_SAMPLES = 16
"""Samples of a batch that the note to an error names."""


class DataLoader:
    """Iterate to get the batches of one epoch as (images, labels); every iteration is the next epoch.

    Batches are made on the data set's device. Each is a function of the arguments, the epoch and its number: neither
    `workers` nor where one begins changes a bit.

    - `dataset`: a `Dataset`, or what gives one (image, label) an index, see `ItemDataset`.
    - `batch_size`: images per batch. The last batch has what is left over; `drop_last` leaves it out.
    - `shuffle`: a new order every epoch, a function of (`seed`, epoch); `WindowShuffle(8)` reads from no more than 8 tars at a time.
    - `augment`: None, or random changes of the images, e.g. `RandomShift(2)`, a function of (`seed`, epoch, sample).
    - `mix`: None, or what blends the images of a batch and their labels, e.g. `Mixup(0.2)`; labels are then soft.
    - `workers`: how many threads make batches ahead of the consumer; 0 leaves it to the consumer's own. Of images that are
      streamed to a GPU they read the bytes; what is done on a GPU is queued there by the consumer in any case.
    - `weights`: None, or numbers >= 0, one per class or one per sample (one per class, if there are as many of both): an epoch
      is then as many draws with replacement, by weight, as there are samples, a function of (`seed`, epoch), with or
      without `shuffle`. A sample that is drawn again is augmented anew. See `class_weights`.
    - `sampler`: None, or which samples an epoch has, in order, see `Sampler`: a list of indices, a function from the epoch to
      them, or what is iterated once an epoch. In place of `shuffle` and `weights`.
    - `batch_sampler`: None, or which samples each batch has, e.g. a function from the epoch to lists of indices; in place of
      `batch_size` and `drop_last`, too. All epochs have as many batches.
    - `collate`: None, or a function from a list of samples, each as `dataset[i]` gives it, to (images, labels).
    - `epoch`: the number of the epoch that comes next; set it to go on from there.
    - `waited`: the seconds that the consumer of the latest epoch has waited for batches.

    What making a batch raises reaches the consumer, with a note of the batch and its samples. Raises ArgumentError for a
    batch size below 1, a wrong number of workers, weights that do not fit, arguments that exclude each other, or if there is
    not a single batch.
    """

    def __init__(
        self,
        dataset: Dataset | Items,
        batch_size: int = BATCH_SIZE,
        shuffle: bool | WindowShuffle = False,
        seed: int = 0,
        drop_last: bool = False,
        augment: Augment | None = None,
        mix: Mix | None = None,
        workers: int = 0,
        weights: np.ndarray | None = None,
        sampler: Sampler | None = None,
        batch_sampler: BatchSampler | None = None,
        collate: Callable[[list[Any]], tuple[Any, Any]] | None = None,
        **of_pytorch: Never,
    ) -> None:
        for name in of_pytorch:
            raise ArgumentError(_unknown(name))
        self.dataset = as_dataset("DataLoader", dataset)
        self.batch_size = as_count(batch_size, "batch_size")
        self.shuffle = shuffle if isinstance(shuffle, WindowShuffle) else as_flag(shuffle, "shuffle")
        self.drop_last = as_flag(drop_last, "drop_last")
        self.seed = seed
        generator(seed, "shuffle")  # refuses what cannot be a seed
        if augment is not None:
            as_function(augment, "DataLoader: augment", "of (images, indices, seed, epoch), e.g. RandomFlip(), or None")
        if mix is not None:
            as_function(mix, "DataLoader: mix", "of images and labels, e.g. Mixup(0.2), or None")
        self.augment, self.mix = augment, mix
        if collate is not None:
            as_function(collate, "DataLoader: collate", "from a list of samples to (images, labels), or None")
        self.collate = collate
        self.workers = as_count(workers, "workers", 0)
        self.epoch = 0
        self.waited = 0.0
        given = {"shuffle": bool(self.shuffle), "weights": weights is not None, "sampler": sampler is not None}
        given |= {"drop_last": self.drop_last, "batch_size": batch_size != BATCH_SIZE}
        self.sampler: EpochSampler | None = None
        self.batch_sampler: EpochSampler | None = None
        if batch_sampler is not None:
            _check_apart("batch_sampler", given)
            self.batch_sampler = EpochSampler(batch_sampler, "batch_sampler", len(self.dataset))
            self.batch_size = max(
                (self.images_in(batch + 1) - self.images_in(batch) for batch in range(len(self))), default=0
            )
        elif sampler is not None:
            _check_apart("sampler", {name: given[name] for name in ("shuffle", "weights")})
            self.sampler = EpochSampler(sampler, "sampler", len(self.dataset))
        if isinstance(self.shuffle, WindowShuffle):
            if weights is not None:
                _check_apart("weights", {"shuffle by windows": True})
            self._file_of = file_of_each(self.dataset)
        if len(self) == 0:
            if self.batch_sampler is not None:
                raise ArgumentError("DataLoader: batch_sampler gives no batch")
            drawn = "" if self.sampler is None else " that sampler gives"
            raise ArgumentError(
                f"DataLoader: {self._count()} images{drawn} give no batch of {batch_size}{' with drop_last' if drop_last else ''}; "
                f"add images or lower batch_size"
            )
        self.weights = None if weights is None else sample_weights(weights, self.dataset)

    def __repr__(self) -> str:
        given = ", ".join(
            f"{name}={getattr(self, name)!r}" for name in _TOLD if getattr(self, name) not in (None, False, 0)
        )
        given += ", weights=..." if self.weights is not None else ""
        return f"DataLoader({counted(len(self), 'batch')} of {self.batch_size} of {self.dataset!r}{', ' if given else ''}{given})"

    @text_instead
    def _repr_html_(self) -> Html | None:
        """The first images of the epoch that comes next, changed as they will be; `mix` finds partners among them alone."""
        sampler = self.batch_sampler or self.sampler
        # Of a sampler epoch 0, which is known: it may draw, and would then give others to what follows.
        order = self._drawn_order(sampler.first) if sampler else self._order(self.epoch)
        places = slice(0, min(IMAGES, self.images_in(1)) if self.batch_sampler else IMAGES)
        return batch_html(
            self._made(self.epoch, order, self._there(self.epoch, order), places), self.dataset, repr(self)
        )

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        if self._first_ends is not None:
            return len(self._first_ends)
        full, rest = divmod(self._count(), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self.batches(epoch)

    def batches(self, epoch: int, first: int = 0, step: int = 1) -> Iterator[Batch]:
        """The batches of an epoch in their order, from number `first` on, each `step`-th one. `self.epoch` stays as it is.

        Close the iterator, or drop it, to end its threads early. Raises ArgumentError for numbers below 0, and if nobody knows
        what is at `first`, see `cannot_begin`.
        """
        numbers = range(self._begun(epoch, first), len(self), as_count(step, "step"))
        return self._produce(epoch, numbers, self._made)

    def gathers(self, epoch: int, first: int = 0) -> Iterator[Gather]:
        """The same batches, if `can_gather`, to be made by who takes them."""

        def made(epoch: int, order: _Order, there: _There, places: slice) -> Gather:
            return there.gather(slice(*places.indices(len(order.samples))[:2]))

        return self._produce(epoch, range(self._begun(epoch, first), len(self)), made)

    @property
    def can_gather(self) -> bool:
        """Whether all that belongs to a batch is one launch on a GPU, which a step that is recorded can make itself."""
        dataset, _ = self._gathered_from(np.zeros(0, np.int64))
        if type(self) is not DataLoader or type(dataset) is not ArrayDataset or dataset.streams:
            return False  # a class of one's own may make its batches in a way of its own
        is_more = self.augment is not None and self._moves_of(dataset) is None
        if is_more or self.mix is not None or self.collate is not None or dataset.moved_size() is None:
            return False
        return can_be_recorded(dataset.images, dataset.labels)

    def sharded(
        self, epoch: int, first: int, shards: int, own: range, gathers: bool = False
    ) -> Iterator[tuple[Pieces, Pieces]]:
        """The same batches, of which each is cut into `shards`, and those in `own` alone are made: images and labels, `Pieces`.

        Neither changes an image: a shard is what stands in its place of the batch, but that `mix` finds partners within it.
        With `gathers`, if `can_gather`, shards are not made, and both pieces are `Gather`s.
        """
        numbers = range(self._begun(epoch, first), len(self))

        def starts_of(order: _Order, places: slice) -> tuple[tuple[int, ...], np.ndarray]:
            sizes = shard_sizes(len(order.samples[places]), shards)
            return sizes, np.cumsum([0, *sizes]) + places.start

        def all_own(order: _Order, places: slice) -> slice:
            _, starts = starts_of(order, places)
            return slice(starts[own.start], starts[own.stop])

        def made(epoch: int, order: _Order, there: _There, places: slice) -> tuple[Pieces, Pieces]:
            sizes, starts = starts_of(order, places)
            parts = {shard: slice(starts[shard], starts[shard + 1]) for shard in own if sizes[shard]}
            if gathers:
                pieces = Pieces(sizes, {shard: there.gather(part) for shard, part in parts.items()})
                return pieces, pieces
            pairs = {shard: self._made(epoch, order, there, part) for shard, part in parts.items()}
            images, labels = ({shard: pair[which] for shard, pair in pairs.items()} for which in (0, 1))
            return Pieces(sizes, images), Pieces(sizes, labels)

        return self._produce(epoch, numbers, made, all_own)

    def _begun(self, epoch: int, first: int) -> int:
        """The number of the first batch. ArgumentError for what cannot be begun."""
        as_count(first, "first", 0)
        if reason := self.cannot_begin(as_count(epoch, "epoch", 0), first):
            raise ArgumentError(f"DataLoader: {reason}")
        return first

    def cannot_begin(self, epoch: int, first: int) -> str:
        """Why an epoch cannot be begun at batch `first`, as messages say it; empty if it can.

        It cannot with a sampler that may give other samples each time, unless it is one of the last epochs here.
        """
        sampler = self.batch_sampler or self.sampler
        return "" if sampler is None else sampler.cannot_begin(epoch, first)

    def images_in(self, batches: int) -> int:
        """How many images the first `batches` batches of an epoch have; of batches that a sampler makes, of its first epoch."""
        if self._first_ends is not None:
            return int(self._first_ends[min(batches, len(self)) - 1]) if batches else 0
        return min(min(batches, len(self)) * self.batch_size, self._count())

    def indices(self, epoch: int, batch: int | None = None) -> np.ndarray:
        """Which samples of the data set make up a batch, or all batches of an epoch: int64 (B,). ArgumentError if there is no such batch."""
        if batch is not None and as_count(batch, "batch", 0) >= len(self):
            raise ArgumentError(f"batch must be below {len(self)}, the number of batches, got {batch}")
        order = self._order(as_count(epoch, "epoch", 0))
        if batch is None:
            return order.samples[: self._places(order, len(self) - 1).stop]
        return order.samples[self._places(order, batch)]

    def _produce(
        self,
        epoch: int,
        numbers: range,
        made: "Callable[[int, _Order, _There, slice], Made]",
        read: "Callable[[_Order, slice], slice]" = lambda order, places: places,
    ) -> "Iterator[Made]":
        """`made` of each batch, in threads if it is made here. Threads that stream read what stands at `read` of its places."""
        self.waited, start = 0.0, time.perf_counter()
        order = self._order(epoch)
        there = self._there(epoch, order)
        is_known = (
            type(there.dataset) is ArrayDataset and self.collate is None
        )  # a class of one's own may choose in its way
        streams = self.workers > 0 and there.streams and is_known

        def told(number: int, make: Callable[[slice], Any]) -> Any:
            places = self._places(order, number)
            try:
                return make(places)
            except Exception as error:
                error.add_note(_place_text(epoch, number, order.samples[places]))
                raise

        def ahead(number: int) -> Any:
            if streams:
                return told(number, lambda places: there.having_read(read(order, places)))
            return told(number, lambda places: made(epoch, order, there, places))

        def last(number: int, found: Any) -> Made:
            finished: Made = told(number, lambda places: made(epoch, order, found, places)) if streams else found
            return finished

        threads = self.workers if streams or self.dataset.device.kind == "cpu" else 0
        with closing(prefetch(ahead, numbers, threads)) as batches:
            self.waited += time.perf_counter() - start
            for number in numbers:
                # In no variable, so that the consumer alone holds it.
                yield self._waited_for(functools.partial(last, number), batches)

    @property
    def note(self) -> str:
        """What each batch waits for that need not be, and why; empty if there is nothing."""
        dataset, _ = self._gathered_from(np.zeros(0, np.int64))
        device = dataset.device
        if self.augment is None or device.kind == "cpu" or self._moves_of(dataset) is not None:
            return ""
        return (
            f"{self.augment!r} is drawn on the host, and sent to {device} with every batch: what is drawn there is {MOVES_TEXT}, of "
            f"an ArrayDataset of bytes with a Preprocess"
        )

    def _gathered_from(self, samples: np.ndarray) -> tuple[Dataset, np.ndarray]:
        """The data set that batches are gathered from, and the numbers there of these samples; on a GPU no part of another."""
        dataset = self.dataset
        while type(dataset) is Subset and dataset.device.kind != "cpu":
            samples, dataset = dataset.indices[samples], dataset.parent
        return dataset, samples

    def _there(self, epoch: int, order: "_Order") -> "_There":
        """What of an epoch is sent to the data set's device, once: a step then has nothing to send."""
        device, (dataset, samples) = self.dataset.device, self._gathered_from(order.samples)
        there = _There(dataset, samples, None)
        if not there.streams:
            there = there._replace(samples=to_device(samples, device))
        if (moves := self._moves_of(dataset)) is None:
            return there
        keys = there.samples if order.keys is samples and not there.streams else to_device(order.keys, device)
        return there._replace(moves=Moves(moves, epoch, keys))

    def _moves_of(self, dataset: Dataset) -> tuple[Move, ...] | None:
        """What a GPU does to the images of `dataset` in place of `augment`, while it gathers them; None if it does not."""
        if self.augment is None or self.collate is not None or type(dataset) is not ArrayDataset:
            return None
        size = dataset.moved_size()
        return None if size is None else moves_of(self.augment, self.seed, size)

    def _made(self, epoch: int, order: "_Order", there: "_There", places: slice) -> Batch:
        """The batch of those at some places of an epoch's order."""
        with current(self.dataset.device):
            if self.collate is None:
                images, labels = there.made(places)
            else:
                images, labels = self._collated(order.samples[places])
            if self.augment is not None and there.moves is None:
                images = self.augment(images, order.keys[places], self.seed, epoch)
            if self.mix is not None:
                keys, classes = order.keys[places], self.dataset.num_classes
                images, labels = self.mix(images, labels, keys, self.seed, epoch, classes)
            return images, labels

    def _collated(self, samples: np.ndarray) -> Batch:
        """What `collate` makes of these samples (B,)."""
        assert self.collate is not None
        batch = self.collate([sample_of(self.dataset, int(sample)) for sample in samples])
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise DataError(f"DataLoader: collate must give (images, labels), got {value_text(batch)}")
        images, labels = (array_of(part) for part in batch)
        return images, labels

    def _waited_for(self, last: "Callable[[Any], Made]", batches: Iterator[Any]) -> "Made":
        """The next batch, for which the consumer waits."""
        start = time.perf_counter()
        batch = last(next(batches))
        self.waited += time.perf_counter() - start
        return batch

    def _count(self) -> int:
        """How many samples an epoch has."""
        return len(self.dataset) if self.sampler is None else len(self.sampler.first.samples)

    @property
    def _first_ends(self) -> np.ndarray | None:
        """Where each batch of the first epoch ends, if a `batch_sampler` says so."""
        return None if self.batch_sampler is None else self.batch_sampler.first.ends

    def _places(self, order: "_Order", batch: int) -> slice:
        """Where a batch stands in the order of its epoch."""
        if order.ends is not None:
            return slice(int(order.ends[batch - 1]) if batch else 0, int(order.ends[batch]))
        return slice(batch * self.batch_size, (batch + 1) * self.batch_size)

    def _order(self, epoch: int) -> "_Order":
        if (drawn := self._drawn(epoch)) is not None:
            return self._drawn_order(drawn)
        count = len(self.dataset)
        if isinstance(self.shuffle, WindowShuffle):
            samples = self.shuffle.order(self._file_of, self.seed, epoch)
        else:
            samples = generator(self.seed, "shuffle", epoch).permutation(count) if self.shuffle else np.arange(count)
        return _Order(samples, samples)

    def _drawn_order(self, drawn: Drawn) -> "_Order":
        samples, ends = drawn
        return _Order(samples, samples + len(self.dataset) * occurrences(samples), ends)

    def _drawn(self, epoch: int) -> Drawn | None:
        """What a sampler or weights have drawn for an epoch, if there are any."""
        if sampler := self.batch_sampler or self.sampler:
            return sampler.of(epoch)
        return None if self.weights is None else Drawn(weighted_draws(self.weights, self.seed, epoch), None)


class _Order(NamedTuple):
    """The samples (N,) of an epoch in order, and the keys (N,) of their random changes: one each time a sample is drawn."""

    samples: np.ndarray
    keys: np.ndarray
    ends: np.ndarray | None = None
    """Where each batch ends; None where the batch size says so."""


class _There(NamedTuple):
    """What of an epoch is on the data set's device."""

    dataset: Dataset
    """The loader's, or on a GPU what it is a part of."""
    samples: Array
    """The order (N,), in the numbers of that data set."""
    moves: Moves | None
    """What is done to images in place of `augment`, for all of the epoch."""

    read: HostBatch | None = None
    """What a thread has read of images that are streamed."""
    read_from: int = 0
    """The place of the first of them."""

    @property
    def streams(self) -> bool:
        """Whether images are on the host."""
        return isinstance(self.dataset, ArrayDataset) and self.dataset.streams

    def having_read(self, places: slice) -> "_There":
        """The same, with the bytes of what stands at some places of the order."""
        assert isinstance(self.dataset, ArrayDataset)
        return self._replace(read=self.dataset.read(self.samples[places]), read_from=places.start)

    def gather(self, places: slice) -> Gather:
        """What stands at some places of the order, on a GPU."""
        assert isinstance(self.dataset, ArrayDataset)
        return Gather(self.dataset, self.samples, self.moves, places)

    def made(self, places: slice) -> Batch:
        """The images and labels that stand there, moved."""
        if self.read is not None:
            assert isinstance(self.dataset, ArrayDataset)
            own = slice(places.start - self.read_from, places.stop - self.read_from)
            keys = None if self.moves is None else self.moves.keys[places]
            return self.dataset.sent(self.read.part(own), self.moves and self.moves._replace(keys=keys))
        return self.dataset[self.samples[places]] if self.moves is None else self.gather(places).made()


def _place_text(epoch: int, batch: int, samples: np.ndarray) -> str:
    named = ", ".join(map(str, samples[:NAMED_SAMPLES]))
    more = f" and {len(samples) - NAMED_SAMPLES} more" if len(samples) > NAMED_SAMPLES else ""
    return f"in batch {batch} of epoch {epoch}, samples {named}{more} of the data set"


def _check_apart(name: str, given: Mapping[str, bool]) -> None:
    """ArgumentError if any of the others is given, whose place the argument `name` takes."""
    if others := [other for other, is_given in given.items() if is_given]:
        raise ArgumentError(f"DataLoader: {name} takes the place of {' and '.join(others)}; leave out one or the other")


_WORDS = {
    "num_workers": "it is workers, the number of threads",
    "collate_fn": "it is collate",
    "generator": "it is seed: order and augmentation are functions of it",
    "pin_memory": "leave it out: batches are moved to the model's device by themselves",
    "persistent_workers": "leave it out: workers are threads, which need no time to start",
    "worker_init_fn": "leave it out: workers are threads that draw nothing by themselves",
    "prefetch_factor": f"leave it out: each of the workers is up to {AHEAD} batches ahead",
    "multiprocessing_context": "leave it out: workers are threads",
}
"""What stands for an argument that PyTorch's loader has."""


def _unknown(name: str) -> str:
    """The message for an argument that there is not."""
    known = [key for key in inspect.signature(DataLoader).parameters if key != "of_pytorch"]
    like = nearest(name, known)
    word = _WORDS.get(name) or (f"did you mean {like}?" if like else f"it has {', '.join(known)}")
    return f"DataLoader has no {name}; {word}"


def check_loader(loader: object, what: str, is_shared: bool = False) -> None:
    """ArgumentError, which names `what`, unless `loader` gives batches as a DataLoader does; also parts of them, if it `is_shared`."""
    if not hasattr(loader, "batches"):
        raise ArgumentError(
            f"{what}: expected a data.DataLoader, got {value_text(loader)}; make one: data.DataLoader(dataset, batch_size=256)"
        )
    if is_shared and not hasattr(loader, "sharded"):
        raise ArgumentError(
            f"{what}: with shards or several processes it must be a data.DataLoader, which gives parts of batches, got "
            f"{value_text(loader)}; make one of its samples"
        )
