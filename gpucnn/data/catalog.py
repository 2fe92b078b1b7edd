"""Data sets by name, ready to train on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from gpucnn.data import cifar, digits, mnist
from gpucnn.data.array_dataset import ArrayDataset
from gpucnn.data.augment import Augment, Compose, RandomFlip, RandomShift
from gpucnn.data.preprocess import Preprocess
from gpucnn.errors import ArgumentError


class Splits(NamedTuple):
    """A data set's training and test part, and what belongs to both."""

    train: ArrayDataset
    test: ArrayDataset
    class_names: tuple[str, ...]
    preprocess: Preprocess
    augment: Augment | None
    """The random changes that help on this data set in training; None where plain images do."""

    def with_preprocess(self, preprocess: Preprocess) -> "Splits":
        """The same images, fed with `preprocess`, for example one that normalises."""
        train, test = (
            ArrayDataset(part.images, part.labels, preprocess, len(self.class_names))
            for part in (self.train, self.test)
        )
        return self._replace(train=train, test=test, preprocess=preprocess)


class Source(NamedTuple):
    """What is known of a data set before its files are read."""

    channels: int
    native_size: int
    full_scale: int
    fit: Literal["pad", "resize"]
    class_names: tuple[str, ...]
    read: Callable[[Path], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
    augment: Augment | None = None


_DIGIT_NAMES = tuple(str(digit) for digit in range(10))
_SOURCES = {
    "digits": Source(
        1, digits.IMAGE_SIZE, digits.FULL_SCALE, "resize", _DIGIT_NAMES, lambda _: digits.read_digits(), RandomShift(2)
    ),
    "mnist": Source(1, mnist.IMAGE_SIZE, 255, "pad", _DIGIT_NAMES, mnist.read_mnist),
    "fashion-mnist": Source(1, mnist.IMAGE_SIZE, 255, "pad", mnist.FASHION_NAMES, mnist.read_mnist),
    "cifar10": Source(
        3, cifar.IMAGE_SIZE, 255, "pad", cifar.CLASS_NAMES, cifar.read_cifar10, Compose(RandomFlip(), RandomShift(4))
    ),
}


def names() -> list[str]:
    """The names that `load` knows."""
    return list(_SOURCES)


def source(name: str) -> Source:
    """What is known of the data set called `name`. ArgumentError for an unknown name."""
    if name not in _SOURCES:
        raise ArgumentError(f"unknown data set {name!r}; expected one of {', '.join(_SOURCES)}")
    return _SOURCES[name]


def load(name: str, folder: str | os.PathLike[str] | None = None, image_size: int | None = None) -> Splits:
    """The data set called `name`, its images fitted to `image_size` (by default their own).

    `folder` holds its files, by default data/NAME; the digits need none. Raises ArgumentError for an unknown name or a
    size smaller than the images, DataError if files are missing or damaged.
    """
    known = source(name)
    size = known.native_size if image_size is None else image_size
    preprocess = Preprocess(known.channels, known.native_size, size, known.full_scale, known.fit)
    train_images, train_labels, test_images, test_labels = known.read(
        Path("data") / name if folder is None else Path(folder)
    )
    classes = len(known.class_names)
    return Splits(
        ArrayDataset(train_images, train_labels, preprocess, classes),
        ArrayDataset(test_images, test_labels, preprocess, classes),
        known.class_names,
        preprocess,
        known.augment,
    )
