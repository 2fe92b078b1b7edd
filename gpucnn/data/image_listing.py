"""Which files of a folder are images, and which are left out, by kind."""

import itertools
import os
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gpucnn.data.image_kind import NOT_READ, suffixes
from gpucnn.errors import DataError
from gpucnn.regular_file import KINDS, TimedCalls
from gpucnn.text import is_printed

SYSTEM = ("$RECYCLE.BIN", "@eaDir", "__MACOSX", "desktop.ini", "lost+found", "System Volume Information", "Thumbs.db")
"""What operating systems and drives put into folders, some of it small pictures of the images there."""

HIDDEN, KNOWN_HIDDEN = "hidden", (".DS_Store",)
BESIDE = "images beside the class folders"
LINKED_TWICE = "links to folders that are read anyway"
LONGEST_SUFFIX = 12
MOST_KINDS = 12
AT_ONCE = 1000
"""Entries of a folder that are asked for at once: a large folder on a slow drive may take its time."""


class Entry(NamedTuple):
    """What is in a folder under a name: a "file", a "folder", or of another kind, or `problem` says why nobody knows."""

    path: Path
    kind: str
    problem: str = ""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and neither hidden nor of the operating system."""
        return self.kind == "folder" and not self._is_for_others

    @property
    def is_image(self) -> bool:
        """Whether it is a file, or a link that leads nowhere, with the name of an image."""
        return self.kind == "file" and self.name.lower().endswith(suffixes()) and not self._is_for_others

    @property
    def _is_for_others(self) -> bool:
        return self.name.startswith(".") or self.name in SYSTEM

    @property
    def label(self) -> str:
        """Its kind, as what is left out is counted by."""
        if self.name.startswith("."):
            return self.name if self.name in KNOWN_HIDDEN else HIDDEN
        if self.name in SYSTEM:
            return self.name
        if self.kind != "file":
            return f"{self.kind}s"
        suffix = self.path.suffix.lower()
        return suffix if 1 < len(suffix) <= LONGEST_SUFFIX and all(map(is_printed, suffix)) else "without a suffix"


class Listing(NamedTuple):
    """The images in a folder and in those below it."""

    images: list[Path]
    """A folder's own first, sorted, then those of the folders in it."""
    left_out: Counter[str]
    """How many of each kind, see `left_out_text`."""
    problems: dict[Path, str]
    """Why some images, and folders, cannot be read: links that lead nowhere, folders that cannot be listed."""
    folders: list[Path]
    """The folders that are in it, and not below those."""


def entries(folder: Path, timed: TimedCalls) -> list[Entry]:
    """What is in a folder, sorted by name. OSError if it cannot be listed."""
    found: list[Entry] = []
    with timed(folder, lambda: os.scandir(folder)) as scan:
        while part := timed(folder, lambda: [_entry(folder, one) for one in itertools.islice(scan, AT_ONCE)]):
            found += part
    return sorted(found, key=lambda entry: entry.name)


def entries_or_none(folder: Path, timed: TimedCalls) -> list[Entry] | None:
    """What is in a folder; None if it cannot be listed, which `ImageFolder` tells. DataError if its drive does not answer."""
    try:
        return entries(folder, timed)
    except TimeoutError as error:
        raise cannot_be_listed(folder, error) from None
    except OSError:
        return None


def list_images(folder: Path, timed: TimedCalls, above: tuple[Path, ...] = ()) -> Listing:
    """The images in `folder` and below. Links are followed, but no folder is read twice, nor is one of those `above`.

    Raises OSError if the folder itself cannot be listed.
    """
    found = Listing([], Counter(), {}, [])
    seen = {_identity(path, timed) for path in above}
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            identity = _identity(here, timed)
            if identity in seen:
                found.left_out[LINKED_TWICE] += 1
                continue
            seen.add(identity)
            inside = entries(here, timed)
        except OSError as error:
            if here == folder:
                raise
            found.problems[here] = f"cannot be listed ({error.strerror or error})"
            continue
        folders: list[Path] = []
        for entry in inside:
            if entry.is_folder:
                folders.append(entry.path)
            elif not entry.is_image:
                found.left_out[entry.label] += 1
            else:
                found.images.append(entry.path)
                if entry.problem:
                    found.problems[entry.path] = entry.problem
        if here == folder:
            found.folders.extend(folders)
        waiting += reversed(folders)
    return found


def left_out_text(left_out: Mapping[str, int]) -> str:
    """What was left out in one line, e.g. "left out: 3 .heic (pip install pillow-heif), 1 .txt"; empty for nothing."""
    kinds = sorted(left_out, key=lambda label: (-left_out[label], label))
    named = [_counted(label, left_out[label]) for label in kinds[:MOST_KINDS]]
    if rest := sum(left_out[label] for label in kinds[MOST_KINDS:]):
        named.append(f"{rest:,} of other kinds")
    return f"left out: {', '.join(named)}" if named else ""


def no_images_text(folder: str | Path, left_out: Mapping[str, int]) -> str:
    """What is wrong with a folder without images."""
    wrong = f"{folder}: no images in this folder; give a folder with files that end in .png, .jpg or .npy"
    return "; ".join(text for text in (wrong, left_out_text(left_out)) if text)


def cannot_be_listed(folder: Path, error: OSError) -> DataError:
    """The error for a folder that cannot be listed, or for the one within it that `error` names."""
    return DataError(f"{error.filename or folder}: cannot be listed ({error.strerror or error})")


def _counted(label: str, count: int) -> str:
    singular = {f"{kind}s": kind for kind in KINDS.values()} | {
        BESIDE: "image beside the class folders",
        LINKED_TWICE: "link to a folder that is read anyway",
    }
    fix = f" ({NOT_READ[label]})" if label in NOT_READ else ""
    return f"{count:,} {singular.get(label, label) if count == 1 else label}{fix}"


def _identity(folder: Path, timed: TimedCalls) -> tuple[int, int]:
    """What two ways to the same folder have in common."""
    status = timed(folder, lambda: os.stat(folder))
    return status.st_dev, status.st_ino


def _entry(folder: Path, entry: os.DirEntry[str]) -> Entry:
    path = folder / entry.name
    try:
        if entry.is_dir():
            return Entry(path, "folder")
        if entry.is_file():
            return Entry(path, "file")
        return Entry(path, KINDS.get(stat.S_IFMT(entry.stat().st_mode), "special file"))
    except FileNotFoundError:
        return Entry(path, "file", "a link that leads to no file")
    except OSError as error:  # a link that leads to itself, for example
        return Entry(path, "file", f"cannot be read ({error.strerror or error})")
