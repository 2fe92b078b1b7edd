"""Images packed into a few large files: which kind of files a folder has, and what reads them."""

import errno
import functools
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn.data.file_stamp import FileStamp, stamp
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.image_listing import Entry, Listing, entries, list_images
from gpucnn.data.npy_images import IMAGES, LABELS, NpyImages, labels_beside
from gpucnn.data.packed_parts import PackedFiles, divided, packed_parts
from gpucnn.data.parquet_images import ParquetImages
from gpucnn.data.tar_format import COMPRESSED_NAMES, compressed_text
from gpucnn.data.tar_images import TarImages
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls, read_regular
from gpucnn.text import counted, names_text

KINDS: dict[str, type[ImageFolder]] = {".parquet": ParquetImages, ".tar": TarImages, IMAGES: NpyImages}
"""What reads files, by how their names end: made of `PackedFiles`."""

MOST_OPEN = 2
"""Files that are kept open for images asked for one by one: of Parquet, some of their images are in memory."""


class Packed(NamedTuple):
    """The files of a data set. Without `test` all of its images are in `train`."""

    kind: type[ImageFolder]
    train: Sequence[Path]
    test: Sequence[Path]
    validation: Sequence[Path]
    notes: tuple[str, ...]
    """What whoever uses them should know."""


def find_packed(folder: Path) -> Packed | None:
    """What is in `folder`; None if it has no such files. DataError if it has several kinds, a part twice, compressed tars, or lacks labels."""
    found = _files_in(folder)
    if found is None:
        _check_labelled(folder)
        return None
    suffix, by_part = found
    train, test, validation = divided(by_part)
    read = {*train, *test, *validation}
    unread = [path.name for paths in by_part.values() for path in paths if path not in read]
    notes = [f"not read: {counted(len(unread), 'file')} of no part, {names_text(unread, 3)}"] if unread else []
    looked_into = {path.parent for path in read}
    beside = [
        entry.name
        for entry in _entries(folder)
        if (entry.is_folder and entry.path not in looked_into) or (entry.is_image and not _is_array(entry.path))
    ]
    if beside:
        notes.append(f"not read: {names_text(beside, 3)}, beside the {suffix} files")
    if test and not by_part.get("test"):
        notes.append("there is no test part: the validation images are what is tested with")
    return Packed(KINDS[suffix], train, test, validation, tuple(notes))


def list_packed_images(folder: Path, timed: TimedCalls) -> Listing:
    """The images in `folder` and below, as `list_images` finds them; where there are none, those in its packed files, whatever they are of.

    Their paths go on into the files. Raises what `list_images` and `find_packed` do.
    """
    found = list_images(folder, timed)
    if found.problems or not all(map(_is_array, found.images)):
        return found
    if (packed := _files_in(folder)) is None:
        return found
    suffix, by_part = packed
    parts = [KINDS[suffix](PackedFiles(files, are_labelled=False), 1) for files in by_part.values()]
    left_out = sum((part.left_out for part in parts), Counter[str]())
    return Listing([path for part in parts for path in part.paths], left_out, {}, [])


def read_file_or_stored(path: Path) -> bytes:
    """The content of an image file, or of an image in a packed file, into which its path goes on. Raises what `read_regular` does, or DataError."""
    try:
        return read_regular(path)
    except NotADirectoryError:
        for place in path.parents:
            for suffix in KINDS:
                if place.name.lower().endswith(suffix) and place.is_file():
                    images, places = _opened(suffix, place, stamp(os.stat(place)))
                    if path not in places:
                        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
                    with closing(images.contents(np.array([places[path]]))) as contents:
                        return next(contents)
        raise


@functools.lru_cache(MOST_OPEN)
def _opened(suffix: str, file: Path, known: FileStamp) -> tuple[ImageFolder, dict[Path, int]]:
    """The images in a file that has this stamp, and the place of each."""
    images = KINDS[suffix](PackedFiles([file], are_labelled=False), 1)
    return images, {path: place for place, path in enumerate(images.paths)}


def _files_in(folder: Path) -> tuple[str, dict[str, list[Path]]] | None:
    """How the names of a folder's packed files end, and the files of each part; None if there are none."""
    found = {suffix: by_part for suffix in KINDS if (by_part := packed_parts(folder, suffix))}
    if not any(labels_beside(path).exists() for paths in found.get(IMAGES, {}).values() for path in paths):
        found.pop(IMAGES, None)  # an image that is called so
    if not found:
        _check_not_compressed(folder)
        return None
    if ".tar" in found:
        _check_none_compressed(folder)
    if len(found) > 1:
        raise DataError(f"{folder}: has {names_text(list(found))} files; keep one kind of them there")
    ((suffix, parts),) = found.items()
    return suffix, parts


def _check_not_compressed(folder: Path) -> None:
    """DataError if there are compressed tars in `folder`, and no folders."""
    inside = _entries(folder)
    if not any(entry.is_folder for entry in inside):
        for entry in inside:
            for end, program in COMPRESSED_NAMES.items():
                if entry.kind == "file" and entry.name.lower().endswith(end):
                    raise DataError(compressed_text(entry.path, program))


def _is_array(path: Path) -> bool:
    """Whether it is called as an array of many images or of their labels is."""
    return path.name.lower().endswith((IMAGES, LABELS))


def _entries(folder: Path) -> list[Entry]:
    try:
        with TimedCalls() as timed:
            return entries(folder, timed)
    except OSError:
        return []  # for ImageFolder to tell


def _check_labelled(folder: Path) -> None:
    """DataError for an array of images that has no labels, where there are no class folders that an image so called could be beside."""
    inside = _entries(folder)
    for entry in inside:
        if entry.is_image and entry.name.lower().endswith(IMAGES) and not any(one.is_folder for one in inside):
            raise DataError(
                f"{entry.path}: no {labels_beside(entry.path).name} beside it, which says of what class each image is; add it"
            )


def _check_none_compressed(folder: Path) -> None:
    """DataError for a compressed tar among others: its images would be missing without a word."""
    for end, program in COMPRESSED_NAMES.items():
        for paths in packed_parts(folder, end).values():
            raise DataError(compressed_text(paths[0], program))
