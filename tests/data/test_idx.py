"""The IDX reader on good files, and on every way a file can be wrong."""

import contextlib
import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpucnn.data import load, read_idx
from gpucnn.data.mnist import FILES, find_mnist
from gpucnn.errors import DataError
from tests.data.idx_files import idx, write_mnist

IMAGES = np.arange(6 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(6, 28, 28)
LABELS = np.array([0, 1, 2, 9, 4, 5], np.uint8)


@pytest.mark.parametrize("compress", [False, True])
def test_plain_and_gzip(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "file"  # the content decides, not the name
    path.write_bytes(gzip.compress(idx(IMAGES)) if compress else idx(IMAGES))
    read = read_idx(path, 3)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, IMAGES)


GOOD = idx(IMAGES)
HUGE = b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**16, 2**16)
WRONG = {
    "empty": (b"", "magic number an empty file, expected 0x00000803 (IDX, unsigned bytes, 3 axes)"),
    "labels instead of images": (idx(LABELS), "magic number 0x00000801, expected 0x00000803"),
    "floats": (b"\0\0\x0d\x03" + GOOD[4:], "magic number 0x00000d03, expected 0x00000803"),
    "header cut": (GOOD[:9], "the header ends after 9 bytes, expected 16"),
    "data cut": (GOOD[:-1], "the header promises 6 x 28 x 28 = 4,704 bytes, more than the file can hold; it is truncated"),
    "too much data": (GOOD + b"\0", "expected 4,704 bytes of data (6 x 28 x 28), the file has more"),
    "huge": (HUGE + b"\0" * 100, "= 18,446,744,069,414,584,320 bytes, more than the file can hold"),
    "gzip of cut data": (gzip.compress(GOOD[:-1]), "expected 4,704 bytes of data (6 x 28 x 28), the file has 4,703"),
    "gzip cut": (gzip.compress(GOOD)[:-9], "damaged gzip data"),
    "gzip with a wrong checksum": (gzip.compress(GOOD)[:-6] + b"\0\0" + gzip.compress(GOOD)[-4:], "damaged gzip data (CRC"),
    "gzip of a huge promise": (gzip.compress(HUGE), "more than the file can hold"),
    "gzip magic alone": (b"\x1f\x8b", "damaged gzip data"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_file_is_named_with_what_was_read_and_expected(case: str, tmp_path: Path) -> None:
    content, message = WRONG[case]
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_idx(path, 3)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)


@pytest.mark.parametrize("compress", [False, True])
def test_a_promise_takes_no_memory(tmp_path: Path, compress: bool) -> None:
    header = b"\0\0\x08\x03" + struct.pack(">3I", 200, 1000, 1000)  # 200 MB
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(header + b"\0" * 300_000) if compress else header)
    tracemalloc.start()
    with pytest.raises(DataError):
        read_idx(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_bytes_give_an_array_or_a_data_error(tmp_path: Path, draw: st.DataObject) -> None:
    content = bytearray(draw.draw(st.sampled_from([idx(IMAGES[:2]), gzip.compress(idx(IMAGES[:2]))])))
    for _ in range(draw.draw(st.integers(1, 4))):
        content[draw.draw(st.integers(0, min(len(content) - 1, 40)))] = draw.draw(st.integers(0, 255))
    del content[draw.draw(st.integers(0, len(content))) :]
    path = tmp_path / "mutated"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert read_idx(path, 3).dtype == np.uint8


def test_a_missing_file_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "no", 1)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path, 1)


ARRAYS = [IMAGES, LABELS, IMAGES[:2], LABELS[:2]]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_folder(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path, ARRAYS, suffix)
    train_images, train_labels, test_images, test_labels = find_mnist(tmp_path)[:4]
    np.testing.assert_array_equal(train_images, IMAGES[:, None])
    np.testing.assert_array_equal(train_labels, LABELS)
    assert (test_images.shape, test_labels.shape) == ((2, 1, 28, 28), (2,))


def test_dots_in_names_are_read_too(tmp_path: Path) -> None:
    write_mnist(tmp_path, ARRAYS)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert len(find_mnist(tmp_path)[0]) == 6


def test_missing_files_are_listed_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        load("mnist", tmp_path)
    message = str(raised.value)
    assert message.startswith(f"no train-images-idx3-ubyte, no train-labels-idx1-ubyte, no t10k-images-idx3-ubyte, no t10k-labels-idx1-ubyte in {tmp_path}; put the four files")  # fmt: skip
    assert "--data-dir" in message
    write_mnist(tmp_path, ARRAYS)
    (tmp_path / FILES[2]).unlink()
    with pytest.raises(DataError, match="^no t10k-images-idx3-ubyte in"):
        load("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({1: LABELS[:5]}, "train-images-idx3-ubyte has 6 images, but"),
        ({3: np.array([3, 10], np.uint8)}, "t10k-labels-idx1-ubyte: label 10 found, expected 0 to 9"),
        ({0: IMAGES[:, :27]}, "images of 27x28, expected 28x28"),
    ],
)
def test_files_that_do_not_go_together(tmp_path: Path, changed: dict[int, np.ndarray], message: str) -> None:
    write_mnist(tmp_path, [changed.get(place, array) for place, array in enumerate(ARRAYS)])
    with pytest.raises(DataError, match=message):
        find_mnist(tmp_path)


def test_the_real_mnist(image_folder: Path) -> None:
    splits = load("mnist", image_folder / "mnist", 32)
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)
    assert np.bincount(splits.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    images, labels = splits.train[np.arange(5)]
    assert labels.tolist() == [5, 0, 4, 1, 9]
    assert images.shape == (5, 1, 32, 32)
    assert images.dtype == np.float32
    assert images.max() == 1.0
    assert not images[:, :, :2].any(), "two rows of padding"
