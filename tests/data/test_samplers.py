"""Samplers of one's own, and arguments that do not go together or that only PyTorch has."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gpucnn import layers, models, optim
from gpucnn.data import DataLoader, RandomShift
from gpucnn.errors import ArgumentError, DataError, GpucnnError, StateError
from gpucnn.training import Callback, Trainer, evaluate
from tests.data.sets import as_bytes, numbered

SET = numbered(20)


class Shuffling:
    """As PyTorch's RandomSampler: other indices each time it is iterated."""

    def __init__(self) -> None:
        self.random, self.times = np.random.default_rng(0), 0

    def __len__(self) -> int:
        return 20

    def __iter__(self) -> Iterator[int]:
        self.times += 1
        return iter(self.random.permutation(20).tolist())


class ByEpoch(Shuffling):
    """As PyTorch's DistributedSampler: told the epoch."""

    def set_epoch(self, epoch: int) -> None:
        self.random = np.random.default_rng(epoch)


def of_epoch(epoch: int) -> np.ndarray:
    return np.random.default_rng(epoch).permutation(20)


def seen(loader: DataLoader, epoch: int) -> list[list[int]]:
    return [images[:, 0, 0, 0].astype(int).tolist() for images, _ in loader.batches(epoch)]


def together(batches: list[list[int]]) -> list[int]:
    return [sample for batch in batches for sample in batch]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampler", [of_epoch, ByEpoch()], ids=["function", "set_epoch"])
def test_a_sampler_that_is_a_function_of_the_epoch(sampler: Any, workers: int) -> None:
    loader = DataLoader(SET, 8, sampler=sampler, workers=workers)
    for epoch in (0, 3, 1, 0):
        assert together(seen(loader, epoch)) == of_epoch(epoch).tolist()
        assert loader.indices(epoch, 2).tolist() == of_epoch(epoch)[16:].tolist()
    assert as_bytes(loader.batches(7, 1)) == as_bytes(loader.batches(7))[1:]
    assert [len(batch) for batch in seen(DataLoader(SET, 8, drop_last=True, sampler=sampler), 0)] == [8, 8]


@pytest.mark.parametrize("sampler", [[5, 5, 1, 19], np.array([5, 5, 1, 19]), range(3, 8)])
def test_samples_that_are_always_the_same(sampler: Any) -> None:
    loader = DataLoader(SET, 3, sampler=sampler)
    assert seen(loader, 0) == seen(loader, 4) == [list(sampler)[:3], list(sampler)[3:]]
    assert (len(loader), loader.images_in(1), loader.images_in(9)) == (2, 3, len(sampler))


def test_a_sample_that_comes_again_is_changed_anew() -> None:
    images = np.concatenate([images for images, _ in DataLoader(SET, 3, sampler=[5] * 9, augment=RandomShift(2))])
    assert len(np.unique(images, axis=0)) > 4


def test_a_sampler_with_a_state_is_asked_once_an_epoch() -> None:
    sampler = Shuffling()
    loader = DataLoader(SET, 8, sampler=sampler)
    orders = []
    for _ in range(4):
        images = [image for image, _ in loader]
        order = np.concatenate(images)[:, 0, 0, 0].astype(int)
        told = np.concatenate([loader.indices(loader.epoch - 1, batch) for batch in range(3)])
        np.testing.assert_array_equal(order, told)
        orders.append(order.tolist())
    assert sampler.times == 4
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert as_bytes(loader.batches(3, 1)) == as_bytes(loader.batches(3))[1:], "it is remembered"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_sampler(workers: int) -> None:
    batches = [[3, 1], [7], [0, 2, 4, 19]]
    for given in (batches, lambda _: (np.array(batch) for batch in batches), [np.array(batch) for batch in batches]):
        loader = DataLoader(SET, batch_sampler=given, workers=workers)
        assert seen(loader, 0) == seen(loader, 5) == batches
        assert loader.indices(5, 2).tolist() == [0, 2, 4, 19]
        assert [loader.images_in(count) for count in range(5)] == [0, 2, 3, 7, 7]
        assert (len(loader), loader.batch_size) == (3, 4)
    moving = DataLoader(SET, batch_sampler=lambda epoch: [[epoch] * (1 + epoch % 2), [epoch + 1]], workers=workers)
    assert seen(moving, 3) == [[3, 3], [4]]
    assert as_bytes(moving.batches(3, 1)) == as_bytes(moving.batches(3))[1:]


def trainer(sampler: Any) -> Trainer:
    model = models.create("mlp", num_classes=5, in_channels=3, image_size=8)
    images = np.pad(SET.images, ((0, 0), (0, 0), (0, 2), (0, 3)))
    loader = DataLoader([*zip(images, SET.labels, strict=True)], 8, sampler=sampler)  # type: ignore[arg-type]
    return Trainer(model, optim.SGD(model.parameters(), 0.01), loader, None)


def test_a_run_whose_sampler_has_a_state_goes_on_between_epochs_alone() -> None:
    states: list[Any] = []
    run = trainer(Shuffling())

    class Keeping(Callback):
        def on_savepoint(self, running: Trainer) -> None:
            states.append(running.state())

    run.callbacks.append(Keeping())
    run.fit(2)
    assert [values["batch"] for _, values in states[:4]] == [1, 2, 3, 0]
    run.restore(*states[5])  # here it is remembered
    other = trainer(Shuffling())
    other.restore(*states[3])
    other.fit(1)
    again = trainer(Shuffling())
    reason = (
        "epoch 1 cannot be begun at batch 1, as nobody knows which samples come there: Shuffling may give others each time; give "
        "sampler a function from the epoch to indices, or one with set_epoch"
    )
    with pytest.raises(StateError, match=f"^training cannot go on there: {reason}"):
        again.restore(*states[4])
    with pytest.raises(ArgumentError, match=f"^DataLoader: {reason}"):
        again.train_loader.batches(1, 1)
    able = trainer(of_epoch)
    able.restore(*states[4])
    able.fit(1)


def test_the_worst_images_of_an_evaluation_are_those_that_were_seen() -> None:
    run = trainer(Shuffling())
    found = evaluate(run.model, run.train_loader, worst=20)
    assert sorted(sample.index for sample in found.worst) == list(range(20))
    for sample in found.worst:
        assert sample.label == SET.labels[sample.index]


def test_a_batch_of_one_image_that_a_model_does_not_take() -> None:
    model = layers.Sequential(layers.Flatten(), layers.Linear(4, 4), layers.BatchNorm1d(4), layers.Linear(4, 3))
    images = [(np.zeros((1, 2, 2), np.float32), 0)] * 9
    loader = DataLoader(images, batch_sampler=[[0, 1], [2]])
    with pytest.raises(
        ArgumentError, match="batch_sampler gives batches of one image, which are not what the model trains on"
    ):
        Trainer(model, optim.SGD(model.parameters(), 0.01), loader, None).fit(1)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sampler": [0], "shuffle": True}, "DataLoader: sampler takes the place of shuffle; leave out one or the other"),
    ({"sampler": [0], "weights": np.ones(5)}, "DataLoader: sampler takes the place of weights"),
    ({"batch_sampler": [[0]], "batch_size": 3}, "DataLoader: batch_sampler takes the place of batch_size"),
    ({"batch_sampler": [[0]], "drop_last": True}, "DataLoader: batch_sampler takes the place of drop_last"),
    ({"batch_sampler": [[0]], "sampler": [0]}, "DataLoader: batch_sampler takes the place of sampler"),
    ({"sampler": 5}, "DataLoader: sampler must be a list of indices, a function from the epoch to them, or .* got 5"),
    ({"sampler": "012"}, "DataLoader: sampler must be a list of indices, .* got '012'"),
    ({"sampler": iter([0])}, "DataLoader: sampler must be a list of indices, .* got <list_iterator"),
    ({"sampler": lambda _: None}, r"DataLoader: sampler\(0\) must give indices, got None"),
    ({"sampler": [0, 20]}, "DataLoader: sampler gave index 20, which 20 images do not have"),
    ({"sampler": [-1]}, "DataLoader: sampler gave index -1, which 20 images do not have"),
    ({"sampler": [0.5]}, r"DataLoader: sampler must give ints, got \[0.5\]"),
    ({"sampler": [[0], [1, 2]]}, r"DataLoader: sampler must give ints, got \[\[0\], \[1, 2\]\]"),
    ({"sampler": []}, "DataLoader: 0 images that sampler gives give no batch of 64"),
    ({"batch_sampler": []}, "DataLoader: batch_sampler gives no batch"),
    ({"batch_sampler": [[0], []]}, "DataLoader: batch_sampler gave a batch without samples in epoch 0; leave it out"),
    ({"batch_sampler": [0, 1]}, "DataLoader: batch_sampler must give ints for each batch, got 0"),
    ({"num_workers": 2}, "DataLoader has no num_workers; it is workers, the number of threads"),
    ({"collate_fn": len}, "DataLoader has no collate_fn; it is collate"),
    ({"pin_memory": True}, "DataLoader has no pin_memory; leave it out: batches are moved to the model's device"),
    ({"persistent_workers": True}, "DataLoader has no persistent_workers; leave it out"),
    ({"worker_init_fn": len}, "DataLoader has no worker_init_fn; leave it out"),
    ({"batchsize": 2}, "DataLoader has no batchsize; did you mean batch_size?"),
    ({"other": 2}, "DataLoader has no other; it has dataset, batch_size, shuffle"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_arguments_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(GpucnnError, match=f"^{message}"):
        DataLoader(SET, **arguments)


def test_every_epoch_has_as_many() -> None:
    with pytest.raises(
        DataError, match="DataLoader: sampler gave 3 samples in epoch 2, and 1 in the first; give as many in every"
    ):
        list(DataLoader(SET, sampler=lambda epoch: range(epoch + 1)).batches(2))
    with pytest.raises(DataError, match="DataLoader: batch_sampler gave 3 batches in epoch 2, and 1 in the first"):
        list(DataLoader(SET, batch_sampler=lambda epoch: [[0]] * (epoch + 1)).batches(2))
