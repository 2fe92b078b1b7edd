"""MNIST, and Fashion-MNIST, which comes in files of the same names."""

import os
from pathlib import Path

import numpy as np

from gpucnn.data.idx import read_idx
from gpucnn.errors import DataError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IMAGE_SIZE = 28
CLASSES = 10
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def read_mnist(folder: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training images, training labels, test images, test labels) from the four files in `folder`.

    Images are uint8 (N, 1, 28, 28), labels uint8 (N,). Each file may be plain or end in .gz. Raises DataError if files
    are missing (it says which four belong where), damaged, or do not go together.
    """
    folder = Path(folder)
    paths = [_find(folder, name) for name in FILES]
    missing = [name for name, path in zip(FILES, paths, strict=True) if path is None]
    if missing:
        raise DataError(
            f"no {', no '.join(missing)} in {folder}; put the four files {', '.join(FILES)} "
            f"(plain or .gz) there, or name their folder with --data-dir"
        )
    found = [path for path in paths if path is not None]
    return *_read_pair(found[0], found[1]), *_read_pair(found[2], found[3])


def _find(folder: Path, name: str) -> Path | None:
    for candidate in (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def _read_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(f"{images_path}: images of {images.shape[1]}x{images.shape[2]}, expected 28x28")
    if len(images) == 0:
        raise DataError(f"{images_path}: no images in it")
    if len(images) != len(labels):
        raise DataError(f"{images_path} has {len(images)} images, but {labels_path} {len(labels)} labels")
    if labels.max() >= CLASSES:
        raise DataError(f"{labels_path}: label {labels.max()} found, expected 0 to {CLASSES - 1}")
    return images[:, None], labels
