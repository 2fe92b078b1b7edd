"""Orders that read from a few files at a time."""

from pathlib import Path

import numpy as np
import pytest

from gpucnn import data
from gpucnn.data.window_shuffle import WindowShuffle, file_of_each
from gpucnn.errors import ArgumentError
from tests.data.image_files import write_two_classes
from tests.data.tar_files import write_tars


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 50])
def test_it_is_a_permutation_of_windows_of_files(at_once: int) -> None:
    file_of = np.random.default_rng(0).integers(0, 7, 100)
    order = WindowShuffle(at_once).order(file_of, 5, 2)
    assert sorted(order.tolist()) == list(range(100))
    files, seen = file_of[order], []
    while len(files):  # the files of a window, which come nowhere else
        window: list[int] = []
        for number in files:
            if number not in window:
                window.append(int(number))
            if len(window) > at_once:
                window.pop()
                break
        count = int(np.isin(file_of, window).sum())
        assert set(files[:count]) == set(window)
        seen += window
        files = files[count:]
    assert sorted(seen) == sorted(set(file_of.tolist()))


def test_it_is_a_function_of_seed_and_epoch() -> None:
    file_of = np.repeat(np.arange(6), 5)
    orders = {
        (seed, epoch): WindowShuffle(2).order(file_of, seed, epoch).tobytes() for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert orders[0, 1] == WindowShuffle(2).order(file_of, 0, 1).tobytes()
    assert len(WindowShuffle(2).order(file_of[:0], 0, 0)) == 0
    first_files = {frozenset(file_of[WindowShuffle(2).order(file_of, 0, epoch)[:10]].tolist()) for epoch in range(20)}
    assert len(first_files) > 5


def test_all_of_a_window_are_mixed() -> None:
    """In a window of all files, every place gets every sample about as often: chi square of 24 x 24 counts."""
    file_of, counts = np.repeat(np.arange(4), 6), np.zeros((24, 24))
    for epoch in range(600):
        counts[np.arange(24), WindowShuffle(4).order(file_of, 0, epoch)] += 1
    assert ((counts - 25) ** 2 / 25).sum() < 23 * 23 + 4 * np.sqrt(2 * 23 * 23)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_takes_it_and_begins_anywhere(workers: int, tmp_path: Path) -> None:
    tars = write_tars(tmp_path / "tars", write_two_classes(tmp_path / "photos", 8, 6), 4)
    train = data.load(tars, image_size=6).train
    loader = data.DataLoader(train, 3, shuffle=WindowShuffle(2), seed=1, workers=workers)
    assert "shuffle=WindowShuffle(2)" in repr(loader)
    expected = WindowShuffle(2).order(file_of_each(train), 1, 4)
    assert loader.indices(4).tolist() == expected.tolist()
    whole = [images.tobytes() for images, _ in loader.batches(4)]
    for first in range(len(whole)):
        assert [images.tobytes() for images, _ in loader.batches(4, first)] == whole[first:]


def test_what_is_refused(tmp_path: Path) -> None:
    for files in (0, -1, True, 1.5, "2"):
        with pytest.raises(ArgumentError, match="WindowShuffle: files must be an int >= 1, got"):
            WindowShuffle(files)  # type: ignore[arg-type]
    photos = data.ImageFolder(write_two_classes(tmp_path / "photos", 2, 6), 6)
    for images, message in (
        (photos, f"each image in {photos.folder} has a file of its own; leave it out, or write them into tars: gpucnn data pack {photos.folder} --to DIR"),
        (data.load("digits").train, "the images of this ArrayDataset are in none; leave it out"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError) as raised:
            data.DataLoader(images, shuffle=WindowShuffle(2))
        assert str(raised.value) == f"shuffle is by windows of tars, but {message}"
    tars = data.load(write_tars(tmp_path / "tars", tmp_path / "photos", 2), image_size=6).train
    with pytest.raises(ArgumentError, match="DataLoader: weights takes the place of shuffle by windows; leave out one"):
        data.DataLoader(tars, shuffle=WindowShuffle(2), weights=np.ones(2))
