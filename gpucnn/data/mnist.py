"""MNIST, and Fashion-MNIST, which comes in files of the same names: IDX files, Keras's mnist.npz, or tables of Kaggle's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpucnn.data.digit_csv import has_labels, read_digit_csv
from gpucnn.data.idx import idx_names, read_idx
from gpucnn.data.layout import Arrays, Form, files_missing, find_file, read_first
from gpucnn.data.npz import read_npz
from gpucnn.data.subset import stratified_choice
from gpucnn.errors import DataError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IMAGE_SIZE = 28
CLASSES = 10
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
TEST_SHARE = 0.2
"""Of a table without another that has labels, too."""


def find_mnist(folder: Path) -> Arrays:
    """MNIST in whatever form it has in `folder`, or below it. Raises DataError if files are missing, damaged, or do not go together."""
    forms = (
        _IDX,
        Form((("mnist.npz",),), "mnist.npz of Keras", lambda place: _read_npz(place / "mnist.npz")),
        *_tables("train.csv, and test.csv, of Kaggle's Digit Recognizer", "train.csv", "test.csv"),
        *_tables("mnist_train.csv and mnist_test.csv", "mnist_train.csv", "mnist_test.csv"),
    )
    origin = "torchvision.datasets.MNIST downloads the four, keras.datasets.mnist the .npz"
    return read_first(folder, ("MNIST/raw", "raw"), forms, origin)


def find_fashion_mnist(folder: Path) -> Arrays:
    """Fashion-MNIST in whatever form it has in `folder`, or below it. Raises DataError as `find_mnist` does."""
    names = "fashion-mnist_train.csv", "fashion-mnist_test.csv"
    forms = (_IDX, *_tables("fashion-mnist_train.csv and fashion-mnist_test.csv of Kaggle", *names))
    origin = "torchvision.datasets.FashionMNIST and keras.datasets.fashion_mnist download the four"
    return read_first(folder, ("FashionMNIST/raw", "raw"), forms, origin)


def read_four(folder: Path, names: Sequence[str], classes: int, first: int = 0) -> Arrays:
    """What is in four IDX files called `names`, images and labels to train and to test on; labels begin with `first`.

    Raises DataError if one is missing or damaged, or if they do not go together.
    """
    paths = [find_file(folder, idx_names(name)) for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        raise files_missing(folder, missing, f"the four files {', '.join(names)} (plain or .gz)")
    found = [path for path in paths if path is not None]
    train, test = (
        _pair(read_idx(images, 3), read_idx(labels, 1), str(images), str(labels), classes, first)
        for images, labels in (found[:2], found[2:])
    )
    return Arrays(*train, *test)


def _pair(
    images: np.ndarray, labels: np.ndarray, images_name: str, labels_name: str, classes: int, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Images with their channel axis and labels from 0 on, if they go together; else a DataError that names them."""
    if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(f"{images_name}: images of {'x'.join(map(str, images.shape[1:]))}, expected 28x28")
    if len(images) == 0:
        raise DataError(f"{images_name}: no images in it")
    if len(images) != len(labels):
        raise DataError(f"{images_name} has {len(images)} images, but {labels_name} {len(labels)} labels")
    wrong = labels.max() if labels.max() >= first + classes else labels.min()
    if not first <= wrong < first + classes:
        raise DataError(f"{labels_name}: label {wrong} found, expected {first} to {first + classes - 1}")
    return images[:, None], labels - first if first else labels


_IDX = Form(tuple(idx_names(name) for name in FILES), "", lambda place: read_four(place, FILES, CLASSES))


def _read_npz(path: Path) -> Arrays:
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = read_npz(path, names)
    for name, array, axes in zip(names, arrays, (3, 1, 3, 1), strict=True):
        if array.ndim != axes or array.dtype.kind not in "iu" or (axes == 3 and array.dtype != np.uint8):
            expected = "bytes (N, 28, 28)" if axes == 3 else "integers (N,)"
            raise DataError(f"{path}: {name} is {array.dtype} {array.shape}, expected {expected}")
    x_train, y_train, x_test, y_test = arrays
    train = _pair(x_train, y_train, f"{path}: x_train", f"{path}: y_train", CLASSES)
    return Arrays(*train, *_pair(x_test, y_test, f"{path}: x_test", f"{path}: y_test", CLASSES))


def _tables(told: str, train: str, test: str) -> list[Form]:
    """Two tables, or the one to train on, of which a part is then for testing."""
    return [
        Form(((train,), (test,)), told, lambda place: read_tables(place / train, place / test)),
        Form(((train,),), "", lambda place: read_tables(place / train, None)),
    ]


def read_tables(train: Path, test: Path | None, classes: int = CLASSES, first: int = 0) -> Arrays:
    """The images in two tables, see `read_digit_csv`, with labels that begin with `first`.

    Without a second, or if it has no labels, as Kaggle's test.csv, a fifth of the first is for testing, the same every
    time, and a note says so.
    """
    if not train.is_file():
        raise DataError(f"no {train.name} in {train.parent}; put it there, as it has the labels to learn from")
    images, labels = _table(train, classes, first)
    if test is not None and has_labels(test):
        return Arrays(images, labels, *_table(test, classes, first))
    is_test = stratified_choice(labels, max(1, round(len(labels) * TEST_SHARE)), 0, "table split")
    why = f"no table to test on beside {train}" if test is None else f"{test} has no labels"
    note = (
        f"{why}; {is_test.sum():,} of the {len(labels):,} images in {train.name} are for testing, the same every time"
    )
    return Arrays(images[~is_test], labels[~is_test], images[is_test], labels[is_test], notes=(note,))


def _table(path: Path, classes: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_digit_csv(path, IMAGE_SIZE)
    return _pair(images[:, 0], labels, str(path), str(path), classes, first)
