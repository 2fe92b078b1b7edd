"""The loader: what batches are made of, and that neither threads nor where one begins changes a bit of them."""

import itertools
import signal
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpucnn.backend import xp_of
from gpucnn.data import (
    ArrayDataset,
    ColorJitter,
    Compose,
    CutMix,
    DataLoader,
    Mixup,
    RandomFlip,
    RandomShift,
    Subset,
    class_weights,
)
from gpucnn.data.sampling import weighted_draws
from gpucnn.errors import ArgumentError
from tests.backends import Backend, host
from tests.data.sets import Interfering, as_bytes, loader_threads, numbered

AUGMENT = Compose(RandomShift(1), RandomFlip())
SETUPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one batch": {"batch_size": 100},
    "single images": {"batch_size": 1},
    "shuffled": {"shuffle": True, "seed": 7},
    "without the rest": {"shuffle": True, "drop_last": True},
    "augmented": {"shuffle": True, "augment": AUGMENT},
    "mixed": {"shuffle": True, "augment": AUGMENT, "mix": Mixup(0.4)},
    "with boxes": {"mix": CutMix(), "drop_last": True},
    "weighted": {"weights": np.array([1.0, 0, 3, 0.5, 2]), "augment": AUGMENT, "seed": 3},
    "all at once": {
        "dataset": Subset(numbered(80), np.arange(79, 20, -1)),
        "shuffle": True,
        "drop_last": True,
        "augment": Compose(RandomShift(2), ColorJitter(0.2)),
        "mix": CutMix(0.5),
        "weights": np.arange(5) + 1.0,
        "seed": 11,
    },
}


def loader(setup: str = "plain", **changes: Any) -> DataLoader:
    """The loader of a setup: on a data set of 53 images, in batches of 8."""
    return DataLoader(**{"dataset": numbered(), "batch_size": 8, **SETUPS[setup], **changes})


@pytest.mark.parametrize("workers", [1, 2, 4, 20])
@pytest.mark.parametrize("setup", SETUPS)
def test_workers_change_no_bit(setup: str, workers: int) -> None:
    alone, together = loader(setup), loader(setup, workers=workers)
    for _ in range(2):
        batches = as_bytes(alone)
        assert as_bytes(together) == batches
        assert len(batches) == len(alone)
    assert loader_threads() == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("setup", SETUPS)
def test_to_begin_later_is_to_skip(setup: str, workers: int) -> None:
    made = loader(setup, workers=workers)
    whole = as_bytes(made.batches(3))
    for first in {0, 1, len(made) // 2, len(made) - 1, len(made), len(made) + 1}:
        assert as_bytes(made.batches(3, first)) == whole[first:]
    assert made.epoch == 0, "the next epoch of an iteration is another matter"


@pytest.mark.parametrize("setup", SETUPS)
def test_indices_are_those_of_the_samples(setup: str) -> None:
    made = loader(setup, augment=None, mix=None)
    for epoch in range(2):
        for number, (images, labels) in enumerate(made.batches(epoch)):
            indices = made.indices(epoch, number)
            assert (made.indices(epoch)[number * made.batch_size :][: len(indices)] == indices).all()
            assert indices.dtype == np.int64
            expected = [made.dataset[int(index)] for index in indices]
            np.testing.assert_array_equal(images, [image for image, _ in expected])
            np.testing.assert_array_equal(labels, [label for _, label in expected])


def samples(made: DataLoader, epoch: int) -> list[int]:
    """Which samples an epoch has, in order, as the images themselves say."""
    return [int(image[0, 0, 0]) for images, _ in made.batches(epoch) for image in images]


@pytest.mark.parametrize("workers", [0, 3])
def test_an_epoch_has_every_sample_once_each_in_another_order(workers: int) -> None:
    made = loader("shuffled", workers=workers)
    epochs = [samples(made, epoch) for epoch in range(6)]
    assert all(sorted(order) == list(range(53)) for order in epochs)
    assert all(one != other for one, other in itertools.combinations(epochs, 2))
    assert samples(made, 4) == epochs[4], "in whatever order epochs are asked for"
    assert samples(loader("plain", workers=workers), 1) == list(range(53))


def test_the_seed_decides_the_order() -> None:
    orders = [samples(loader("shuffled", seed=seed), 0) for seed in (0, 7, 8)]
    assert all(one != other for one, other in itertools.combinations(orders, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_random_changes_are_told_seed_epoch_and_samples(workers: int) -> None:
    told: list[tuple[str, list[int], int, int]] = []

    def augment(images: np.ndarray, indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        told.append(("augment", indices.tolist(), seed, epoch))
        return images

    def mix(
        images: np.ndarray, labels: np.ndarray, indices: np.ndarray, seed: int, epoch: int, classes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        told.append(("mix", indices.tolist(), seed, epoch))
        return images, np.eye(classes, dtype=np.float32)[labels]

    made = loader("shuffled", augment=augment, mix=mix, workers=workers)
    for epoch in (0, 5):
        told.clear()
        list(made.batches(epoch))
        expected = [
            (kind, made.indices(epoch, number).tolist(), 7, epoch)
            for number in range(len(made))
            for kind in ("augment", "mix")
        ]
        assert sorted(told) == sorted(expected)


def test_an_epoch_begun_is_the_next_one_whenever_it_is_read() -> None:
    made = loader("shuffled", workers=2)
    first, second = iter(made), iter(made)
    assert as_bytes(second) == as_bytes(made.batches(1))
    assert as_bytes(first) == as_bytes(made.batches(0))


def test_two_loaders_at_a_time_keep_apart() -> None:
    pairs = list(zip(loader("mixed", workers=2), loader("weighted", workers=3), strict=True))
    assert as_bytes(one for one, _ in pairs) == as_bytes(loader("mixed"))
    assert as_bytes(other for _, other in pairs) == as_bytes(loader("weighted"))


def test_labels_of_mixed_images_are_shares() -> None:
    made = loader("mixed")
    for number, (images, labels) in enumerate(made.batches(0)):
        assert (images.dtype, labels.dtype, labels.shape) == (np.float32, np.float32, (len(images), 5))
        np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-6)
        own = made.indices(0, number) % 5
        assert (labels[np.arange(len(own)), own] > 0).all()
    in_order = loader("with boxes")
    assert as_bytes(in_order.batches(0)) != as_bytes(in_order.batches(1)), "each epoch is mixed anew"


def test_weighted_draws_come_as_often_as_they_weigh() -> None:
    weights = np.array([1.0, 0, 3, 0.5, 2])
    made = DataLoader(numbered(2000), 2000, weights=weights, seed=5)
    orders = [made.indices(epoch, 0) for epoch in range(20)]
    assert all((one != other).any() for one, other in itertools.combinations(orders, 2)), "each epoch is drawn anew"
    counts = np.bincount(np.concatenate(orders) % 5, minlength=5)
    shares = weights / weights.sum()
    spread = np.sqrt(shares * (1 - shares) / 40_000)
    assert (np.abs(counts / 40_000 - shares) <= 4 * spread).all(), counts
    assert counts[1] == 0
    often = np.bincount(np.concatenate(orders), minlength=2000)
    assert often[2::5].min() > 0, "and every sample of a class has its turn"
    assert often[2::5].max() < 100
    other_seed = DataLoader(numbered(2000), 2000, weights=weights, seed=6)
    assert (other_seed.indices(0, 0) != orders[0]).any()


def test_a_draw_on_the_edge_of_two_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.array([0, 0.25, 0.5, 0.75, 1 - 2**-53])
    monkeypatch.setattr(
        "gpucnn.data.sampling.generator", lambda *_: SimpleNamespace(random=lambda count: draws[:count])
    )
    assert weighted_draws(np.array([0.0, 1, 1, 0, 2]), 0, 0).tolist() == [1, 2, 4, 4, 4]


def test_weights_may_be_one_a_sample() -> None:
    weights = np.zeros(53)
    weights[[3, 50, 52]] = (1e308, 1.5e308, 1e308)
    found = samples(loader(weights=weights), 0)
    assert set(found) == {3, 50, 52}
    assert len(found) == 53
    per_class = np.array([1, 2, 3, 4, 5])
    of_classes, of_samples = loader(weights=per_class), loader(weights=per_class[np.arange(53) % 5])
    assert as_bytes(of_classes) == as_bytes(of_samples)


def test_a_sample_drawn_again_is_augmented_anew() -> None:
    weights = np.zeros(53)
    weights[7] = 1
    images = np.concatenate([images for images, _ in loader(weights=weights, augment=RandomShift(2))])
    assert images.shape[0] == 53
    assert len({image.tobytes() for image in images}) > 15, "of 25 shifts"


def test_class_weights() -> None:
    labels = np.array([0, 0, 0, 2, 2, 3])
    assert class_weights(labels, 5).tolist() == pytest.approx([2 / 3, 0, 1, 2, 0])
    assert class_weights(labels).tolist() == pytest.approx([2 / 3, 0, 1, 2])
    assert class_weights(labels.astype(np.uint64)).tolist() == class_weights(labels).tolist()
    unequal = ArrayDataset(np.zeros((1000, 1, 1, 1)), (np.arange(1000) >= 900).astype(np.uint8))
    made = DataLoader(unequal, 1000, weights=class_weights(unequal.labels))
    assert 440 < sum(int(labels.sum()) for _, labels in made) < 560
    for wrong in (np.array([0.5]), np.array([-1, 0]), np.array([], int), np.zeros((2, 2), int)):
        with pytest.raises(ArgumentError, match=r"labels must be integers \(N,\), one at least, from 0 on$"):
            class_weights(wrong)
    with pytest.raises(ArgumentError, match=r"labels must be integers .*from 0 on and below num_classes=3"):
        class_weights(labels, 3)
    with pytest.raises(ArgumentError, match="class_weights: num_classes must be an int >= 1, got 0"):
        class_weights(labels, 0)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"batch_size": 2.0}, "batch_size must be an int >= 1, got 2.0"),
    ({"workers": -1}, "workers must be an int >= 0, got -1"),
    ({"workers": 1.5}, "workers must be an int >= 0, got 1.5"),
    ({"workers": True}, "workers must be an int >= 0, got True"),
    ({"workers": "2"}, "workers must be an int >= 0, got '2'"),
    ({"weights": np.ones(4)}, r"weights must be one per class, \(5,\), or one per image, \(53,\), got \(4,\)"),
    ({"weights": np.ones((53, 1))}, r"got \(53, 1\)"),
    ({"weights": np.float64(1)}, r"got \(\)"),
    ({"weights": np.array(list("abcde"))}, "weights must be numbers, got an array of <U1"),
    ({"weights": np.array([1, 1, 1, 1, -1])}, "weights must be finite numbers >= 0"),
    ({"weights": np.array([1, 1, 1, 1, np.nan])}, "weights must be finite numbers >= 0"),
    ({"weights": np.array([1, 1, 1, 1, np.inf])}, "weights must be finite numbers >= 0"),
    ({"weights": np.zeros(53)}, "and above 0 for one of the images at least"),
    ({"dataset": ArrayDataset(np.zeros((2, 1, 1, 1)), np.array([0, 1]), num_classes=3), "batch_size": 1,
      "weights": np.array([0, 0, 1])}, "and above 0 for one of the images at least"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        loader(**arguments)


def test_numbers_that_are_none() -> None:
    made = loader()
    for wrong in (-1, 0.5, True, None):
        with pytest.raises(ArgumentError, match=f"epoch must be an int >= 0, got {wrong}"):
            made.batches(wrong)  # type: ignore[arg-type]  # at once, before the first batch
        with pytest.raises(ArgumentError, match=f"first must be an int >= 0, got {wrong}"):
            made.batches(0, wrong)  # type: ignore[arg-type]
        if wrong is not None:  # which asks for those of all batches
            with pytest.raises(ArgumentError, match=f"batch must be an int >= 0, got {wrong}"):
                made.indices(0, wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="batch must be below 7, the number of batches, got 7"):
        made.indices(0, 7)


@pytest.mark.parametrize("setup", SETUPS)
def test_batches_are_made_on_the_device_to_the_very_bits(gpu: Backend, setup: str) -> None:
    on_host = loader(setup)
    there = loader(setup, dataset=on_host.dataset.to("cuda"), workers=2)
    assert there.dataset.device.kind == "cuda"
    batches = []
    for batch in there:
        assert xp_of(*batch) is not np
        assert loader_threads() == [], "what a GPU does, it does by itself"
        batches.append(batch)
    exact = SETUPS[setup].get("mix") is None
    for batch, expected in zip(batches, on_host, strict=True):
        for array, own in zip(batch, expected, strict=True):
            np.testing.assert_allclose(host(array), own, rtol=0 if exact else 1e-6, atol=0 if exact else 1e-6)
            assert array.dtype == own.dtype
    on_device = class_weights(there.dataset.labels, 5)
    np.testing.assert_array_equal(on_device, class_weights(on_host.dataset.labels, 5))


# From here on: threads.


class Slow(Interfering):
    """The earlier a sample, the later it comes."""

    def before(self, indices: np.ndarray) -> None:
        time.sleep(0.03 if indices[0] % 16 == 0 else 0)


def test_slow_batches_keep_their_turn() -> None:
    assert as_bytes(loader(dataset=Slow(), workers=4)) == as_bytes(loader())


class Gated(Interfering):
    """Counts the batches that were asked for."""

    def __init__(self) -> None:
        super().__init__(400)
        self.asked = 0
        self.lock = threading.Lock()

    def before(self, indices: np.ndarray) -> None:
        with self.lock:
            self.asked += 1


def wait_for(condition: Any) -> None:
    """Return when it is true; an AssertionError if it takes long."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


def test_workers_run_ahead_but_not_away() -> None:
    dataset = Gated()
    made = DataLoader(dataset, 8, workers=3)
    batches = made.batches(0)
    time.sleep(0.02)
    assert dataset.asked == 0, "nothing is made before the first is asked for"
    next(batches)
    wait_for(lambda: dataset.asked == 6)
    time.sleep(0.05)
    assert dataset.asked == 6, "two a worker"
    next(batches)
    wait_for(lambda: dataset.asked == 7)
    del batches
    assert loader_threads() == []


def test_the_consumer_alone_holds_a_batch() -> None:
    own = np.ones(1)
    for workers in (0, 2):
        images = next(batches := loader(workers=workers).batches(0))[0]
        assert sys.getrefcount(images) == sys.getrefcount(own), workers
        del batches


def test_waiting_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("gpucnn.data.loader.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    class Sleepy(Interfering):
        def before(self, indices: np.ndarray) -> None:
            clock[0] += 2

    made = DataLoader(Sleepy(40), 8)
    for number, _ in enumerate(made, 1):
        assert made.waited == 2 * number
        clock[0] += 100  # the consumer's own time
    assert made.waited == 10
    assert len(list(made.batches(0, 4))) == 1
    assert made.waited == 2, "each iteration counts for itself"


class Broken(Interfering):
    """Fails at sample 37."""

    def before(self, indices: np.ndarray) -> None:
        if 37 in indices:
            raise OSError("image 37 is gone")


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_what_a_worker_raises_reaches_the_consumer(workers: int) -> None:
    made = loader(dataset=Broken(), workers=workers)
    batches = made.batches(2)
    assert as_bytes(itertools.islice(batches, 4)) == as_bytes(itertools.islice(loader(), 4)), "all that comes before it"
    with pytest.raises(OSError, match="^image 37 is gone\\n") as raised:
        next(batches)
    assert [entry.name for entry in raised.traceback][-1] == "before", "it says where"
    assert raised.value.__notes__ == ["in batch 4 of epoch 2, samples 32, 33, 34, 35, 36, 37, 38, 39 of the data set"]
    assert loader_threads() == []


def test_a_long_note_is_cut() -> None:
    with pytest.raises(OSError, match="gone") as raised:
        list(loader(dataset=Broken(), batch_size=53, workers=1))
    named = ", ".join(map(str, range(16)))
    assert raised.value.__notes__ == [f"in batch 0 of epoch 0, samples {named} and 37 more of the data set"]


@pytest.mark.parametrize("hook", ["augment", "mix"])
@pytest.mark.parametrize("workers", [0, 2])
def test_augmentations_may_fail_too(hook: str, workers: int) -> None:
    def fail(*arguments: Any) -> Any:
        raise ArgumentError("no such change")

    with pytest.raises(ArgumentError, match="no such change") as raised:
        list(loader("shuffled", workers=workers, **{hook: fail}))
    samples_text = ", ".join(map(str, loader("shuffled").indices(0, 0)))
    assert raised.value.__notes__ == [f"in batch 0 of epoch 0, samples {samples_text} of the data set"]
    assert loader_threads() == []


def break_off(made: DataLoader) -> None:
    for _ in made:
        assert loader_threads()
        break


def drop(made: DataLoader) -> None:
    batches = made.batches(0)
    next(batches)
    assert loader_threads()
    del batches


def close(made: DataLoader) -> None:
    batches = made.batches(0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(batches)


def consume_and_raise(made: DataLoader, error: BaseException) -> None:
    for _ in made:
        raise error


def fail(made: DataLoader) -> None:
    with pytest.raises(ZeroDivisionError):
        consume_and_raise(made, ZeroDivisionError())


def interrupt(made: DataLoader) -> None:
    with pytest.raises(KeyboardInterrupt):
        consume_and_raise(made, KeyboardInterrupt())


def never_begin(made: DataLoader) -> None:
    made.batches(0)


@pytest.mark.parametrize("end", [break_off, drop, close, fail, interrupt, never_begin])
def test_no_thread_outlives_its_iterator(end: Any) -> None:
    for workers in (1, 4):
        end(loader(dataset=Slow(), workers=workers))
        assert loader_threads() == []


def test_ctrl_c_while_waiting_ends_all_threads() -> None:
    """The interrupt comes where the consumer waits, inside the loader."""
    waiting, release, main = threading.Event(), threading.Event(), threading.get_ident()

    class Stuck(Interfering):
        def before(self, indices: np.ndarray) -> None:
            if indices[0] == 16:
                release.wait(60)

    def press_ctrl_c() -> None:
        waiting.wait(60)
        time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.05)
        release.set()

    def wait_for_the_third() -> None:
        waiting.set()
        next(batches)

    batches = loader(dataset=Stuck(), workers=2).batches(0)
    assert len(list(itertools.islice(batches, 2))) == 2
    helper = threading.Thread(target=press_ctrl_c)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        wait_for_the_third()
    helper.join()
    assert loader_threads() == []


def test_a_batch_is_made_in_the_context_of_its_consumer() -> None:
    class Dividing(Interfering):
        def before(self, indices: np.ndarray) -> None:
            assert (np.ones(1) / np.zeros(1) > 0).all()

    with np.errstate(divide="ignore"):
        assert len(list(loader(dataset=Dividing(), workers=2))) == 7


def test_an_iterator_that_is_collected_by_its_own_thread() -> None:
    """A garbage collection may run anywhere, also in a worker of the iterator that it finds; which cannot await itself."""
    cycle: list[Any] = []
    closed = threading.Event()

    class Closing(Interfering):
        def before(self, indices: np.ndarray) -> None:
            if indices[0] == 8:
                wait_for(lambda: bool(cycle))
                cycle.pop().close()
                closed.set()

    batches = loader(dataset=Closing(), workers=1).batches(0)
    next(batches)
    cycle.append(batches)
    del batches
    assert closed.wait(60)
    wait_for(lambda: loader_threads() == [])
