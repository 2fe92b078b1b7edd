"""NpyImages: a data set of images in one large .npy array, with their labels in another."""

import io
import math
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import to_host
from gpucnn.data.class_folders import check_names, comparable
from gpucnn.data.file_stamp import FileStamp
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.npz import read_npy, read_npy_header
from gpucnn.data.packed_parts import PackedFiles
from gpucnn.data.quiet_reading import reading
from gpucnn.data.timed_file import TimedFile
from gpucnn.errors import DataError
from gpucnn.regular_file import read_regular
from gpucnn.text import names_text, shape_text
from gpucnn.text_table import shortened

IMAGES, LABELS = "images.npy", "labels.npy"
"""How the names of the two files end, which begin alike."""

LONGEST_HEADER = 10 + 0xFFFF
"""Bytes of a .npy file of version 1.0 before its elements."""

NO_NPY = "not a .npy file that can be read ({}); write it with numpy.save"


class NpyImages(ImageFolder):
    """The images in `images.npy`, whose labels are in `labels.npy`, in their order; or in train_images.npy and train_labels.npy, ...

    - `folder`: one that holds them, or `PackedFiles`: just these files of images, which are in one folder.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W): bytes, or floats from 0 to 1. Each is taken as if it had a .npy
    file of its own. Labels are (N,), integers from 0 on, or texts, by which classes are called. Of `class_names` some may lack
    images. All else is as in `ImageFolder`: `paths` says file and place, e.g. images.npy/7.npy.

    Images are read one by one, when they are asked for, and the array never as a whole. It is not mapped into memory: to touch
    a page of a file that was cut off meanwhile would end the process.

    Raises DataError, which names the file, for what is damaged, has changed since, or is of another shape or type; nothing is
    unpickled.
    """

    def _find(self, folder: Any, class_names: Sequence[str] | None) -> None:
        packed = PackedFiles.of(folder, IMAGES, f"no {IMAGES} in it; give the folder that holds it and {LABELS}")
        self.folder = packed.folder
        self._arrays = [_ImageArray.of(path) for path in packed.files]
        self._starts = np.cumsum([0, *(array.shape[0] for array in self._arrays)])
        if packed.are_labelled:
            labels = np.concatenate([_labels(array) for array in self._arrays])
            self.class_names, numbers = _numbered(labels, self._arrays[0].path, class_names)
        else:
            self.class_names, numbers = ("",), np.zeros(self._starts[-1], np.int64)
        paths = [array.path / f"{place}.npy" for array in self._arrays for place in range(array.shape[0])]
        self._kept = packed.kept(paths)
        self.labels, self.paths = numbers[self._kept], tuple(paths[place] for place in self._kept)
        self.left_out: Counter[str] = Counter()

    @property
    def names(self) -> tuple[str, ...]:
        """What each image is called, as "class/name": by its class, file and place."""
        return tuple(
            f"{self.class_names[label]}/{path.relative_to(self.folder).as_posix()}"
            for path, label in zip(self.paths, to_host(self.labels).tolist(), strict=True)
        )

    def contents(self, indices: np.ndarray) -> Generator[bytes]:
        """Of each image at `indices` (B,) what a .npy file of its own would have. DataError for one that cannot be read."""
        for place in self._kept[indices].tolist():
            which = int(np.searchsorted(self._starts, place, side="right")) - 1
            yield self._arrays[which].read(place - int(self._starts[which]))

    def file_of(self, index: int) -> Path:
        """The file in which an image is."""
        return self.paths[index].parent

    def opened_stamp(self, index: int) -> FileStamp:
        """The stamp of the file as it was opened, of which alone images are read."""
        return self._arrays[int(np.searchsorted(self._starts, self._kept[index], side="right")) - 1].stamp


class _ImageArray(NamedTuple):
    """A .npy file of images, of which the header was read."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    """Where in the file the first image begins."""
    stamp: FileStamp

    @classmethod
    def of(cls, path: Path) -> "_ImageArray":
        """DataError for a file that is no array of images."""
        with reading(path, NO_NPY), TimedFile(path) as file:
            beginning = io.BytesIO(file.read(LONGEST_HEADER))
            shape, is_fortran, dtype = read_npy_header(beginning, file.size, str(path))
            start = beginning.tell()
        if len(shape) not in (3, 4) or 0 in shape[1:]:
            raise DataError(
                f"{path}: expected images (N, H, W), (N, H, W, C) or (N, C, H, W), got {shape_text(shape)}; grey images of one size "
                f"are images.reshape(N, H, W)"
            )
        if dtype.kind not in "bf" and dtype != np.uint8:
            raise DataError(
                f"{path}: expected bytes (uint8) or floats from 0 to 1, got {shortened(str(dtype))}; "
                f"images.astype('uint8') makes bytes"
            )
        if is_fortran:
            raise DataError(
                f"{path}: in Fortran's order, in which no image is in one piece; save numpy.ascontiguousarray(images)"
            )
        return cls(path, shape, dtype, start, file.stamp)

    def read(self, place: int) -> bytes:
        """An image as a .npy file of its own. DataError if this one is not what it was."""
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        with reading(self.path, "cannot be read ({}); put it back"), TimedFile(self.path) as file:
            file.seek(self.start + place * size)
            content = file.read(size)
        if file.stamp != self.stamp or len(content) != size:
            raise DataError(f"{self.path}: has changed since it was opened; start again")
        alone = io.BytesIO()
        np.save(alone, np.frombuffer(content, self.dtype).reshape(self.shape[1:]))
        return alone.getvalue()


def labels_beside(images: Path) -> Path:
    """Where the labels of a file of images are."""
    return images.with_name(images.name[: -len(IMAGES)] + LABELS)


def _labels(array: _ImageArray) -> np.ndarray:
    """The labels of the images in a file: integers or texts."""
    path = labels_beside(array.path)
    with reading(path, NO_NPY):
        content = read_regular(path)
        labels = read_npy(io.BytesIO(content), len(content), str(path))
    if labels.shape != array.shape[:1] or labels.dtype.kind not in "iuU":
        raise DataError(
            f"{path}: expected labels {shape_text(array.shape[:1])}, integers or text, one for each of {array.path.name}, got "
            f"{shape_text(labels.shape)} of {shortened(str(labels.dtype))}"
        )
    if labels.dtype.kind == "U":
        return labels
    wrong = np.flatnonzero((labels < 0) | (labels > len(labels)))
    if wrong.size:
        raise DataError(
            f"{path}: row {wrong[0]}: label {labels[wrong[0]]} is not from 0 on, one number a class; leave out images that have none"
        )
    numbers: np.ndarray = labels.astype(np.int64)
    return numbers


def _numbered(labels: np.ndarray, path: Path, expected: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes, and int64 labels (N,)."""
    if labels.dtype.kind == "U":
        found, numbers = np.unique(labels, return_inverse=True)
        called = tuple(map(str, found))
    else:
        called, numbers = tuple(map(str, range(int(labels.max(initial=-1)) + 1))), labels
    if expected is None:
        if len(called) < 2:
            raise DataError(
                f"{labels_beside(path)}: {f'one class, {called[0]}' if called else 'no labels'}; expected two classes or more"
            )
        check_names(labels_beside(path), called, "give the class another name")
        return called, numbers.astype(np.int64)
    if labels.dtype.kind != "U":
        if len(called) > len(expected):
            raise DataError(
                f"{labels_beside(path)}: labels go up to {len(called) - 1}, and the classes of the training images to {len(expected) - 1}: "
                f"{names_text(expected)}; leave the others out"
            )
        return tuple(expected), numbers
    known = {comparable(name): place for place, name in enumerate(expected)}
    if unknown := [name for name in called if comparable(name) not in known]:
        raise DataError(
            f"{labels_beside(path)}: {names_text(unknown)} are not classes of the training images; the classes are {names_text(expected)}"
        )
    return tuple(expected), np.array([known[comparable(name)] for name in called], np.int64)[numbers]
