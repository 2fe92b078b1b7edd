"""CIFAR-10 in its binary form: records of one label byte and 3,072 pixel bytes, red plane first.

Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

import os
from pathlib import Path

import numpy as np

from gpucnn.errors import DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SIZE = 32
_RECORD = 1 + 3 * IMAGE_SIZE * IMAGE_SIZE


def read_cifar10(folder: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training images, training labels, test images, test labels) from data_batch_*.bin and test_batch.bin.

    Images are uint8 (N, 3, 32, 32), labels uint8 (N,). The training batches that are there are used, in order. Raises
    DataError if files are missing, of a wrong size, or hold labels out of range.
    """
    folder = Path(folder)
    training = sorted(folder.glob("data_batch_*.bin"))
    test = folder / "test_batch.bin"
    if not training or not test.is_file():
        missing = "data_batch_1.bin" if not training else "test_batch.bin"
        raise DataError(
            f"no {missing} in {folder}; put data_batch_1.bin to data_batch_5.bin and test_batch.bin of the binary "
            f"version of CIFAR-10 there, or name their folder with --data-dir"
        )
    batches = [_read_batch(path) for path in training]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return images, labels, *_read_batch(test)


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        size = path.stat().st_size
        if size == 0 or size % _RECORD:
            raise DataError(f"{path}: {size:,} bytes, expected a multiple of {_RECORD:,} (one record); it is truncated")
        records = np.fromfile(path, np.uint8).reshape(-1, _RECORD)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    labels = records[:, 0]
    if labels.max() >= len(CLASS_NAMES):
        record = int(np.argmax(labels >= len(CLASS_NAMES)))
        raise DataError(f"{path}: record {record} has the label {labels[record]}, expected 0 to {len(CLASS_NAMES) - 1}")
    return records[:, 1:].reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE), labels.copy()
