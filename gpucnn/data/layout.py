"""The forms in which the files of one data set are found: their names, and the folders that archives and libraries put them in."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn.errors import DataError


class Arrays(NamedTuple):
    """What is in the files of a data set: bytes (N, C, H, W) and labels (N,) from 0 on, to train and to test on."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...] = ()
    """Where the files tell them."""
    notes: tuple[str, ...] = ()
    """What is to be said of the files, a line each."""


class Form(NamedTuple):
    """One form in which a data set comes."""

    files: tuple[tuple[str, ...], ...]
    """Of each file that is needed, the names that it may have, in which * stands for anything."""
    told: str
    """The files in a few words, for messages."""
    read: Callable[[Path], Arrays]
    """Of the folder that holds them. DataError, which names the file, if one is missing or damaged."""


ARCHIVES = ("*.tar.gz", "*.tgz", "*.zip", "*.tar")
"""Files that data sets are downloaded as, and that are not read."""


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """The file in `folder` that has the first of `names`, or None."""
    return next((path for name in names for path in sorted(folder.glob(name)) if path.is_file()), None)


def files_missing(folder: Path, names: Sequence[str], wanted: str) -> DataError:
    """The error for `names` that are not in `folder`; `wanted` tells of all files that should be there."""
    return DataError(f"no {', no '.join(names)} in {folder}; put {wanted} there, or name their folder with --data-dir")


def read_first(folder: Path, below: Sequence[str], forms: Sequence[Form], origin: str) -> Arrays:
    """The data set in `folder`, or in the first of the folders `below` it, in the first of `forms` that is there.

    One that is whole goes before one that lacks a file. If no form is there, raises DataError, which tells all that was
    looked for and the `origin` of such files.
    """
    if folder.is_file():
        raise DataError(f"{folder}: is a file; give the folder that holds it, {folder.parent}")
    places = [folder, *(folder / name for name in below)]
    for enough in (all, any):
        for place in places:
            for form in forms:
                if enough(find_file(place, names) for names in form.files):
                    return form.read(place)
    others = "".join(f", or {form.told}" for form in forms[1:] if form.told)
    packed = find_file(folder, ARCHIVES)
    origin = origin if packed is None else f"{packed.name} is an archive: unpack it there"
    try:
        return forms[0].read(folder)
    except DataError as error:
        raise DataError(
            f"{error}{others}; they were looked for there and in {', '.join(below)} below; {origin}"
        ) from None
