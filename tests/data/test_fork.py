"""A process that forks while its threads read images: the child reads them, too."""

import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpucnn.data import ImageFolder, decoded_cache, image_folder, parquet_images, quiet_reading, tar_file
from gpucnn.data.parquet_images import ParquetImages
from gpucnn.data.tar_images import TarImages
from tests.data.image_files import write_two_classes
from tests.data.parquet_files import rows_of, write
from tests.data.tar_files import write_tars

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Python 3.12 on: there are threads
]


def exit_status(work: Callable[[], object], seconds: float = 60) -> int:
    """Of a child that does this; it is killed if it takes longer."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _files(folder: Path, cache: Path) -> ImageFolder:
    return ImageFolder(folder, 8)


def _cached(folder: Path, cache: Path) -> ImageFolder:
    return ImageFolder(folder, 8).decoded_by(cache=cache)


def _tars(folder: Path, cache: Path) -> ImageFolder:
    return TarImages(write_tars(cache, folder), 8)


def _tables(folder: Path, cache: Path) -> ImageFolder:
    images = ImageFolder(folder, 8)
    write(cache / "all.parquet", rows_of(images), images.labels, images.class_names)
    return ParquetImages(cache, 8)


@pytest.mark.parametrize(
    ("module", "make"),
    [
        (quiet_reading, _files),
        (image_folder, _files),
        (decoded_cache, _cached),
        (tar_file, _tars),
        (parquet_images, _tables),
    ],
    ids=lambda value: value.__name__.rpartition(".")[2],
)
def test_no_lock_stays_closed_in_the_child(
    module: object, make: Callable[[Path, Path], ImageFolder], tmp_path: Path
) -> None:
    folder = make(write_two_classes(tmp_path / "images", 2, 8), tmp_path / "other")
    held, lock = threading.Event(), module._lock  # type: ignore[attr-defined]

    def hold() -> None:
        with lock:
            held.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert exit_status(lambda: folder[:]) == 0
    thread.join()
    assert folder[:][0].shape == (4, 3, 8, 8)


def test_filters_are_put_back_in_the_child(tmp_path: Path) -> None:
    """Whoever reads in the parent does not read in the child."""
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def read() -> None:
        with quiet_reading.quiet_reading():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=read)
    thread.start()
    inside.wait()
    assert list(warnings.filters) != before

    def check() -> None:
        assert list(warnings.filters) == before
        with quiet_reading.quiet_reading():
            assert list(warnings.filters) != before
        assert list(warnings.filters) == before

    status = exit_status(check)
    leave.set()
    thread.join()
    assert status == 0
    assert list(warnings.filters) == before


def test_forks_in_the_middle_of_reading(tmp_path: Path) -> None:
    folder = ImageFolder(write_two_classes(tmp_path, 5, 8), 8, cache_bytes=6 * 192)
    expected = ImageFolder(tmp_path, 8)[:][0]
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            folder[:]

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = [exit_status(lambda: np.testing.assert_array_equal(folder[:][0], expected)) for _ in range(5)]
    is_over.set()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 5
