"""The list of the image files that a run learns from and is measured on, which it keeps: a folder of images may change."""

import hashlib
import itertools
import json
import os
import stat
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn.checks import is_int
from gpucnn.data import Dataset, Splits, Subset
from gpucnn.data.image_folder import ImageFolder, paths_of, places_of, whole_of
from gpucnn.errors import DataError, RunError
from gpucnn.text_table import shortened

LEARNED = ("train", "validation")
"""Parts whose images a run has seen; "test" is the other one."""

ALL = (*LEARNED, "test")
UNREADABLE = "unreadable"
"""The part of files that could not be read when the run began, and that it passes over, also once they can."""

ENTRY = "images"
"""In a run's config, which file has its list; only if its images are files."""

NAMED = 3
"""How many files are named in a message."""


class ImageFile(NamedTuple):
    """A file of the list."""

    part: str
    """"train", "validation", "test" or "unreadable"."""
    name: str
    """Its path in the data set's folder, with "/" on every system."""
    size: int
    """In bytes; 0 of an unreadable one."""
    digest: str
    """Of its bytes: BLAKE2b, 128 bits in hexadecimal; empty for an unreadable one."""


class StoredImage(NamedTuple):
    """An image of a data set that is in files."""

    dataset: ImageFolder
    place: int

    @property
    def path(self) -> Path:
        return self.dataset.paths[self.place]


class Changes(NamedTuple):
    """What has happened to a folder since a run has listed its images: names of files, sorted."""

    new: tuple[str, ...]
    gone: tuple[str, ...]
    changed: tuple[str, ...]

    def __str__(self) -> str:
        """One line, e.g. "3 images are new since the run began (cat/7.png, ...), 1 is gone (cat/1.png)"; or empty."""
        said: list[str] = []
        for (one, many), names in zip(
            (("is new", "are new"), ("is gone", "are gone"), ("has changed", "have changed")), self, strict=True
        ):
            if names:
                what = "" if said else " image" if len(names) == 1 else " images"
                since = "" if said else " since the run began"
                said.append(f"{len(names):,}{what} {one if len(names) == 1 else many}{since} ({_some(names)})")
        return ", ".join(said)


class ImageList:
    """The images of a run, part by part, in the order in which it takes them."""

    def __init__(self, files: Iterable[ImageFile]) -> None:
        self.files = tuple(files)
        self.by_name = {file.name: file for file in self.files}

    @classmethod
    def of(cls, parts: Mapping[str, Dataset], folder: Path, unreadable: Sequence[Path] = ()) -> "ImageList | None":
        """The list of the images of `parts`, which lie in `folder`; None if their images are not files.

        All files are read but those that are `unreadable`. Raises DataError if one cannot be.
        """
        files: list[ImageFile] = []
        for part, dataset in parts.items():
            images = stored(dataset)
            if images is None:
                return None
            names = file_names([image.path for image in images], folder)
            files += [ImageFile(part, name, *found) for name, found in zip(names, fingerprints(images), strict=True)]
        files += [ImageFile(UNREADABLE, name, 0, "") for name in file_names(unreadable, folder)]
        return cls(files)

    @classmethod
    def from_text(cls, text: str) -> "ImageList":
        """The list that `text` gave. ValueError, TypeError or KeyError for other text."""
        rows = [json.loads(line) for line in text.splitlines()]
        files = [ImageFile(row["part"], row["file"], row["bytes"], row["blake2b"]) for row in rows]
        if not all(
            is_int(file.size) and all(isinstance(part, str) for part in (*file[:2], file.digest)) for file in files
        ):
            raise ValueError("not the entries of a list of images")
        return cls(files)

    def text(self) -> str:
        """Lines of JSON, one per file."""
        rows = (
            {"part": part, "file": name, "bytes": size, "blake2b": digest} for part, name, size, digest in self.files
        )
        return "".join(json.dumps(row) + "\n" for row in rows)

    @property
    def file_name(self) -> str:
        """What the list's file is called: by its content, so that a checkpoint and a list of another run never go together."""
        return f"images-{hashlib.blake2b(self.text().encode(), digest_size=8).hexdigest()}.jsonl"

    def names(self, *parts: str) -> list[str]:
        """The files of these parts."""
        return [file.name for file in self.files if file.part in parts]

    def unreadable(self, folder: Path) -> list[Path]:
        """Where the files are that the run passes over, if the data set is in `folder`."""
        return [folder / name for name in self.names(UNREADABLE)]

    def digests(self, *parts: str) -> set[str]:
        """What the bytes of these parts' files are known by."""
        return {file.digest for file in self.files if file.part in parts}

    def doubles(self) -> int:
        """How many test images have the very bytes of an image that the run learns from."""
        learned = self.digests(*LEARNED)
        return sum(file.part == "test" and file.digest in learned for file in self.files)

    def changes(self, here: Mapping[str, StoredImage], read: Sequence[str]) -> Changes:
        """What is other among the files `here`, by name: those of the parts `read` are read, of the rest sizes are compared."""
        expected = [file for file in self.files if file.part != UNREADABLE]
        known = [file for file in expected if file.name in here]
        other = {file.name for file in known if _size(here[file.name]) not in (None, file.size)}
        same_size = [file for file in known if file.name not in other and file.part in read]
        found = fingerprints([here[file.name] for file in same_size])
        other |= {file.name for file, (_, digest) in zip(same_size, found, strict=True) if digest != file.digest}
        return Changes(
            tuple(sorted(name for name in here if name not in self.by_name)),
            tuple(sorted(file.name for file in expected if file.name not in here)),
            tuple(sorted(other)),
        )

    def subset(self, dataset: Dataset, folder: Path, *parts: str) -> Subset:
        """The images of these parts, which the image folder `dataset` in `folder` must have, in the list's order."""
        paths = paths_of(dataset)
        assert paths is not None, "it has files"
        places = {name: place for place, name in enumerate(file_names(paths, folder))}
        names = self.names(*parts)
        if missing := [name for name in names if name not in places]:
            raise RunError(f"{folder}: {_some(missing)} cannot be found where the run had them; put them back")
        return Subset(dataset, np.array([places[name] for name in names], np.int64))


def stored(dataset: Dataset) -> list[StoredImage] | None:
    """The images of an ImageFolder or of a part of one; None for other data sets."""
    places, whole = places_of(dataset)
    return [StoredImage(whole, place) for place in places.tolist()] if isinstance(whole, ImageFolder) else None


def files_in(splits: Splits, folder: Path) -> dict[str, StoredImage]:
    """All image files of a data set in `folder`, by name; empty if its images are not files."""
    found: dict[str, StoredImage] = {}
    for part in (splits.train, splits.validation, splits.test):
        images = [] if part is None else stored(whole_of(part)) or []
        found |= dict(zip(file_names([image.path for image in images], folder), images, strict=True))
    return found


def fingerprints(images: Sequence[StoredImage]) -> list[tuple[int, str]]:
    """Size and digest of each image's file. DataError, which names it, if one cannot be read."""
    found: list[tuple[int, str]] = []
    for _, some in itertools.groupby(images, lambda image: id(image.dataset)):
        together = list(some)
        try:
            for content in together[0].dataset.contents(np.array([image.place for image in together])):
                found.append((len(content), hashlib.blake2b(content, digest_size=16).hexdigest()))
        except OSError as error:
            raise _unreadable(images[len(found)].path, error) from None
    return found


def _size(image: StoredImage) -> int | None:
    """Of an image's file; None if it has none of its own."""
    path = image.path
    if image.dataset.file_of(image.place) != path:
        return None
    try:
        found = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: not a regular file; move it away")
    return found.st_size


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror or error}); make it readable, or move it away")


def file_names(paths: Sequence[Path], folder: Path) -> list[str]:
    """What a list calls the files at `paths`, which lie in `folder`."""
    names = [path.relative_to(folder).as_posix() for path in paths]
    # File systems spell umlauts in two ways, and a folder may be copied from one to another.
    composed = [unicodedata.normalize("NFC", name) for name in names]
    return composed if len(set(composed)) == len(names) else names


def _some(names: Sequence[str]) -> str:
    return ", ".join(shortened(name, 60) for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def check_there(place: Path) -> None:
    """DataError, with the option that says where it is now, if the folder of a run's images is not at `place`."""
    if not place.exists():
        raise DataError(f"{place}: the run's images are not there; say where they are, with --data-dir (data_dir)")
