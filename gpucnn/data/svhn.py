"""SVHN, house numbers cut out digit by digit, in MATLAB files. Its label 10 is the digit 0.

Source: Netzer, Wang, Coates, Bissacco, Wu and Ng, "Reading digits in natural images with unsupervised feature learning",
2011.
"""

from pathlib import Path

import numpy as np

from gpucnn.data.layout import Arrays, Form, files_missing, read_first
from gpucnn.data.mat import read_mat
from gpucnn.errors import DataError
from gpucnn.text import shape_text

FILES = ("train_32x32.mat", "test_32x32.mat")
IMAGE_SIZE = 32


def read_svhn(folder: Path) -> Arrays:
    """The cropped digits in train_32x32.mat and test_32x32.mat, in `folder` or in SVHN below it.

    Images are uint8 (N, 3, 32, 32), labels uint8 (N,), each the digit that it stands for. extra_32x32.mat is not read.
    Raises DataError if files are missing, damaged or hold something else, LibraryError without SciPy.
    """
    forms = (Form(tuple((name,) for name in FILES), "", _read_both),)
    origin = (
        '"Format 2: Cropped Digits" of the SVHN page has them, and torchvision.datasets.SVHN downloads one per split'
    )
    return read_first(folder, ("SVHN", "svhn"), forms, origin)


def _read_both(folder: Path) -> Arrays:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise files_missing(folder, missing, " and ".join(FILES))
    train, test = (_read(folder / name) for name in FILES)
    return Arrays(*train, *test)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_mat(path, ("X", "y"))
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (IMAGE_SIZE, IMAGE_SIZE, 3):
        raise DataError(f"{path}: X is {images.dtype} {shape_text(images.shape)}, expected bytes (32, 32, 3, N)")
    count = images.shape[3]
    if labels.shape not in ((count, 1), (1, count)) or labels.dtype.kind not in "iuf" or not count:
        raise DataError(
            f"{path}: y is {labels.dtype} {shape_text(labels.shape)}, expected labels ({count}, 1), one per image"
        )
    flat = labels.ravel()
    if not np.isin(flat, range(1, 11)).all():
        wrong = flat[~np.isin(flat, range(1, 11))][0]
        raise DataError(f"{path}: label {wrong:g} found, expected 1 to 9, and 10 for the digit 0")
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), (flat % 10).astype(np.uint8)
