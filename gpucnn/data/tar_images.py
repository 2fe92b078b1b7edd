"""TarImages: a data set of images in tar files, as WebDataset lays them out."""

from collections import Counter
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gpucnn.data.class_folders import check_names, comparable
from gpucnn.data.file_stamp import FileStamp
from gpucnn.data.folder_parts import part_of
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.image_listing import left_out_text
from gpucnn.data.packed_parts import PackedFiles
from gpucnn.data.tar_file import SUFFIX, TarFile, open_tar
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text import names_text
from gpucnn.text_table import shortened

CLASSES = "classes.txt"
"""The file beside tars that has the names of classes, one a line, for labels that are numbers."""

AT_ONCE = 8
"""Images that are read together: to wait for another thread takes longer than to read a small one."""


class TarImages(ImageFolder):
    """The images in tar files, each class's after the other, sorted by their names, as those of a folder are.

    - `folder`: one that holds them, or `PackedFiles`: just these files, which are in one folder.

    An image KEY.png has its label in KEY.cls, the number of a class or its name, or as "label" in KEY.json; a tar without such
    files has it in its first folder, as in cat/1.png. `classes.txt` beside the tars, or beside their folder, names the classes
    of numbers; else numbers are their names. Of `class_names` some may lack images. All else is as in `ImageFolder`: `paths` says file
    and member, e.g. train-0.tar/cat/1.png.

    A tar is looked through once; where its images are is kept in a file beside it, or in the user's folder for caches, until it
    has another size, time of change or time of status. Then any image is read by itself, so that their order costs nothing but what the drive takes.

    Raises DataError, which names the file, the member and the fix, for tars that are damaged or compressed, links and devices in
    them, labels that are missing, two, or of no class; and when a batch is asked for, for what is no image.
    """

    def _find(self, folder: Any, class_names: Sequence[str] | None) -> None:
        packed = PackedFiles.of(folder, SUFFIX, f"no {SUFFIX} files in it; give the folder that holds them")
        self.folder = packed.folder
        with TimedCalls() as timed:
            self._tars = [open_tar(path, timed) for path in packed.files]
            written = _written_names(self.folder, timed) if packed.are_labelled else ()
        skip = set(packed.skip)
        if packed.are_labelled:
            by_class = _by_class(self.folder, self._tars, written, class_names)
        else:
            by_class = {"": [((), number, image) for number, tar in enumerate(self._tars) for image in tar.images]}
        kept = {
            name: [(tar, image) for _, tar, image in sorted(inside) if self._path(tar, image) not in skip]
            for name, inside in by_class.items()
        }
        self.class_names = tuple(kept)
        self._images = [image for inside in kept.values() for image in inside]
        self.paths = tuple(self._path(tar, image) for tar, image in self._images)
        self.labels = np.repeat(np.arange(len(kept)), [len(inside) for inside in kept.values()])
        self.left_out: Counter[str] = sum((tar.left_out for tar in self._tars), Counter())
        self.notes = tuple(filter(None, [left_out_text(self.left_out)]))

    def _path(self, tar: int, image: str) -> Path:
        return self._tars[tar].path / image

    @property
    def names(self) -> tuple[str, ...]:
        """What each image is called in its tar, as "class/name" in one of class folders."""
        return tuple(image for _, image in self._images)

    def contents(self, indices: np.ndarray) -> Generator[bytes]:
        """The images at `indices` (B,), as they are in the files. OSError or DataError for one that cannot be read."""
        with TimedCalls() as timed:
            for start in range(0, len(indices), AT_ONCE):
                some = [self._images[index] for index in indices[start : start + AT_ONCE]]
                first = self._tars[some[0][0]].path
                yield from timed(first, partial(self._read_some, some))

    def _read_some(self, images: Sequence[tuple[int, str]]) -> list[bytes]:
        return [self._tars[tar].read(image) for tar, image in images]

    def file_of(self, index: int) -> Path:
        """The tar in which an image is."""
        return self._tars[self._images[index][0]].path

    def opened_stamp(self, index: int) -> FileStamp:
        """The stamp of the tar as it was opened, of which alone images are read."""
        return self._tars[self._images[index][0]].stamp


def _by_class(
    folder: Path, tars: Sequence[TarFile], written: tuple[str, ...], expected: Sequence[str] | None
) -> dict[str, list[tuple[tuple[str, ...], int, str]]]:
    """The images of each class, in the order of the labels: the parts of their names, the number of the tar, and their names.

    - `written`: the names of the classes; empty where nothing says them. `expected`: those of a model, or None.
    """
    found: dict[str, list[tuple[tuple[str, ...], int, str]]] = {name: [] for name in written}
    numbers: dict[str, int] = {name: number for number, name in enumerate(written)}
    kinds: set[type] = set()
    for number, tar in enumerate(tars):
        for image, label in zip(tar.images, tar.labels, strict=True):
            if label is None:
                key = shortened(image.partition(".")[0], 60)
                raise DataError(
                    f"{tar.path}: {shortened(image, 60)} has no label; expected {key}.cls with one beside it, or a folder of its "
                    f"class, as in cat/{shortened(image, 60)}"
                )
            if isinstance(label, int) and written and label >= len(written):
                raise DataError(
                    f"{tar.path}: {shortened(image, 60)} has the label {label}, and {CLASSES} names {len(written)} classes, from 0 "
                    f"on; add its name"
                )
            if isinstance(label, str) and written and label not in numbers:
                raise DataError(
                    f"{tar.path}: {shortened(image, 60)} is of the class {shortened(label)!r}, which {CLASSES} does not have; add it"
                )
            kinds.add(type(label))
            if len(kinds) > 1 and not written:
                raise DataError(
                    f"{tar.path}: {shortened(image, 60)} has the label {label!r}, others have {'names' if isinstance(label, int) else 'numbers'}; "
                    f"name the classes of numbers in {folder / CLASSES}, one a line"
                )
            name = label if isinstance(label, str) else written[label] if written else str(label)
            if isinstance(label, int):
                numbers.setdefault(name, label)
            found.setdefault(name, []).append((PurePosixPath(image).parts, number, image))
    check_names(folder, list(found), "give the class another name")
    if expected is not None:
        return _expected(folder, found, expected)
    if len(found) < 2:
        raise DataError(f"{folder}: its tars have one class, {next(iter(found))}; expected two or more")
    if lacking := [name for name, inside in found.items() if not inside]:
        raise DataError(
            f"{folder}: no images of {names_text(lacking)} in its tars; add some, or take the names out of {CLASSES}"
        )
    return {name: found[name] for name in sorted(found, key=lambda name: (numbers.get(name, 0), name))}


def _expected(folder: Path, found: dict[str, list[Any]], expected: Sequence[str]) -> dict[str, list[Any]]:
    """The images of the classes that a model knows. DataError if there are others."""
    known = {comparable(name) for name in expected}
    if unknown := [name for name, inside in found.items() if inside and comparable(name) not in known]:
        raise DataError(
            f"{folder}: has images of classes that the training images do not have: {names_text(unknown)}; the classes are "
            f"{names_text(expected)}; leave such images out, or name the classes of numbers in {folder / CLASSES}, one a line"
        )
    inside = {comparable(name): images for name, images in found.items()}
    return {name: inside.get(comparable(name), []) for name in expected}


def _written_names(folder: Path, timed: TimedCalls) -> tuple[str, ...]:
    """The names of classes in the file beside tars, or beside the folder of a part; none without it."""
    for place in (folder, folder.parent) if part_of(folder.name) else (folder,):
        path = place / CLASSES
        try:
            (content,) = timed.read_each([path])
            names = tuple(line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        except UnicodeDecodeError:
            raise DataError(f"{path}: not UTF-8; write the name of one class a line") from None
        if len(set(names)) < len(names) or len(names) < 2:
            raise DataError(
                f"{path}: expected the names of two classes or more, each once, got {names_text(names) or 'none'}"
            )
        return names
    return ()
