"""Images packed into a few large files: which kind of files a folder has, and what reads them."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.image_listing import entries
from gpucnn.data.npy_images import IMAGES, NpyImages, labels_beside
from gpucnn.data.packed_parts import divided, packed_parts
from gpucnn.data.parquet_images import ParquetImages
from gpucnn.data.tar_format import COMPRESSED_NAMES, compressed_text
from gpucnn.data.tar_images import TarImages
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text import counted, names_text

KINDS: dict[str, type[ImageFolder]] = {".parquet": ParquetImages, ".tar": TarImages, IMAGES: NpyImages}
"""What reads files, by how their names end: made of `PackedFiles`."""


class Packed(NamedTuple):
    """The files of a data set. Without `test` all of its images are in `train`."""

    kind: type[ImageFolder]
    train: Sequence[Path]
    test: Sequence[Path]
    validation: Sequence[Path]
    notes: tuple[str, ...]
    """What whoever uses them should know."""


def find_packed(folder: Path) -> Packed | None:
    """What is in `folder`; None if it has no such files. DataError if it has several kinds, a part twice, or compressed tars."""
    found = {suffix: parts for suffix in KINDS if (parts := packed_parts(folder, suffix))}
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
    train, test, validation = divided(parts)
    read = {*train, *test, *validation}
    unread = [path.name for paths in parts.values() for path in paths if path not in read]
    notes = [f"not read: {counted(len(unread), 'file')} of no part, {names_text(unread, 3)}"] if unread else []
    if test and not parts.get("test"):
        notes.append("there is no test part: the validation images are what is tested with")
    return Packed(KINDS[suffix], train, test, validation, tuple(notes))


def _check_not_compressed(folder: Path) -> None:
    """DataError if there are compressed tars in `folder`, and no folders."""
    with TimedCalls() as timed, suppress(OSError):  # for ImageFolder to tell
        inside = entries(folder, timed)
        if not any(entry.is_folder for entry in inside):
            for entry in inside:
                for end, program in COMPRESSED_NAMES.items():
                    if entry.kind == "file" and entry.name.lower().endswith(end):
                        raise DataError(compressed_text(entry.path, program))


def _check_none_compressed(folder: Path) -> None:
    """DataError for a compressed tar among others: its images would be missing without a word."""
    for end, program in COMPRESSED_NAMES.items():
        for paths in packed_parts(folder, end).values():
            raise DataError(compressed_text(paths[0], program))
