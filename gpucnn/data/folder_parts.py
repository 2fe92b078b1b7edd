"""A folder's parts to train on, to choose by and to test with, known by their names."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gpucnn.data.image_listing import BESIDE, Entry, entries, entries_or_none
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text import names_text

NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What each part may be called, in any case, and with "set", "data" or "images" behind it."""

RATHER_CLASSES = ("valid", "dev", "eval", "evaluation")
"""Beside others and without a part to train on, as in valid and invalid."""

_PART_OF = {name: part for part, called in NAMES.items() for name in called}

LAYOUTS = (
    "folders are read as DIR/CLASS/*.png, or as DIR/train/CLASS/*.png and DIR/test/CLASS/*.png, with DIR/val/CLASS/*.png if "
    "there is one"
)


class FolderParts(NamedTuple):
    """Where the parts are. Without a folder `test`, `test` is that of the validation images, and `validation` None."""

    train: Path
    test: Path
    validation: Path | None
    folders_beside: list[str]
    """The names of the other folders."""
    files_beside: Counter[str]
    """The files beside them, by kind."""


def part_of(name: str) -> str | None:
    """The part that a folder of this name is: "train", "validation" or "test"; None for none of them."""
    core = re.sub(r"[\W_]+", "", name.casefold())
    return _PART_OF.get(core) or _PART_OF.get(re.sub(r"(set|data|images)$", "", core))


def parts_among(names: Sequence[str]) -> list[str]:
    """Those of `names` with a part's name as one of their words, if they are of two parts or more, as seg_train and seg_test."""
    found = {
        name: {_PART_OF[word] for word in re.split(r"[\W_\d]+", name.casefold()) if word in _PART_OF}
        | ({part} if (part := part_of(name)) else set())
        for name in names
    }
    parts = set().union(*found.values())
    return [name for name in names if found[name]] if len(parts) > 1 else []


def find_parts(folder: Path) -> FolderParts | None:
    """The parts in `folder`; None if its folders are classes.

    Raises DataError for a part without the other, unless it is a class, for two folders of one part, and if `folder` cannot
    be listed.
    """
    with TimedCalls() as timed:
        inside = entries_or_none(folder, timed)
        if inside is None:
            return None
        folders = [entry for entry in inside if entry.is_folder]
        train, validation, test = (_chosen(folder, part, folders) for part in NAMES)
        measured = [part for part in (test, validation) if part is not None]
        if train is not None and measured:
            beside = [entry.name for entry in folders if entry.path not in (train, *measured)]
            files = Counter(BESIDE if entry.is_image else entry.label for entry in inside if not entry.is_folder)
            return FolderParts(train, measured[0], measured[1] if len(measured) > 1 else None, beside, files)
        for alone in measured if train is None else [train]:
            if alone.name.casefold() in RATHER_CLASSES and len(folders) > 1:
                continue
            if any(entry.is_folder for entry in _listed(alone, timed)):
                other = "train" if train is None else "test"
                raise DataError(
                    f"{folder}: has class folders in {alone.name}, but no folder {other}; add {folder / other}, or give "
                    f"{alone}, of whose images a fifth is then for testing; or rename it, if it is a class"
                )
    return None


def _listed(folder: Path, timed: TimedCalls) -> list[Entry]:
    try:
        return entries(folder, timed)
    except OSError:
        return []


def _chosen(folder: Path, part: str, folders: Sequence[Entry]) -> Path | None:
    found = [entry.path for entry in folders if part_of(entry.name) == part]
    if exact := [path for path in found if path.name == part]:
        return exact[0]
    if len(found) > 1:
        raise DataError(
            f"{folder}: {names_text([path.name for path in found])} are each a name of the {part} part; keep one of them there"
        )
    return found[0] if found else None
