"""NpyImages: a data set of images in one large .npy array, with their labels in another."""

import math
import os
from collections import Counter
from collections.abc import Generator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import to_host
from gpucnn.checks import as_path
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.npz import one_image, read_npy, read_npy_header
from gpucnn.data.quiet_reading import reading
from gpucnn.data.shard_files import ClassLabels, Shards, find_shards, number_classes
from gpucnn.errors import DataError
from gpucnn.regular_file import open_regular, read_regular
from gpucnn.text import shape_text

IMAGES, LABELS = "images.npy", "labels.npy"
"""How the names of the two files end, which begin alike."""


class NpyImages(ImageFolder):
    """The images in `images.npy`, with `labels.npy` beside it, in their order.

    - `folder`: one that holds them, or `Shards`: just these files of images.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W), bytes, 16 bits, or floats from 0 to 1, of which each is taken as an image
    in a .npy file of its own is; labels are (N,), integers from 0 on, or texts, by which the classes are called. All else is as
    in `ImageFolder`: `paths` says file and place, e.g. images.npy/7.npy.

    An image is read when it is asked for, the array never as a whole, however large it is. It is not mapped into memory: to
    touch a page of a file that was cut off meanwhile would end the process.

    Raises DataError, which names the file, for what is damaged, changed meanwhile, or of another shape or type; of arrays of
    objects nothing is unpickled.
    """

    def _find(self, folder: Any, class_names: Sequence[str] | None) -> None:
        if not isinstance(folder, Shards):
            place = as_path(folder, "folder")
            folder = Shards([path for paths in find_shards(place, IMAGES, LABELS).values() for path in paths])
            if not folder.files:
                raise DataError(f"{place}: no {IMAGES} with a {LABELS} in it; give the folder that holds both")
        self._arrays = [_ArrayFile.open(path) for path in folder.files]
        self.folder = folder.files[0].parent
        self.left_out: Counter[str] = Counter()
        found = [_labels(array) for array in self._arrays]
        self.class_names, labels = number_classes(found, class_names)
        paths = [array.path / f"{place}.npy" for array in self._arrays for place in range(array.shape[0])]
        skip = set(folder.skip)
        self._places = np.array([place for place, path in enumerate(paths) if path not in skip], np.int64)
        self.labels, self.paths = labels[self._places], tuple(paths[place] for place in self._places)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each image is called, as "class/name": by file and place."""
        return tuple(
            f"{self.class_names[label]}/{path.relative_to(self.folder).as_posix()}"
            for path, label in zip(self.paths, to_host(self.labels).tolist(), strict=True)
        )

    def contents(self, indices: np.ndarray) -> Generator[bytes]:
        """Of each image at `indices` (B,) what a .npy file of its own would have. DataError for one that cannot be read."""
        starts = np.cumsum([0, *(array.shape[0] for array in self._arrays)])
        for index in self._places[indices].tolist():
            which = int(np.searchsorted(starts, index, side="right")) - 1
            yield self._arrays[which].read(index - int(starts[which]))

    def file_of(self, index: int) -> Path:
        """The file in which an image is."""
        return self.paths[index].parent


class _ArrayFile(NamedTuple):
    """A .npy file of images, whose header was read."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    """Where in the file the array begins."""
    stamp: tuple[int, int]
    """Size and time of the file."""

    @classmethod
    def open(cls, path: Path) -> "_ArrayFile":
        """DataError for what is no array of images."""
        with reading(path, "not a .npy file that can be read ({}); write it with numpy.save"), open_regular(path) as file:
            status = os.fstat(file.fileno())
            shape, is_fortran, dtype = read_npy_header(file, status.st_size, str(path))
            start = file.tell()
        if len(shape) not in (3, 4) or 0 in shape[1:]:
            fix = "; images of different sizes go into files of their own" if len(shape) == 1 else ""
            raise DataError(f"{path}: expected images (N, H, W), (N, H, W, C) or (N, C, H, W), got {shape_text(shape)}{fix}")
        if is_fortran and len(shape) > 1 and shape[0] > 1:
            raise DataError(f"{path}: is in Fortran order, in which no image is in one piece; save np.ascontiguousarray(images)")
        if dtype.kind not in "buif":
            raise DataError(f"{path}: expected bytes (uint8), 16 bits or floats from 0 to 1, got {dtype}; images.astype('uint8')")
        return cls(path, shape, dtype, start, (status.st_size, status.st_mtime_ns))

    def read(self, place: int) -> bytes:
        """An image, as a .npy file of its own."""
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        with reading(self.path, "cannot be read ({}); put it back"), open_regular(self.path) as file:
            status = os.fstat(file.fileno())
            file.seek(self.start + place * size)
            content = file.read(size)
        if (status.st_size, status.st_mtime_ns) != self.stamp or len(content) != size:
            raise DataError(f"{self.path}: has changed since it was opened; start again")
        return one_image(np.frombuffer(content, self.dtype).reshape(self.shape[1:]))


def _labels(array: _ArrayFile) -> ClassLabels:
    """The labels of the images in a file."""
    path = array.path.with_name(array.path.name[: -len(IMAGES)] + LABELS)
    with reading(path, "not a .npy file that can be read ({}); write it with numpy.save"):
        content = read_regular(path)
        import io

        labels = read_npy(io.BytesIO(content), len(content), str(path))
    if labels.shape != array.shape[:1] or labels.dtype.kind not in "iuU":
        raise DataError(
            f"{path}: expected labels {shape_text(array.shape[:1])}, integers or text, as {array.path.name} has so many images, got "
            f"{shape_text(labels.shape)} of {labels.dtype}"
        )
    if labels.dtype.kind == "U":
        texts, places = np.unique(labels, return_inverse=True)
        return ClassLabels(path, LABELS, places.astype(np.int64), tuple(map(str, texts)), ())
    return ClassLabels(path, LABELS, labels.astype(np.int64), None, ())
