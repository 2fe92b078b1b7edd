"""Digits, array data sets, preprocessing, augmentation and the loader."""

from pathlib import Path

import numpy as np
import pytest

from gpucnn import data
from gpucnn.data import ArrayDataset, Compose, DataLoader, Preprocess, RandomFlip, RandomShift
from gpucnn.data.digits import read_digits
from gpucnn.errors import ArgumentError, DataError


def test_the_digits_are_split_once_and_for_all() -> None:
    train_images, train_labels, test_images, test_labels = read_digits()
    assert (train_images.shape, test_images.shape) == ((1437, 1, 8, 8), (360, 1, 8, 8))
    assert train_images.max() == 16
    assert np.bincount(test_labels).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    together = np.bincount(train_labels) + np.bincount(test_labels)
    assert together.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert sum(map(int, test_images.ravel()[:5000])) == 23978, "the split must never change"


def test_digits_at_32_pixels(digits: data.Splits) -> None:
    images, labels = digits.train[np.arange(10)]
    assert images.shape == (10, 1, 32, 32)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert 0 <= images.min() <= images.max() <= 1
    raw = digits.train.images[:10].astype(np.float64) / 16
    blocks = images.reshape(10, 1, 8, 4, 8, 4).mean((3, 5))
    assert np.corrcoef(blocks.ravel(), raw.ravel())[0, 1] > 0.95


def test_bilinear_resizing_of_a_ramp_and_a_constant() -> None:
    preprocess = Preprocess(1, 4, 8, 100, "resize")
    ramp = np.broadcast_to(np.array([0, 20, 40, 60], np.uint8), (1, 1, 4, 4))
    line = [0.0, 0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.6]
    np.testing.assert_allclose(preprocess(ramp)[0, 0], np.tile(line, (8, 1)), atol=1e-6)
    np.testing.assert_allclose(preprocess(ramp.swapaxes(2, 3))[0, 0], np.tile(line, (8, 1)).T, atol=1e-6)
    np.testing.assert_allclose(preprocess(np.full((2, 1, 4, 4), 50, np.uint8)), 0.5)


def test_padding_puts_the_image_in_the_middle() -> None:
    padded = Preprocess(3, 2, 5, 255, "pad")(np.full((1, 3, 2, 2), 255, np.uint8))
    assert padded.shape == (1, 3, 5, 5)
    np.testing.assert_array_equal(padded[0, 0], np.pad(np.ones((2, 2)), ((1, 2), (1, 2))))


def test_a_folder_whose_name_is_misspelt_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="folder of images; there is no folder photo here, but photos$"):
        data.load("photo")


def test_preprocess_refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match=r"expected raw images \(N, 1, 8, 8\), got \(2, 3, 8, 8\)"):
        Preprocess(1, 8, 32, 16, "resize")(np.zeros((2, 3, 8, 8)))
    with pytest.raises(ArgumentError, match="images of 28x28 cannot be fitted into 20x20"):
        Preprocess(1, 28, 20, 255, "pad")
    with pytest.raises(ArgumentError, match='fit must be "pad", "resize" or "crop", got \'cut\''):
        Preprocess(1, 28, 32, 255, "cut")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match='fit="crop" makes raw images of the image size, got native_size=28 and'):
        Preprocess(1, 28, 32, 255, "crop")
    with pytest.raises(ArgumentError, match="full_scale must be at most 255, as raw images are bytes, got 65535"):
        Preprocess(1, 28, 32, 65535, "pad")
    with pytest.raises(ArgumentError, match="image_size must be an int >= 1, got '32'"):
        data.load("digits", image_size="32")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="unknown data set 'coco', expected one of digits, mnist"):
        data.load("coco")
    with pytest.raises(ArgumentError, match="cannot be fitted into 4x4"):
        data.load("digits", image_size=4)


def dataset(count: int = 10) -> ArrayDataset:
    return ArrayDataset(np.arange(count).reshape(count, 1, 1, 1), np.arange(count))


def test_array_dataset_indexing() -> None:
    images, labels = dataset()[np.array([3, 1])]
    assert labels.tolist() == [3, 1]
    assert images.ravel().tolist() == [3, 1]
    image, label = dataset()[4]
    assert image.shape == (1, 1, 1)
    assert label == 4
    assert len(dataset()[2:5][1]) == 3


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (np.zeros((3, 4, 4)), np.zeros(3, int), None, r"grey images need a channel axis: images\[:, None\]"),
        (np.zeros((3, 1, 4, 4)), np.zeros(2, int), None, r"got \(3, 1, 4, 4\) and \(2,\)"),
        (np.zeros((3, 1, 4, 4)), np.zeros(3), None, "labels must be integers, got float64"),
        (np.zeros((2, 1, 4, 4)), np.array([0, 10]), 10, "labels must be from 0 to 9, got 0 to 10"),
        (np.zeros((2, 1, 4, 4)), np.array([-1, 1]), 10, "labels must be from 0 to 9, got -1 to 1"),
    ],
)
def test_array_dataset_refuses(images: np.ndarray, labels: np.ndarray, classes: int | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ArrayDataset(images, labels, num_classes=classes)


def epoch(loader: DataLoader) -> list[list[int]]:
    return [labels.tolist() for _, labels in loader]


def test_a_function_of_one_s_own_prepares_images() -> None:
    given = ArrayDataset(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), np.arange(4), lambda images: images / 10)
    assert given[2][0].item() == 0.2
    for indices in ([3, 1], slice(1, 3), np.array([True, False, True, False])):
        images, labels = given[indices]
        np.testing.assert_array_equal(images[:, 0, 0, 0], labels / 10)
        np.testing.assert_array_equal(labels, np.arange(4)[indices])


def test_batches_keep_the_rest_unless_told() -> None:
    assert epoch(DataLoader(dataset(), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert epoch(DataLoader(dataset(), 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    lengths = [len(DataLoader(dataset(), size, drop_last=drop)) for size in (4, 5, 10) for drop in (False, True)]
    assert lengths == [3, 2, 2, 2, 1, 1]


def test_shuffling_is_a_function_of_seed_and_epoch() -> None:
    loader = DataLoader(dataset(), 4, shuffle=True, seed=3)
    epochs = [epoch(loader) for _ in range(3)]
    assert all(sorted(sum(batches, [])) == list(range(10)) for batches in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    resumed = DataLoader(dataset(), 4, shuffle=True, seed=3)
    resumed.epoch = 2
    assert epoch(resumed) == epochs[2]
    assert sum(epoch(DataLoader(dataset(), 10, shuffle=True, seed=4)), []) != sum(epochs[0], [])
    assert sum(epoch(DataLoader(dataset(), 3, shuffle=True, seed=3)), []) == sum(epochs[0], []), (
        "batch size is no matter"
    )


def test_an_epoch_broken_off_is_over() -> None:
    loader = DataLoader(dataset(), 4, shuffle=True)
    next(iter(loader))
    assert loader.epoch == 1


def test_loader_refuses() -> None:
    with pytest.raises(ArgumentError, match="batch_size must be an int >= 1, got 0"):
        DataLoader(dataset(), 0)
    with pytest.raises(ArgumentError, match="0 images give no batch of 64; add images or lower batch_size"):
        DataLoader(dataset(0))
    with pytest.raises(ArgumentError, match="10 images give no batch of 20"):
        DataLoader(dataset(), 20, drop_last=True)


def test_a_shift_is_drawn_for_its_sample_alone() -> None:
    images = np.random.default_rng(0).uniform(0.1, 1, (6, 2, 8, 8)).astype(np.float32)
    shift = RandomShift(2)
    together = shift(images, np.arange(6), 1, 5)
    for index in range(6):
        alone = shift(images[index : index + 1], np.array([index]), 1, 5)
        np.testing.assert_array_equal(alone[0], together[index])
    assert (shift(images, np.arange(6), 1, 6) != together).any()
    assert (shift(images, np.arange(6), 2, 5) != together).any()


def test_shifts_move_by_all_amounts_and_fill_with_zero() -> None:
    image = np.zeros((1, 1, 9, 9), np.float32)
    image[0, 0, 4, 4] = 1
    shift = RandomShift(2)
    found = set()
    for index in range(400):
        moved = shift(image, np.array([index]), 0, 0)
        assert moved.sum() == 1
        assert moved.shape == image.shape
        found.add(tuple(int(place) - 4 for place in np.argwhere(moved[0, 0])[0]))
    assert found == {(row, column) for row in range(-2, 3) for column in range(-2, 3)}
    assert image[0, 0, 4, 4] == 1
    corner = np.ones((1, 1, 3, 3), np.float32)
    assert {float(shift(corner, np.array([i]), 0, 0).sum()) for i in range(100)} == {1.0, 2.0, 3.0, 4.0, 6.0, 9.0}
    np.testing.assert_array_equal(RandomShift(0)(corner, np.array([0]), 0, 0), corner)
    with pytest.raises(ArgumentError, match="max_shift must be an int >= 0, got -1"):
        RandomShift(-1)


def test_a_flip_mirrors_half_of_the_samples_each_by_itself() -> None:
    images = np.random.default_rng(0).standard_normal((200, 2, 3, 4)).astype(np.float32)
    flip, indices = RandomFlip(), np.arange(200)
    before = images.copy()
    flipped = flip(images, indices, 1, 0)
    np.testing.assert_array_equal(images, before)
    mirrored = [np.array_equal(new, old[:, :, ::-1]) for new, old in zip(flipped, images, strict=True)]
    kept = [np.array_equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert [a != b for a, b in zip(mirrored, kept, strict=True)] == [True] * 200
    assert 70 < sum(mirrored) < 130
    np.testing.assert_array_equal(flip(images[50:60], indices[50:60], 1, 0), flipped[50:60])
    assert (flip(images, indices, 1, 1) != flipped).any()
    assert (flip(images, indices, 2, 0) != flipped).any()
    np.testing.assert_array_equal(RandomFlip(0)(images, indices, 0, 0), images)
    np.testing.assert_array_equal(RandomFlip(1)(images, indices, 0, 0), images[:, :, :, ::-1])
    for wrong, message in ((1.5, "must be at most 1, got 1.5"), (-1, "must be a number >= 0, got -1")):
        with pytest.raises(ArgumentError, match=f"p, the probability of a flip, {message}"):
            RandomFlip(wrong)


def test_composed_augmentations_are_made_in_turn() -> None:
    images = np.random.default_rng(0).standard_normal((20, 1, 5, 5)).astype(np.float32)
    arguments = (np.arange(20), 3, 1)
    flip, shift = RandomFlip(), RandomShift(2)
    both = Compose(flip, shift)(images, *arguments)
    np.testing.assert_array_equal(both, shift(flip(images, *arguments), *arguments))
    assert (both != Compose(shift, flip)(images, *arguments)).any()


def test_the_loader_augments_by_epoch_and_sample(digits: data.Splits) -> None:
    def batches(size: int) -> np.ndarray:
        loader = DataLoader(digits.train, size, seed=1, augment=RandomShift(3))
        return np.concatenate([images for images, _ in loader][: 60 // size])

    np.testing.assert_array_equal(batches(30), batches(10))
    assert (batches(30) != digits.train[np.arange(60)][0]).any()


def test_a_folder_named_data_is_the_default(in_tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no train-images-idx3-ubyte.* in data/mnist; put the four files"):
        data.load("mnist")


class Negative(Preprocess):
    """Dark for bright."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return 1 - super().__call__(images)


def small(preprocess: Preprocess) -> ArrayDataset:
    raw = np.arange(5 * 16, dtype=np.uint8).reshape(5, 1, 4, 4)
    return ArrayDataset(raw, np.arange(5) % 3, preprocess)


@pytest.mark.parametrize("size", [4, 6])
def test_whatever_chooses_images_gives_the_same(size: int) -> None:
    dataset = small(Preprocess(1, 4, size, 255, "pad"))
    every, labels = dataset[np.arange(5)]
    for index in (range(5), ..., slice(None), np.ones(5, bool), [0, 1, 2, 3, 4]):
        images, found = dataset[index]  # type: ignore[index]
        np.testing.assert_array_equal(images, every)
        found[:] = 7
        np.testing.assert_array_equal(dataset.labels, labels)
    for index in (np.array(3), np.array([[0, 1], [2, 3]])):
        with pytest.raises(DataError, match=r"expected raw images \(N, 1, 4, 4\)"):
            dataset[index]


def test_a_preprocess_of_ones_own_is_asked_whatever_chooses() -> None:
    dataset = small(Negative(1, 4, 4, 255, "pad"))
    every, _ = dataset[:]
    assert every[0, 0, 0, 0] == 1
    np.testing.assert_array_equal(dataset[np.arange(5)][0], every)
    np.testing.assert_array_equal(dataset[2][0], every[2])
