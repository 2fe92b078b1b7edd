"""Data sets by name, ready to train on."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from gpucnn.data import cifar, digits, mnist
from gpucnn.data.array_dataset import ArrayDataset
from gpucnn.data.augment import Augment, RandomShift
from gpucnn.data.preprocess import Preprocess
from gpucnn.errors import ArgumentError

_DIGIT_NAMES = tuple(str(digit) for digit in range(10))
_FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


class Splits(NamedTuple):
    """A data set's training and test part, and what belongs to both."""

    train: ArrayDataset
    test: ArrayDataset
    class_names: tuple[str, ...]
    preprocess: Preprocess
    augment: Augment | None
    """The random changes that help on this data set in training; None where plain images do."""


def names() -> list[str]:
    """The names that `load` knows."""
    return ["digits", "mnist", "fashion-mnist", "cifar10"]


def native_format(name: str) -> tuple[int, int]:
    """(channels, image size) of the data set's raw images. ArgumentError for an unknown name."""
    if name not in names():
        raise ArgumentError(f"unknown data set {name!r}; expected one of {', '.join(names())}")
    sizes = {"digits": digits.IMAGE_SIZE, "cifar10": cifar.IMAGE_SIZE}
    return (3 if name == "cifar10" else 1), sizes.get(name, mnist.IMAGE_SIZE)


def load(name: str, folder: str | os.PathLike[str] | None = None, image_size: int | None = None) -> Splits:
    """The data set called `name`, its images fitted to `image_size` (by default their own).

    `folder` holds its files, by default data/NAME; the digits need none. Raises ArgumentError for an unknown name or a
    size smaller than the images, DataError if files are missing or damaged.
    """
    channels, native_size = native_format(name)
    fit: Literal["pad", "resize"] = "pad"
    full_scale, class_names, augment = 255, _DIGIT_NAMES, None
    place = Path("data") / name if folder is None else Path(folder)
    if name == "digits":
        arrays = digits.read_digits()
        fit, full_scale, augment = "resize", digits.FULL_SCALE, RandomShift(2)
    elif name == "cifar10":
        arrays, class_names = cifar.read_cifar10(place), cifar.CLASS_NAMES
    else:
        arrays = mnist.read_mnist(place)
        class_names = _FASHION_NAMES if name == "fashion-mnist" else _DIGIT_NAMES
    preprocess = Preprocess(channels, native_size, image_size or native_size, full_scale, fit)
    preprocess(np.zeros((0, channels, native_size, native_size), np.uint8))
    train_images, train_labels, test_images, test_labels = arrays
    return Splits(
        ArrayDataset(train_images, train_labels, preprocess, len(class_names)),
        ArrayDataset(test_images, test_labels, preprocess, len(class_names)),
        class_names,
        preprocess,
        augment,
    )
