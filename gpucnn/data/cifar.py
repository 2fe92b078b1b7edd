"""CIFAR-10 and CIFAR-100, in their binary form and in that of Python.

Binary: records of a label byte, two for CIFAR-100 (coarse, fine), and 3,072 pixel bytes, red plane first. Python: pickles
of a dict with "data" (N, 3072) and lists of labels. Source: Krizhevsky, "Learning multiple layers of features from tiny
images", 2009.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.checks import as_choice, as_path
from gpucnn.data.layout import Arrays, Form, files_missing, read_first
from gpucnn.data.plain_pickle import read_pickle
from gpucnn.errors import DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FINE_NAMES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy", "bridge",
    "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud",
    "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl",
    "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear",
    "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar",
    "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train", "trout", "tulip",
    "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
COARSE_NAMES = (
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices",
    "household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes", "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people",
    "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2",
)  # fmt: skip
NAMES = {"fine": FINE_NAMES, "coarse": COARSE_NAMES}
IMAGE_SIZE = 32
_PIXELS = 3 * IMAGE_SIZE * IMAGE_SIZE
_FOLDERS_10 = ("cifar-10-batches-bin", "cifar-10-batches-py")
_FOLDERS_100 = ("cifar-100-binary", "cifar-100-python")
_ORIGIN = "the archives {} of the CIFAR page of A. Krizhevsky hold them, and torchvision.datasets.{} downloads one"


def read_cifar10(folder: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training images, training labels, test images, test labels) of CIFAR-10 in `folder`, or below it as it comes.

    In its binary version, data_batch_*.bin and test_batch.bin, or in Python's, data_batch_* and test_batch, which are
    read without running what a pickle could hold. Images are uint8 (N, 3, 32, 32), labels uint8 (N,). The training
    batches that are there are used, in order. Raises DataError if files are missing, of a wrong size, or hold labels
    out of range.
    """
    origin = _ORIGIN.format("cifar-10-binary.tar.gz and cifar-10-python.tar.gz", "CIFAR10")
    found = read_first(as_path(folder, "folder"), _FOLDERS_10, _CIFAR10_FORMS, origin)
    return found.train_images, found.train_labels, found.test_images, found.test_labels


def read_cifar100(folder: str | os.PathLike[str], labels: str = "fine") -> Arrays:
    """CIFAR-100 in `folder`, or below it as it comes: train.bin and test.bin, or Python's train and test.

    - `labels`: "fine" for the 100 classes, or "coarse" for the 20 superclasses.

    Images are uint8 (N, 3, 32, 32), labels uint8 (N,). Class names are those in fine_label_names.txt, or in Python's meta,
    if the folder has it. Raises what `read_cifar10` raises, ArgumentError for other labels.
    """
    as_choice(labels, "labels", NAMES)
    forms = (
        Form((("train.bin",), ("test.bin",)), "", lambda place: _binary_100(place, labels)),
        Form((("train",), ("test",)), "train and test of the Python version", lambda place: _python_100(place, labels)),
    )
    origin = _ORIGIN.format("cifar-100-binary.tar.gz and cifar-100-python.tar.gz", "CIFAR100")
    return read_first(as_path(folder, "folder"), _FOLDERS_100, forms, origin)


def _binary_10(folder: Path) -> Arrays:
    training = sorted(folder.glob("data_batch_*.bin"))
    test = folder / "test_batch.bin"
    if not training or not test.is_file():
        missing = "data_batch_1.bin" if not training else "test_batch.bin"
        wanted = "data_batch_1.bin to data_batch_5.bin and test_batch.bin of the binary version of CIFAR-10"
        raise files_missing(folder, [missing], wanted)
    batches = [_read_records(path, 1, 0, len(CLASS_NAMES)) for path in training]
    return Arrays(*_joined(batches), *_read_records(test, 1, 0, len(CLASS_NAMES)))


def _python_10(folder: Path) -> Arrays:
    training = [path for path in sorted(folder.glob("data_batch_[0-9]")) if path.is_file()]
    test = folder / "test_batch"
    if not training or not test.is_file():
        missing = "data_batch_1" if not training else "test_batch"
        raise DataError(f"no {missing} in {folder}; put data_batch_1 to data_batch_5 and test_batch there")
    batches = [_read_batch(path, "labels", len(CLASS_NAMES)) for path in training]
    return Arrays(*_joined(batches), *_read_batch(test, "labels", len(CLASS_NAMES)))


_CIFAR10_FORMS = (
    Form((("data_batch_*.bin",), ("test_batch.bin",)), "", _binary_10),
    Form((("data_batch_[0-9]",), ("test_batch",)), "data_batch_1 to data_batch_5 and test_batch of the Python version", _python_10),
)  # fmt: skip


def _binary_100(folder: Path, labels: str) -> Arrays:
    parts = _both(folder, "train.bin", "test.bin", "binary version")
    place, classes = list(NAMES).index(labels), len(NAMES[labels])  # fine is the second byte of two
    train, test = (_read_records(path, 2, 1 - place, classes) for path in parts)
    return Arrays(*train, *test, class_names=_names_in(folder / f"{labels}_label_names.txt", classes))


def _python_100(folder: Path, labels: str) -> Arrays:
    parts = _both(folder, "train", "test", "Python version")
    train, test = (_read_batch(path, f"{labels}_labels", len(NAMES[labels])) for path in parts)
    names: tuple[str, ...] = ()
    if (meta := folder / "meta").is_file():
        key = f"{labels}_label_names"
        listed = _entry(meta, read_pickle(meta), key)
        if not isinstance(listed, list) or not all(isinstance(name, bytes | str) for name in listed):
            raise DataError(f"{meta}: {key} is not a list of names")
        names = tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in listed)
        names = _checked_names(meta, names, len(NAMES[labels]))
    return Arrays(*train, *test, class_names=names)


def _both(folder: Path, train: str, test: str, version: str) -> list[Path]:
    missing = [name for name in (train, test) if not (folder / name).is_file()]
    if missing:
        raise files_missing(folder, missing, f"{train} and {test} of the {version} of CIFAR-100")
    return [folder / train, folder / test]


def _joined(batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return images, labels


def _read_records(path: Path, label_bytes: int, label_place: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a binary file, whose labels are one of the `label_bytes` that a record begins with."""
    record = label_bytes + _PIXELS
    try:
        size = path.stat().st_size
        if size == 0 or size % record:
            raise DataError(f"{path}: {size:,} bytes, expected a multiple of {record:,} (one record); it is truncated")
        records = np.fromfile(path, np.uint8).reshape(-1, record)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    labels = records[:, label_place]
    _check_labels(path, "record", labels, classes)
    return records[:, label_bytes:].reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE), labels.copy()


def _read_batch(path: Path, key: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a file of the Python version."""
    batch = read_pickle(path)
    pixels, listed = _entry(path, batch, "data"), _entry(path, batch, key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        shape = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"{path}: data is {shape}, expected bytes (N, {_PIXELS})")
    known = isinstance(listed, list) and all(type(label) is int and 0 <= label < 256 for label in listed)
    if not known or len(listed) != len(pixels) or not len(pixels):
        raise DataError(
            f"{path}: {key} is not a list of {len(pixels)} labels, one per image, each a whole number below 256"
        )
    labels = np.array(listed, np.uint8)
    _check_labels(path, "image", labels, classes)
    return np.ascontiguousarray(pixels).reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE), labels


def _entry(path: Path, batch: Any, key: str) -> Any:
    """What stands under `key`, which Python 2 wrote as bytes."""
    if type(batch) is not dict:
        raise DataError(f"{path}: holds a {type(batch).__name__}, expected a dict with {key}")
    for written in (key.encode(), key):
        if written in batch:
            return batch[written]
    raise DataError(f"{path}: no {key} in it; is it a file of the other CIFAR?")


def _check_labels(path: Path, what: str, labels: np.ndarray, classes: int) -> None:
    if labels.max() >= classes:
        place = int(np.argmax(labels >= classes))
        raise DataError(f"{path}: {what} {place} has the label {labels[place]}, expected 0 to {classes - 1}")


def _names_in(path: Path, classes: int) -> tuple[str, ...]:
    """The names in a file of one per line; empty if there is no such file."""
    if not path.is_file():
        return ()
    try:
        lines = path.read_text("utf-8", "replace").split("\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return _checked_names(path, tuple(line.strip() for line in lines if line.strip()), classes)


def _checked_names(path: Path, names: tuple[str, ...], classes: int) -> tuple[str, ...]:
    if len(names) != classes or len(set(names)) != classes or not all(map(str.isprintable, names)):
        raise DataError(f"{path}: {len(names)} names, expected {classes} of them, all printable and no two the same")
    return names
