"""A folder whose images are packed into a few large files: which part each file belongs to, known by its name or its folder's."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.checks import as_path
from gpucnn.data.folder_parts import part_of
from gpucnn.data.image_listing import Entry, cannot_be_listed, entries, entries_or_none
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text import names_text


class PackedFiles(NamedTuple):
    """Files of images of one part."""

    files: Sequence[Path]
    skip: Collection[Path] = ()
    """Images that are passed over, as if they were not there, each by file and place within it."""
    are_labelled: bool = True
    """False for images that are looked at whatever they are of: all of one class, without a name, and no label is read."""

    @classmethod
    def of(cls, folder: Any, suffix: str, lacking: str) -> "PackedFiles":
        """Those of all parts in a folder, whose names end in `suffix`; `folder` itself if it is such files.

        DataError if there are none, which says what is `lacking`.
        """
        if isinstance(folder, PackedFiles):
            return folder
        place = as_path(folder, "folder")
        files = [path for paths in packed_parts(place, suffix).values() for path in paths]
        if not files:
            raise DataError(f"{place}: {lacking}")
        return cls(files)

    @property
    def folder(self) -> Path:
        """Where they are: all in one."""
        return self.files[0].parent

    def kept(self, paths: Sequence[Path]) -> np.ndarray:
        """The places of those images at `paths`, by file and place within it, that are not passed over: int64 (N,)."""
        skip = set(self.skip)
        return np.array([place for place, path in enumerate(paths) if path not in skip], np.int64)


def packed_parts(folder: Path, suffix: str) -> dict[str, list[Path]]:
    """The files that end in `suffix`, in `folder`, its `data`, or its folders train, test, ..., sorted, by their part.

    A part is known by how a file's name begins, as in train-00000-of-00002.parquet, or by its folder's name, and is "train",
    "validation" or "test", or "" for files that are of none. A folder below that holds images has none. Empty if there are none.

    Raises DataError if a part is in two folders, or if a folder cannot be listed.
    """
    with TimedCalls() as timed:
        inside = entries_or_none(folder, timed)
        if inside is None:
            return {}
        try:
            listed = [
                (folder, inside),
                *((one.path, entries(one.path, timed)) for one in inside if one.is_folder and _may_hold(one.name)),
            ]
        except OSError as error:
            raise cannot_be_listed(folder, error) from None
    found: dict[str, list[Path]] = {}
    for place, there in listed:
        # Beside class folders, or parts of such, there is mostly the archive that they were unpacked from.
        is_unpacked = sum(entry.is_folder for entry in there) > 1
        if not is_unpacked and (place == folder or not any(_is_other_image(entry, suffix) for entry in there)):
            for entry in there:
                if entry.kind == "file" and entry.name.lower().endswith(suffix) and not entry.name.startswith("."):
                    found.setdefault(_part(entry.path, folder), []).append(entry.path)
    for part, paths in found.items():
        if len(places := sorted({str(path.parent) for path in paths})) > 1:
            what = f"the {part} part" if part else "images"
            raise DataError(f"{folder}: {what} in {names_text(places)}; give one of these folders")
    return found


def _is_other_image(entry: Entry, suffix: str) -> bool:
    return entry.is_image and not (suffix.endswith(".npy") and entry.name.lower().endswith(".npy"))


def _may_hold(name: str) -> bool:
    """Whether a folder of this name is looked into: one of a class may have a million files."""
    return name.casefold() == "data" or part_of(name) is not None


def _part(path: Path, folder: Path) -> str:
    word = re.split(r"[\W_\d]", path.name, maxsplit=1)[0]
    return part_of(word) or (part_of(path.parent.name) if path.parent != folder else None) or ""


def divided(found: dict[str, list[Path]]) -> tuple[Sequence[Path], Sequence[Path], Sequence[Path]]:
    """The files to train on, to test with and to validate with, of `packed_parts`; none to test with if all are one part.

    Without a test part the validation images are what is tested with.
    """
    train, validation, test = (found.get(part, []) for part in ("train", "validation", "test"))
    if not train or not (test or validation):
        return [path for paths in found.values() for path in paths], [], []
    return (train, test, validation) if test else (train, validation, [])
