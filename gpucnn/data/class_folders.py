"""Folders that are classes: which ones, in which order, and by which names."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gpucnn.data.folder_parts import LAYOUTS, parts_among
from gpucnn.data.image_listing import Entry, entries
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text import is_printed, names_text


def class_folders(
    folder: Path, inside: Sequence[Entry], expected: Sequence[str] | None, timed: TimedCalls
) -> dict[str, Path]:
    """Where the images of each class are, in the order of their labels, in `folder`, which has these entries `inside`.

    - `expected`: None, or the names of the classes; their folders need not all be there.

    Raises DataError for fewer than two folders, one that is not expected, names that do not print, and for parts of a data
    set in the place of classes; OSError for a folder that cannot be listed.
    """
    found = [entry.path for entry in inside if entry.is_folder]
    check_names(folder, [path.name for path in found], "rename the folder")
    if expected is None:
        if len(found) < 2:
            raise DataError(f"{folder}: {_too_few(folder, inside, timed)}")
        _check_no_parts(folder, found, timed)
        return {path.name: path for path in found}
    if len(set(map(comparable, expected))) < len(expected):
        raise DataError(f"{folder}: class_names has a name twice: {names_text(expected)}; give each class one name")
    places = {comparable(path.name): path for path in found}
    known = {comparable(name) for name in expected}
    missing = [name for name in expected if comparable(name) not in places]
    unknown = [path.name for path in found if comparable(path.name) not in known]
    if unknown:
        raise DataError(
            f"{folder}: has folders that are not classes of the training images: {names_text(unknown)}; rename or remove them; "
            f"the classes are {names_text(expected)}"
        )
    if len(missing) == len(expected):
        raise DataError(
            f"{folder}: none of the class folders is there{_images_beside(inside)}; expected {names_text(expected)}; put "
            f"the images into such folders, or move this one away"
        )
    return {name: places.get(comparable(name), folder / name) for name in expected}


def check_names(folder: Path, names: Sequence[str], fix: str) -> None:
    """DataError, with the `fix`, for a class whose name does not print, and for two that print the same."""
    for name in names:
        if not all(map(is_printed, name)) or not any(map(_is_visible, name)):
            raise DataError(f"{folder}: {name!a} cannot be printed as the name of a class; {fix}")
    alike = Counter(map(comparable, names))
    for name in names:
        if alike[comparable(name)] > 1:
            raise DataError(
                f"{folder}: two class folders are called {name}, written in two ways of Unicode, as macOS and others do; put "
                f"their images into one"
            )


def _is_visible(letter: str) -> bool:
    return not letter.isspace() and unicodedata.category(letter) not in ("Cf", "Mn", "Me")


def comparable(name: str) -> str:
    """A name as it is the same on every system: macOS takes letters apart from their accents."""
    return unicodedata.normalize("NFC", name)


def _check_no_parts(folder: Path, found: Sequence[Path], timed: TimedCalls) -> None:
    """DataError if folders are parts of a data set by their names, and hold class folders rather than images."""
    parts = parts_among([path.name for path in found])
    if parts and not any(entry.is_image for name in parts for entry in entries(folder / name, timed)):
        raise DataError(
            f"{folder}: {names_text(parts)} hold folders, no images; if they are parts of the data set, call them train, val "
            f"and test; if they are classes, rename them; {LAYOUTS}"
        )


def _too_few(folder: Path, inside: Sequence[Entry], timed: TimedCalls) -> str:
    """What is wrong with a folder that has no two class folders, and what would be right."""
    found = [entry for entry in inside if entry.is_folder]
    deeper = [entry for one in found for entry in entries(one.path, timed) if entry.is_folder]
    classes = f"one class folder, {found[0].name}" if found else "no class folders in it"
    hint = f"; or give {found[0].path}, which has folders in it" if len(deeper) > 1 else ""
    if not found and any(entry.is_image for entry in inside):
        hint = f"; or give {folder.parent}, if {folder.name} is one of the classes"
    return (
        f"{classes}{_images_beside(inside)}; expected two or more, with the images of one class in each, "
        f"e.g. {folder / 'cat' / '1.png'} and {folder / 'dog' / '1.png'}{hint}; {LAYOUTS}"
    )


def _images_beside(inside: Sequence[Entry]) -> str:
    count = sum(entry.is_image for entry in inside)
    return f", but {count:,} image{'s' if count > 1 else ''}" if count else ""
