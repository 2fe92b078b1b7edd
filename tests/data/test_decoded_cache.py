"""Decoded images kept on disk: the same batches with and without, by several processes, and from damaged files."""

import io
import os
import pickle
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.data import ImageFolder, decoded_cache, file_stamp
from gpucnn.data.decoded_cache import DecodedCache, key_of
from gpucnn.data.image_decoder import ImageDecoder
from gpucnn.data.parquet_images import ParquetImages
from gpucnn.data.tar_images import TarImages
from gpucnn.errors import DataError
from tests.data.parquet_files import write
from tests.data.tar_files import tar

COUNT = 12


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Photos and drawings in two classes, which are taken for settled."""
    monkeypatch.setattr(file_stamp, "SETTLED", -1)
    rng, place = np.random.default_rng(5), tmp_path / "images"
    for number in range(COUNT):
        path = place / "ab"[number % 2] / f"{number}{('.png', '.jpg')[number % 3 == 0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + number, 50, 3), np.uint8)).save(path)
    return place


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Fills with the name of every file that is decoded."""
    names: list[str] = []
    decode = ImageDecoder.__call__

    def counting(decoder: ImageDecoder, content: bytes, name: str) -> np.ndarray:
        names.append(name)
        return decode(decoder, content, name)

    monkeypatch.setattr(ImageDecoder, "__call__", counting)
    return names


def _cached(folder: Path, size: int = 16, decode: str = "pillow") -> ImageFolder:
    return ImageFolder(folder, size, cache_bytes=0).decoded_by(decode, folder.parent / "cache")


def _all(images: ImageFolder) -> np.ndarray:
    return np.asarray(images[np.arange(len(images))][0])


def test_an_image_is_decoded_once_whichever_run_asks(folder, decoded):
    expected = _all(ImageFolder(folder, 16))
    decoded.clear()
    np.testing.assert_array_equal(_all(_cached(folder)), expected)
    assert len(decoded) == COUNT
    for _ in range(2):
        np.testing.assert_array_equal(_all(_cached(folder)), expected)
    assert len(decoded) == COUNT


def test_only_the_file_that_changed_is_decoded_again(folder, decoded):
    before = _all(_cached(folder))
    decoded.clear()
    changed = folder / "a" / "2.png"
    Image.new("RGB", (50, 50), "red").save(changed)
    after = _all(_cached(folder))
    assert decoded == [str(changed)]
    np.testing.assert_array_equal(after, _all(ImageFolder(folder, 16)))
    assert (before != after).any(axis=(1, 2, 3)).sum() == 1


def test_a_file_that_was_touched_just_now_is_not_kept(folder, decoded, monkeypatch):
    monkeypatch.setattr(file_stamp, "SETTLED", 10**18)
    for _ in range(2):
        _all(_cached(folder))
    assert len(decoded) == 2 * COUNT


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.at_size(20),
        lambda one: one.decoded_by("pillow-draft", one.cache.path.parent),
        lambda one: ImageFolder(one.folder, 16, "grey").decoded_by(cache=one.cache.path.parent),
        lambda one: ImageFolder(one.folder, 16, background="white").decoded_by(cache=one.cache.path.parent),
    ],
    ids=["size", "decoder", "mode", "background"],
)
def test_other_settings_have_a_file_of_their_own(folder, decoded, change):
    one = _cached(folder)
    _all(one)
    decoded.clear()
    other = change(one)
    assert other.cache.path != one.cache.path
    _all(other)
    assert len(decoded) == COUNT


def test_other_versions_have_a_file_of_their_own(folder, monkeypatch):
    own = _cached(folder).cache
    monkeypatch.setattr(decoded_cache, "reader_versions", lambda: ["of tomorrow"])
    assert _cached(folder).cache.path != own.path


def test_every_single_bit_that_is_damaged_is_noticed(folder, decoded):
    images = _cached(folder)
    expected, path = _all(images), images.cache.path
    whole = bytearray(path.read_bytes())
    assert len(whole) == images.cache.bytes
    rng = np.random.default_rng(3)
    # The header, the entries in use, and pixels.
    places = [3, 30, *(4096 + rng.integers(0, COUNT * 24, 20)), *rng.integers(8192, len(whole), 20)]
    for place in places:
        damaged = whole.copy()
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        np.testing.assert_array_equal(_all(_cached(folder)), expected)
        decoded.clear()
        np.testing.assert_array_equal(_all(_cached(folder)), expected)
        assert decoded == [], "it is whole again"


@pytest.mark.parametrize("length", [0, 10, 4096, 5000, 9000])
def test_a_file_that_was_cut_off_is_made_anew(folder, decoded, length):
    images = _cached(folder)
    expected, path = _all(images), images.cache.path
    os.truncate(path, length)
    np.testing.assert_array_equal(_all(images), expected)  # it is mapped while it is cut
    np.testing.assert_array_equal(_all(_cached(folder)), expected)
    decoded.clear()
    np.testing.assert_array_equal(_all(_cached(folder)), expected)
    assert decoded == []


def test_pixels_of_another_image_are_never_given(tmp_path):
    cache = DecodedCache(tmp_path, "images", 3, ImageDecoder(1, 4))
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    cache.keep(1, key_of("a"), pixels)
    assert cache.find(1, key_of("b")) is None
    assert cache.find(0, key_of("a")) is None
    np.testing.assert_array_equal(cache.find(1, key_of("a")), pixels)


def _tars(folder: Path, images: dict[str, list[int]]) -> Path:
    """Tars of grey pictures, half of each class, by their levels."""
    folder.mkdir(exist_ok=True)
    for name, levels in images.items():
        files = {}
        for place, level in enumerate(levels):
            content = io.BytesIO()
            Image.new("RGB", (6, 6), (level,) * 3).save(content, "PPM")
            files[f"{'ab'[place % 2]}/{place}.ppm"] = content.getvalue()
        (folder / name).write_bytes(tar(files))
    return folder


def _tables(folder: Path, images: dict[str, list[int]]) -> Path:
    """The same as Parquet files."""
    for name, levels in images.items():
        content = [np.full((6, 6, 3), level, np.uint8).tobytes() for level in levels]
        rows = [b"P6\n6 6\n255\n" + pixels for pixels in content]
        write(folder / name.replace(".tar", ".parquet"), rows, [place % 2 for place in range(len(levels))], ["a", "b"])
    return folder


def _levels(images: ImageFolder) -> list[int]:
    return sorted(int(level) for level in np.round(_all(images).mean((1, 2, 3)) * 255))


@pytest.mark.parametrize("make", [_tars, _tables], ids=["tar", "parquet"])
def test_pixels_of_a_file_that_was_replaced_while_it_was_open_are_not_kept(make, tmp_path, monkeypatch):
    monkeypatch.setattr(file_stamp, "SETTLED", -(10**18))
    cache = tmp_path / "cache"
    folder = make(tmp_path / "x", {"all.tar": [10, 20, 30, 40]})
    kind = TarImages if make is _tars else ParquetImages
    before = kind(folder, 6, cache_bytes=0).decoded_by(cache=cache)
    assert _levels(before) == [10, 20, 30, 40]
    (file,) = folder.glob("all.*")
    other = make(tmp_path / "other", {"all.tar": [15, 25, 35, 45]}) / file.name
    os.replace(other, file)
    assert _levels(before) == [10, 20, 30, 40]
    assert _levels(kind(folder, 6, cache_bytes=0).decoded_by(cache=cache)) == [15, 25, 35, 45]


@pytest.mark.parametrize("make", [_tars, _tables], ids=["tar", "parquet"])
def test_parts_of_one_folder_have_files_of_their_own(make, tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(file_stamp, "SETTLED", -(10**18))
    folder = make(tmp_path / "x", {"train-0.tar": [10, 20, 30, 40], "test-0.tar": [50, 60, 70, 80]})
    for expected in (8, 0):
        splits = data.load(folder, image_size=6).decoded_by("pillow", tmp_path / "cache")
        assert splits.train.cache.path != splits.test.cache.path
        decoded.clear()
        assert (_levels(splits.train), _levels(splits.test)) == ([10, 20, 30, 40], [50, 60, 70, 80])
        assert len(decoded) == expected


def test_a_folder_is_the_same_from_wherever_it_is_named(folder, monkeypatch):
    monkeypatch.chdir(folder)
    own = _cached(folder).cache
    for name in (".", f"../{folder.name}", f"{folder}/"):
        assert ImageFolder(name, 16).decoded_by(cache=folder.parent / "cache").cache.path == own.path


def test_threads_fill_it_together(folder, decoded):
    expected = _all(ImageFolder(folder, 16))
    images, together = _cached(folder), threading.Barrier(4)

    def read(_: int) -> np.ndarray:
        together.wait()
        return _all(images)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(read, range(4)):
            np.testing.assert_array_equal(found, expected)
    decoded.clear()
    np.testing.assert_array_equal(_all(_cached(folder)), expected)
    assert decoded == []


def test_processes_fill_it_together(folder):
    expected = _all(ImageFolder(folder, 16))
    code = (
        "import sys, zlib, numpy as np\n"
        "from gpucnn.data import ImageFolder, file_stamp\n"
        "file_stamp.SETTLED = -1\n"
        "images = ImageFolder(sys.argv[1], 16, cache_bytes=0).decoded_by('pillow', sys.argv[2])\n"
        "print(zlib.crc32(np.asarray(images[np.arange(len(images))][0])))\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(folder.parent / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]

    assert {process.communicate()[0].strip() for process in processes} == {str(zlib.crc32(expected))}
    assert len(list((folder.parent / "cache").iterdir())) == 1


def test_a_full_disk_ends_the_keeping_not_the_run(folder, monkeypatch):
    expected = _all(ImageFolder(folder, 16))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    np.testing.assert_array_equal(_all(_cached(folder)), expected)


def test_no_space_is_told_before(folder, monkeypatch):
    monkeypatch.setattr(decoded_cache.shutil, "disk_usage", lambda _: _Usage())
    images = _cached(folder)
    with pytest.raises(
        DataError, match=rf"may take {images.cache.bytes:,} bytes, and the disk has 5; give another folder"
    ):
        _all(images)


class _Usage:
    free = 5


def test_a_folder_that_cannot_be_made_is_named(folder):
    (folder.parent / "file").write_text("")
    with pytest.raises(DataError, match=r"file/.*: the cache cannot be made \(.*\); give another folder with --cache"):
        _all(ImageFolder(folder, 16).decoded_by(cache=folder.parent / "file"))


def test_a_pickle_finds_the_same_file(folder, decoded):
    images = _cached(folder)
    expected = _all(images)
    decoded.clear()
    np.testing.assert_array_equal(_all(pickle.loads(pickle.dumps(images))), expected)
    assert decoded == []
