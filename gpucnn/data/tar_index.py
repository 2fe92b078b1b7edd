"""What is in a tar file: where each image is in it, and its label; looked for once and kept beside it."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO, NamedTuple

from gpucnn.atomic_file import write_atomically
from gpucnn.backend import user_cache
from gpucnn.data.file_stamp import FileStamp, is_settled
from gpucnn.data.image_kind import suffixes
from gpucnn.data.image_listing import Entry
from gpucnn.data.tar_format import Member, checked_name, members, named
from gpucnn.data.timed_file import TimedFile
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text_table import shortened

LARGEST_LABEL = 1 << 16
"""Bytes of a file that has an image's label."""

AT_ONCE = 1000
"""Members that are asked for at once."""

INDEX, INDEX_VERSION = ".index", 1
"""The end of the name of the file that has what is in a tar, and how it is written."""

LARGEST_INDEX = 1 << 30

LABELS = (".cls", ".json")
"""The ends of the names of files with labels."""


class TarIndex(NamedTuple):
    """What is in a tar: of each image its name, place and label."""

    images: list[Member]
    labels: list[int | str | None]
    """A class's number or name; None where nothing says it."""
    left_out: Counter[str]


def index_of(path: Path, file: BinaryIO, known: FileStamp, timed: TimedCalls) -> TarIndex:
    """What is in the tar at `path`, open as `file`, of which the stamp is `known`: as it was kept, or else looked for and kept."""
    found = _known_index(path, known)
    if found is None:
        found = _labelled(path, file, known[0], timed)
        if is_settled(known):
            _keep(path, known, found)
    return found


def _labelled(path: Path, file: BinaryIO, size: int, timed: TimedCalls) -> TarIndex:
    """The images in a tar, each with its label."""
    images: list[Member] = []
    keys: dict[str, dict[str, Member]] = {}
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    each = members(path, file, size)
    while part := timed(path, lambda: list(islice(each, AT_ONCE))):
        for member in part:
            if member.name in seen:
                raise DataError(
                    f"{path}: {named(member.name)} is in it twice; write its images anew, under other names"
                )
            seen.add(member.name)
            name = member.name.lower()
            if name.startswith((".", "__macosx/")) or "/." in name:
                left_out["hidden"] += 1
            elif name.endswith(suffixes()):
                images.append(member)
            elif name.endswith(LABELS):
                keys.setdefault(key_of(member.name), {})[os.path.splitext(name)[1]] = member
            else:
                left_out[Entry(Path(member.name), "file").label] += 1
    if not images:
        raise DataError(f"{path}: no images in it; pack some, or remove the file")
    given = ((key, _label(path, file, key, files)) for key, files in keys.items())
    labels: dict[str, int | str] = {}
    while some := timed(path, lambda: list(islice(given, AT_ONCE))):
        labels.update((key, label) for key, label in some if label is not None)
    if not labels:
        return TarIndex(images, [_folder(image) for image in images], left_out)
    found: list[int | str | None] = []
    taken: dict[str, str] = {}
    for image in images:
        key = key_of(image.name)
        if key in taken:
            raise DataError(
                f"{path}: {named(taken[key])} and {named(image.name)} have one label between them, {key}.cls; give each image a "
                f"name of its own up to the first dot"
            )
        taken[key] = image.name
        found.append(labels.get(key))
    return TarIndex(images, found, left_out)


def key_of(name: str) -> str:
    """What the files of one sample have in common: the name up to the first dot, as WebDataset has it."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _folder(image: Member) -> str | None:
    """The class of an image by its folder, if it is in one."""
    folder, slash, _ = image.name.partition("/")
    return folder if slash else None


def _label(path: Path, file: BinaryIO, key: str, files: Mapping[str, Member]) -> int | str | None:
    """The label in the files of a sample; None if none has one."""
    found: list[int | str] = []
    for suffix, member in files.items():
        if member.size > LARGEST_LABEL:
            raise DataError(
                f"{path}: {named(member.name)}: {member.size:,} bytes are no label; expected a class's number or name"
            )
        file.seek(member.offset)
        content = file.read(member.size)
        try:
            text = content.decode("utf-8").strip()
            value: Any = text if suffix == ".cls" else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}: {named(member.name)}: no label can be read ({shortened(str(error), 80)})"
            ) from None
        if suffix == ".json":
            if not isinstance(value, dict) or "label" not in value:
                continue
            value = value["label"]
        elif text.isascii() and text.lstrip("-").isdigit():
            value = int(text) if len(text) < 11 else -1
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not (isinstance(value, str) and value.strip()) and not (is_number and 0 <= value < 1 << 31):
            raise DataError(
                f"{path}: {named(member.name)}: the label is {shortened(repr(value), 40)}; expected a class's number from 0 on, or its name"
            )
        found.append(value.strip() if isinstance(value, str) else value)
    if len(set(found)) > 1:
        raise DataError(
            f"{path}: {named(key)} has two labels: {shortened(repr(found[0]), 40)} and {shortened(repr(found[1]), 40)}; "
            f"remove one of {key}.cls and {key}.json"
        )
    return found[0] if found else None


def index_files(path: Path) -> tuple[Path, Path]:
    """Where the index of a tar is kept: beside it, or in the user's folder for caches."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
    return path.with_name(f".{path.name}{INDEX}"), user_cache.cache_folder("tars") / name


def _keep(path: Path, known: FileStamp, found: TarIndex) -> None:
    """Write the index of a tar, where that is possible."""
    rows = [[*image, label] for image, label in zip(found.images, found.labels, strict=True)]
    whole = {"version": INDEX_VERSION, "stamp": known, "left_out": found.left_out, "images": rows}
    content = json.dumps(whole, separators=(",", ":")).encode("ascii")
    beside, cached = index_files(path)
    try:
        write_atomically(beside, user_cache.with_checksum(content))
    except OSError:
        user_cache.write(cached, content)


def _known_index(path: Path, known: FileStamp) -> TarIndex | None:
    """The index that was kept of a tar that is still the same; None if there is none."""
    beside, cached = index_files(path)
    for content in (user_cache.without_checksum(_read(beside)), user_cache.read(cached)):
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError, DataError):
            whole = json.loads(content or b"null")
            if whole is not None and (whole["version"], tuple(whole["stamp"])) == (INDEX_VERSION, known):
                return _from_rows(path, whole["images"], whole["left_out"], known[0])
    return None


def _from_rows(path: Path, rows: Sequence[Any], left_out: Mapping[str, int], size: int) -> TarIndex:
    """What an index has. ValueError for what no index has: another program's, or damaged."""
    images = [Member(name, offset, count) for name, offset, count, _ in rows]
    labels: list[int | str | None] = [label for *_, label in rows]
    if not images or len({image.name for image in images}) < len(images):
        raise ValueError
    for image, label in zip(images, labels, strict=True):
        is_right = type(image.name) is str and type(image.offset) is int and type(image.size) is int
        if (
            not is_right
            or image.size < 0
            or not 0 < image.offset <= size - image.size
            or type(label) not in (int, str, NoneType)
            or checked_name(path, image.name) != image.name
        ):
            raise ValueError
    return TarIndex(images, labels, Counter({str(kind): int(count) for kind, count in left_out.items()}))


def _read(path: Path) -> bytes:
    with suppress(OSError), TimedFile(path) as file:
        return file.read(LARGEST_INDEX)
    return b""
