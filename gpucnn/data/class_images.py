"""The image files of each class in a folder of class folders."""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from gpucnn.data.class_folders import class_folders, comparable
from gpucnn.data.folder_parts import LAYOUTS, parts_among
from gpucnn.data.image_kind import suffixes
from gpucnn.data.image_listing import BESIDE, cannot_be_listed, entries, left_out_text, list_images
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text import names_text


class ClassImages(NamedTuple):
    """The images in `folder`."""

    folder: Path
    files: dict[str, list[Path]]
    """Of each class, in the order of the labels, sorted."""
    left_out: Counter[str]
    """How many other files of each kind, see `left_out_text`."""
    problems: dict[Path, str]
    """Why some of the images, and folders that may hold more, cannot be read: links that lead nowhere, no permission."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All images, class by class."""
        return tuple(path for paths in self.files.values() for path in paths)

    def without(self, paths: Collection[Path], may_be_empty: bool) -> "ClassImages":
        """The same, as if nothing were at these paths. DataError for a class that has no images then, unless it `may_be_empty`."""
        gone = {_absolute(path) for path in paths}
        files = {
            name: [path for path in inside if not gone or _absolute(path) not in gone]
            for name, inside in self.files.items()
        }
        empty = [name for name, left in files.items() if not left]
        if empty and not may_be_empty:
            raise DataError(
                f"{self.folder}: no image of {names_text(empty)} can be read; put some back whole, or remove the class's folder"
            )
        problems = {path: problem for path, problem in self.problems.items() if _absolute(path) not in gone}
        return self._replace(files=files, problems=problems)


def _absolute(path: Path) -> str:
    """What is the same for a path and for the same one from the root."""
    return comparable(os.path.abspath(path))


def class_images(folder: Path, class_names: Sequence[str] | None) -> ClassImages:
    """The images of each class in `folder`, those in folders within a class folder, too.

    - `class_names`: the classes in the order of their labels, whose folders need not all be there, and no others; by default
      all folders that are there, sorted, which must have images then.

    DataError if they cannot be, see `ImageFolder`.
    """
    with TimedCalls() as timed:
        try:
            inside = entries(folder, timed)
            folders = class_folders(folder, inside, class_names, timed)
        except (FileNotFoundError, NotADirectoryError):
            what = "a file, not a folder" if folder.is_file() else "no such folder"
            raise DataError(f"{folder}: {what}; name the one that holds a folder of images for each class") from None
        except OSError as error:
            raise cannot_be_listed(folder, error) from None
        beside = Counter(BESIDE if entry.is_image else entry.label for entry in inside if not entry.is_folder)
        found = ClassImages(folder, {}, beside, {})
        for name, place in folders.items():
            _add(found, name, place, timed, may_be_empty=class_names is not None)
    return found


def _add(found: ClassImages, name: str, folder: Path, timed: TimedCalls, may_be_empty: bool) -> None:
    """Note the images of a class."""
    found.files[name] = []
    try:
        listing = list_images(folder, timed, above=(found.folder,))
    except FileNotFoundError:
        return  # of a class that is expected, but need not be there
    except OSError as error:
        raise cannot_be_listed(folder, error) from None
    if parts := parts_among([path.name for path in listing.folders]):
        raise DataError(
            f"{folder}: {names_text(parts)} are parts of a data set within a class; give {folder}, if it is the data set, "
            f"or put the classes into the parts; {LAYOUTS}"
        )
    if not listing.images and not listing.problems and not may_be_empty:
        left_out = left_out_text(listing.left_out) or ", ".join(suffixes())
        raise DataError(f"{folder}: no images in it ({left_out}); add some, or remove the folder")
    found.left_out.update(listing.left_out)
    found.problems.update(listing.problems)
    found.files[name] += sorted(listing.images)
