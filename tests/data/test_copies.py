"""Data sets and loaders can be copied, and sent to other processes, whatever threads, locks and caches they hold."""

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import data
from gpucnn.data import ArrayDataset, DataLoader, Dataset, ImageFolder, split
from gpucnn.data.image_folder import paths_of
from tests.data.image_files import write_two_classes

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


def images(tmp_path: Path) -> ImageFolder:
    return ImageFolder(write_two_classes(tmp_path / "images", 5, 8), 8, cache_bytes=6 * 192)


MAKE: dict[str, Callable[[Path], Dataset]] = {
    "ImageFolder": images,
    "ImageFolder on a device": lambda tmp_path: images(tmp_path).to("cpu"),
    "part": lambda tmp_path: split(images(tmp_path), 0.8)[1],
    "part of a part": lambda tmp_path: split(split(images(tmp_path), 0.8)[0], 0.5)[0],
    "arrays": lambda tmp_path: ArrayDataset(
        np.arange(10 * 64, dtype=np.uint8).reshape(10, 1, 8, 8), np.arange(10) % 2, data.Preprocess(1, 8, 8, 255, "pad")
    ),
    "digits": lambda tmp_path: data.load("digits").test,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", MAKE)
def test_data_sets(name: str, how: str, tmp_path: Path) -> None:
    dataset = MAKE[name](tmp_path)
    expected = dataset[np.arange(len(dataset))]
    again = COPIES[how](dataset)
    assert (type(again), len(again), again.num_classes, again.device) == (
        type(dataset), len(dataset), dataset.num_classes, dataset.device,
    )  # fmt: skip
    assert paths_of(again) == paths_of(dataset)
    for found, wanted in zip(again[np.arange(len(dataset))], expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("how", COPIES)
def test_loaders_go_on_where_they_were(how: str, tmp_path: Path) -> None:
    loader = DataLoader(
        images(tmp_path), 3, shuffle=True, seed=5, augment=data.RandomShift(2), mix=data.Mixup(0.3), workers=2,
        weights=np.array([1.0, 2.0]),
    )  # fmt: skip
    list(loader)
    again = COPIES[how](loader)
    assert (again.epoch, again.workers) == (1, 2)
    for found, wanted in zip(again, loader, strict=True):
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])


def test_splits(tmp_path: Path) -> None:
    write_two_classes(tmp_path, 5, 8)
    splits = data.load("folder", tmp_path, 8)
    again = pickle.loads(pickle.dumps(splits))
    for name in ("class_names", "preprocess", "notes", "validation"):
        assert getattr(again, name) == getattr(splits, name)
    np.testing.assert_array_equal(again.test[:][0], splits.test[:][0])


def test_a_pickle_has_no_images_and_a_copy_the_same(tmp_path: Path) -> None:
    folder = ImageFolder(write_two_classes(tmp_path, 2, 256), 256)
    empty = len(pickle.dumps(folder))
    folder[:]
    assert len(pickle.dumps(folder)) == empty < 5000
    assert copy.copy(folder)._decoded is folder._decoded
    assert copy.deepcopy(folder)._decoded is not folder._decoded
    other = pickle.loads(pickle.dumps(folder))
    assert other._decoded.pixels.shape == folder._decoded.pixels.shape
    (tmp_path / "dark" / "000.png").unlink()
    assert folder[0][0].shape == (3, 256, 256), "it is kept"
    with pytest.raises(ValueError, match="no such image file"):
        other[0]


def test_a_copy_is_made_while_threads_read(tmp_path: Path) -> None:
    folder = images(tmp_path)
    expected = ImageFolder(folder.folder, 8)[:][0]

    def read(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(10)
        reader = pickle.loads(pickle.dumps(folder)) if seed % 2 else folder
        for _ in range(5):
            np.testing.assert_array_equal(copy.deepcopy(reader)[order][0], expected[order])
            np.testing.assert_array_equal(reader[order][0], expected[order])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(8)))


def total(dataset: Dataset) -> float:
    return float(dataset[np.arange(len(dataset))][0].sum())


def test_another_process_reads_the_same(tmp_path: Path) -> None:
    folder = images(tmp_path)
    part = split(folder, 0.8)[0]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(total, part).result(60) == total(part)
