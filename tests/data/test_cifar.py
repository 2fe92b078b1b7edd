"""The CIFAR-10 reader on good files, and on every way a file can be wrong."""

from pathlib import Path

import numpy as np
import pytest

from gpucnn.data import load, read_cifar10
from gpucnn.errors import DataError


def records(labels: list[int]) -> np.ndarray:
    pixels = np.arange(len(labels) * 3072, dtype=np.uint32).astype(np.uint8).reshape(-1, 3072)
    return np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1)


def write(folder: Path, **files: np.ndarray | bytes) -> None:
    for name, content in files.items():
        (folder / f"{name}.bin").write_bytes(content if isinstance(content, bytes) else content.tobytes())


def test_batches_in_order_and_planes_red_first(tmp_path: Path) -> None:
    write(tmp_path, data_batch_2=records([4]), data_batch_1=records([1, 2]), test_batch=records([9]))
    images, labels, test_images, test_labels = read_cifar10(tmp_path)
    assert labels.tolist() == [1, 2, 4]
    assert test_labels.tolist() == [9]
    assert images.shape == (3, 3, 32, 32)
    np.testing.assert_array_equal(images[1].ravel(), records([1, 2])[1, 1:])
    np.testing.assert_array_equal(images[0, 1, 0], np.arange(1024, 1056, dtype=np.uint32).astype(np.uint8))
    assert test_images.shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"test_batch": records([1])}, "no data_batch_1.bin in"),
        ({"data_batch_1": records([1])}, "no test_batch.bin in"),
        ({"data_batch_1": records([1]).tobytes()[:-1], "test_batch": records([1])}, "data_batch_1.bin: 3,072 bytes, expected a multiple of 3,073"),
        ({"data_batch_1": b"", "test_batch": records([1])}, "data_batch_1.bin: 0 bytes, expected a multiple"),
        ({"data_batch_1": records([1]), "test_batch": records([3, 10, 255])}, "test_batch.bin: record 1 has the label 10, expected 0 to 9"),
        ({"data_batch_1": records([10]), "test_batch": records([3])}, "data_batch_1.bin: record 0 has the label 10, expected 0 to 9"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, files: dict[str, np.ndarray | bytes], message: str) -> None:
    write(tmp_path, **files)
    with pytest.raises(DataError, match=message):
        load("cifar10", tmp_path)


def test_the_real_cifar10(image_folder: Path) -> None:
    splits = load("cifar10", image_folder / "cifar-10-batches-bin")
    assert np.bincount(splits.train.labels).tolist() == [1000] * 10
    assert np.bincount(splits.test.labels).tolist() == [200] * 10
    images, _ = splits.test[np.arange(100)]
    assert images.shape == (100, 3, 32, 32)
    assert 0.4 < images.mean() < 0.55
    assert splits.class_names[3] == "cat"
