"""EMNIST: handwritten digits and letters, in six splits. Images lie in its files with rows and columns exchanged.

Source: Cohen, Afshar, Tapson and van Schaik, "EMNIST: an extension of MNIST to handwritten letters", 2017.
"""

import string
from pathlib import Path

import numpy as np

from gpucnn.data.idx import idx_names
from gpucnn.data.layout import Arrays, Form, read_first
from gpucnn.data.mnist import read_four, read_tables

_MERGED = (*string.digits, *string.ascii_uppercase, *"abdefghnqrt")
"""Small letters whose capitals look alike are one class with them."""
CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "byclass": (*string.digits, *string.ascii_uppercase, *string.ascii_lowercase),
    "bymerge": _MERGED,
    "balanced": _MERGED,
    "letters": tuple(string.ascii_uppercase),
    "digits": tuple(string.digits),
    "mnist": tuple(string.digits),
}
"""Of each split, by label, as its mapping file has them; a letter of "letters" is both the capital and the small one."""

FIRST_LABEL = {"letters": 1}
CHUNK = 10_000
"""Images that are turned at a time, so that the others need no second place in memory."""


def read_emnist(folder: Path, split: str) -> Arrays:
    """The split "byclass", "bymerge", "balanced", "letters", "digits" or "mnist" in `folder`, or below it.

    Of its four IDX files, plain or .gz, or of two tables. Images are upright, bytes (N, 1, 28, 28), labels from 0 on.
    Raises DataError if files are missing, damaged, or do not go together.
    """
    names = tuple(
        f"emnist-{split}-{part}-{kind}-ubyte" for part in ("train", "test") for kind in ("images-idx3", "labels-idx1")
    )
    train, test = f"emnist-{split}-train.csv", f"emnist-{split}-test.csv"
    classes, first = len(CLASS_NAMES[split]), FIRST_LABEL.get(split, 0)
    forms = (
        Form(
            tuple(idx_names(name) for name in names), "",
            lambda place: _turned(read_four(place, names, classes, first)),
        ),
        Form(
            ((train,), (test,)), f"{train} and {test}",
            lambda place: _turned(read_tables(place / train, place / test, classes, first)),
        ),
    )  # fmt: skip
    origin = f'gzip.zip, as NIST has EMNIST, holds them, and torchvision.datasets.EMNIST(split="{split}") downloads it'
    return read_first(folder, ("gzip", "raw", "raw/gzip", "EMNIST/raw", "EMNIST/raw/gzip"), forms, origin)


def _turned(arrays: Arrays) -> Arrays:
    return arrays._replace(train_images=_upright(arrays.train_images), test_images=_upright(arrays.test_images))


def _upright(images: np.ndarray) -> np.ndarray:
    """Square images (N, 1, S, S) with rows and columns exchanged, in their own memory."""
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        part[:] = part.swapaxes(2, 3).copy()
    return images
