"""Data sets of one's own: what gives one (image, label) an index, and what is said where something lacks."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, models, optim
from gpucnn.backend import xp_of
from gpucnn.data import ArrayDataset, DataLoader, Dataset, ItemDataset, Mixup, RandomShift, Subset, split
from gpucnn.errors import ArgumentError, DataError, GpucnnError
from gpucnn.training import Callback, Trainer
from tests.backends import Backend, host
from tests.data.sets import as_bytes, loader_threads, numbered

ARRAYS = numbered(30)


class Plain:
    """Samples one at a time, counted."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Any:
        assert type(index) is int
        self.asked += 1
        return ARRAYS.images[index], ARRAYS.labels[index]


class Mine(Dataset):
    """The same, derived from what the type is called."""

    def __init__(self) -> None:
        self.labels = ARRAYS.labels.tolist()  # type: ignore[misc,assignment]

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: Any) -> Any:
        return Tensor(ARRAYS.images[index]), np.array(ARRAYS.labels[index])


def pairs() -> list[Any]:
    return [[ARRAYS.images[index].tolist(), int(ARRAYS.labels[index])] for index in range(30)]


OWN: dict[str, Any] = {"a class": Plain, "a subclass": Mine, "a list": pairs}


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_an_array_data_set(kind: str, workers: int) -> None:
    settings: dict[str, Any] = {"shuffle": True, "seed": 3, "augment": RandomShift(2), "mix": Mixup(0.3)}
    own, other = DataLoader(OWN[kind](), 8, workers=workers, **settings), DataLoader(ARRAYS, 8, **settings)
    for _ in range(2):
        assert as_bytes(own) == as_bytes(other)
    assert as_bytes(own.batches(1, 2)) == as_bytes(other.batches(1, 2))
    weighted = {"weights": np.arange(5) + 1.0}
    assert as_bytes(DataLoader(OWN[kind](), 8, **weighted)) == as_bytes(DataLoader(ARRAYS, 8, **weighted))
    assert loader_threads() == []


@pytest.mark.parametrize("kind", OWN)
def test_parts_of_them(kind: str) -> None:
    own = OWN[kind]()
    for ours, theirs in zip(split(own, 0.7, 5), split(ARRAYS, 0.7, 5), strict=True):
        assert ours.indices.tolist() == theirs.indices.tolist()
        assert ours.labels.tolist() == theirs.labels.tolist()
        assert as_bytes(DataLoader(ours, 4)) == as_bytes(DataLoader(theirs, 4))
    part = Subset(own, np.array([3, -1]))
    assert (len(part), part.num_classes, part[1][1]) == (2, 5, 4)
    np.testing.assert_array_equal(part[:][0], ARRAYS.images[[3, 29]])
    assert data.channel_statistics(own) == data.channel_statistics(ARRAYS)
    whole = ItemDataset(own)
    for indices in (np.array([4, 4, 0]), [1, 2], slice(3, 9), np.arange(30) % 7 == 0, np.zeros(0, int)):
        images, labels = whole[indices]
        np.testing.assert_array_equal(labels, ARRAYS.labels[indices])
        if len(labels):
            np.testing.assert_array_equal(images, ARRAYS.images[indices], strict=True)
    with pytest.raises(IndexError):
        whole[30]


def test_nothing_is_asked_for_before_it_is_needed_and_labels_once() -> None:
    own = Plain()
    loader, part = DataLoader(own, 8), Subset(own, [1, 2])
    assert (len(loader), len(part), own.asked) == (4, 2, 0)
    next(iter(loader))
    assert own.asked == 8
    dataset = loader.dataset
    assert (dataset.num_classes, dataset.labels.tolist()) == (5, ARRAYS.labels.tolist())
    assert (dataset.num_classes, len(dataset.labels), own.asked) == (5, 30, 38)
    given = ItemDataset(own, num_classes=9)
    assert (given.num_classes, own.asked) == (9, 38)

    class Known(Plain):
        num_classes = 7

    assert DataLoader(Known()).dataset.num_classes == 7


def test_training_on_one_goes_on_to_the_bit() -> None:
    def trainer() -> Trainer:
        model = models.create("mlp", num_classes=5, in_channels=3, image_size=6, seed=1)
        order = lambda epoch: np.random.default_rng(epoch).permutation(28)  # noqa: E731
        own = [(np.pad(image, ((0, 0), (0, 0), (0, 1))), label) for image, label in pairs()]
        return Trainer(
            model, optim.SGD(model.parameters(), 0.01), DataLoader(own, 8, sampler=order), DataLoader(own, 16)
        )

    whole = trainer()
    states: list[Any] = []

    class Keeping(Callback):
        def on_savepoint(self, running: Trainer) -> None:
            states.append(copy.deepcopy(running.state()))

    whole.callbacks.append(Keeping())
    whole.fit(2)
    for kept in (states[1], states[5]):
        again = trainer()
        again.restore(*kept)
        again.fit(2 - again.epoch)
        assert again.history == whole.history
        for name, array in again.model.state_dict().items():
            np.testing.assert_array_equal(array, whole.model.state_dict()[name])


def test_they_move_copy_and_pickle(gpu: Backend) -> None:
    here = ItemDataset(Plain())
    assert isinstance(here.labels, np.ndarray)
    there = here.to("cuda")
    assert xp_of(there.labels) is not np
    images, labels = next(iter(DataLoader(there, 8, workers=2)))
    np.testing.assert_array_equal(host(images), ARRAYS.images[:8])
    assert host(labels).tolist() == host(there.labels)[:8].tolist() == ARRAYS.labels[:8].tolist()
    assert str(there.device).startswith("cuda")


def test_copies() -> None:
    own = ItemDataset(pairs())
    for again in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert again.labels.tolist() == own.labels.tolist()


class NoLength:
    def __getitem__(self, index: int) -> None: ...


class NoItems(Dataset):
    def __len__(self) -> int:
        return 3


def of(image: Any, label: Any) -> Any:
    """Three samples, of which the second is this."""
    good = (np.zeros((1, 2, 2), np.float32), 0)
    return type("Mine", (list,), {})([good, (image, label), good])


IMAGE = np.zeros((1, 2, 2), np.float32)
WRONG: list[tuple[Any, str]] = [
    (
        NoLength(),
        r"DataLoader: NoLength has no __len__; a data set needs __len__ and __getitem__\(i\) -> \(image, label\)",
    ),
    (
        NoItems(),
        r"DataLoader: NoItems has no __getitem__; a data set needs __len__ and __getitem__\(i\) -> \(image, label\)",
    ),
    (5, "DataLoader: expected a data set, .* got 5, which has no __len__, __getitem__, labels, num_classes, device"),
    ({0: 1}, "DataLoader: expected a data set, .* which has no labels, num_classes, device"),
    ("ab", "DataLoader: expected a data set, .* got 'ab', which has no"),
    (IMAGE, r"DataLoader: expected a data set, .* got an array \(1, 2, 2\) of float32, which has no labels"),
    ([IMAGE], r"DataLoader: expected a data set, .* of which the first is no \(image, label\)"),
    ([], "DataLoader: 0 images give no batch of 2"),
    (
        of(IMAGE[0], 0),
        r"Mine\[1\]: expected an image \(C, H, W\), got \(2, 2\); grey images need a channel axis: image\[None\]",
    ),
    (
        of(IMAGE[:, 1:], 0),
        r"Mine\[1\]: an image \(1, 1, 2\) in one batch with one \(1, 2, 2\); bring them to one size, or",
    ),
    (of("a.png", 0), r"Mine\[1\]: expected numbers, got str .*; an image is an array \(C, H, W\)"),
    (of(IMAGE, 0.5), r"Mine\[1\]: a label must be an int, got 0.5; or give the loader collate"),
    (of(IMAGE, [0, 1]), r"Mine\[1\]: a label must be an int, got \[0, 1\]; or give the loader collate"),
    (of(IMAGE, None), r"Mine\[1\]: a label must be an int, got None"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[message[:50] for _, message in WRONG])
def test_what_is_wrong_is_said(wrong: Any, message: str) -> None:
    with pytest.raises(GpucnnError, match=f"^{message}"):
        list(DataLoader(wrong, 2))


def test_what_lacks_labels() -> None:
    class Mine(Plain):
        def __getitem__(self, index: int) -> Any:
            return IMAGE

    missing = r"^Mine has no labels; define labels, or give num_classes=... \(data.ItemDataset\(..., num_classes=10\)\): Mine\[0\] is an"
    for ask in (lambda: split(Mine(), 0.5), lambda: DataLoader(Mine(), weights=np.ones(3))):
        with pytest.raises(DataError, match=missing):
            ask()
    with pytest.raises(
        DataError, match=r"Mine\[0\] is an array \(1, 2, 2\) of float32; expected \(image, label\), or give the"
    ):
        next(iter(DataLoader(Mine())))
    own = Plain()
    for labels, text in (([0, 1], r"labels must be integers \(30,\), got an array \(2,\) of int64"),
                         ([[0]] * 30, r"labels must be integers \(30,\), got an array \(30, 1\) of int64; they are a column: take labels\[:, 0\]"),
                         ([-1] * 30, "labels must be from 0 on, got -1")):  # fmt: skip
        own.labels = labels  # type: ignore[attr-defined]
        with pytest.raises(DataError, match=f"^Plain: {text}"):
            split(own, 0.5)
    with pytest.raises(ArgumentError, match="ItemDataset: num_classes must be an int >= 1, got 0"):
        ItemDataset(pairs(), 0)


def collated(samples: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Images of any height brought to 6 rows, soft labels."""
    images = np.stack([np.pad(image, ((0, 0), (0, 6 - image.shape[1]), (0, 0))) for image, _ in samples])
    return images, np.eye(5, dtype=np.float32)[[int(label) for _, label in samples]]


@pytest.mark.parametrize("workers", [0, 2])
def test_collate_makes_a_batch_of_samples(workers: int) -> None:
    uneven = [(ARRAYS.images[index][:, : 3 + index % 4], int(ARRAYS.labels[index])) for index in range(30)]
    batches = list(DataLoader(uneven, 8, collate=collated, workers=workers))
    assert [images.shape for images, _ in batches] == [(8, 3, 6, 5)] * 3 + [(6, 3, 6, 5)]
    np.testing.assert_array_equal(np.concatenate([soft for _, soft in batches]).argmax(1), ARRAYS.labels)
    whole = DataLoader(
        ARRAYS, 8, collate=lambda samples: [Tensor(np.stack([image for image, _ in samples])), [0] * len(samples)]
    )
    np.testing.assert_array_equal(next(iter(whole))[0], ARRAYS.images[:8])
    augmented = DataLoader(ARRAYS, 30, collate=collated, augment=RandomShift(2))
    np.testing.assert_array_equal(next(iter(augmented))[0], RandomShift(2)(ARRAYS.images, np.arange(30), 0, 0))


def test_collate_that_makes_no_batch() -> None:
    for wrong, text in (
        (lambda samples: samples[0][0], "got an array"),
        (lambda samples: (1, 2, 3), r"got \(1, 2, 3\)"),
    ):
        with pytest.raises(DataError, match=rf"DataLoader: collate must give \(images, labels\), {text}"):
            next(iter(DataLoader(ARRAYS, 2, collate=wrong)))
    with pytest.raises(ArgumentError, match="DataLoader: collate must be a function from a list of samples to"):
        DataLoader(ARRAYS, 2, collate=3)  # type: ignore[arg-type]
    assert isinstance(ARRAYS, ArrayDataset)
