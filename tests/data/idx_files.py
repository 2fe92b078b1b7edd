"""IDX files made for tests."""

import gzip
import struct
from pathlib import Path

import numpy as np

from gpucnn.data.mnist import FILES


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in the IDX format."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, arrays: list[np.ndarray], suffix: str = "") -> None:
    """The four files of MNIST: training images and labels, test images and labels."""
    for name, array in zip(FILES, arrays, strict=True):
        content = idx(array)
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix == ".gz" else content)


def write_small_mnist(folder: Path, suffix: str = "", train: int = 200, test: int = 50) -> None:
    """An MNIST of vertical bars: the class is the bar's place."""
    draw = np.random.default_rng(0)
    arrays = []
    for count in (train, test):
        labels = draw.integers(0, 10, count).astype(np.uint8)
        images = draw.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        images[np.arange(count), :, 4 + 2 * labels] = 255
        arrays += [images, labels]
    write_mnist(folder, arrays, suffix)
