"""A tar file of images, as WebDataset lays them out: where each image is in it, found once and kept beside it; then any is read by itself.

The format: POSIX.1-2017, "pax", "ustar interchange format", and GNU's long names.
"""

import hashlib
import json
import os
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO, NamedTuple

from gpucnn.atomic_file import write_atomically
from gpucnn.backend import user_cache
from gpucnn.data.file_stamp import FileStamp, is_settled, stamp
from gpucnn.data.fork_lock import fork_lock
from gpucnn.data.image_kind import suffixes
from gpucnn.data.image_listing import Entry, entries
from gpucnn.data.timed_file import TimedFile
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls, open_regular
from gpucnn.text_table import shortened

SUFFIX = ".tar"
BLOCK = 512
END = bytes(BLOCK)
LONGEST_HEADER = 1 << 20
"""Bytes of a long name, or of pax records."""

LARGEST_LABEL = 1 << 16
"""Bytes of a file that has an image's label."""

LARGEST_REST = 1 << 20
"""Bytes of padding after a tar's end; programs write up to 10,240."""

AT_ONCE = 1000
"""Members that are asked for at once."""

MOST_OPEN = 256
"""Tars whose files are open at a time."""

INDEX, INDEX_VERSION = ".index", 1
"""The end of the name of the file that has what is in a tar, and how it is written."""

LARGEST_INDEX = 1 << 30

LABELS = (".cls", ".json")
"""The ends of the names of files with labels."""

FILES, FOLDERS, SKIPPED = b"0\0" + b"7", b"5", b"VD"
NAMES, PAX, ALL_PAX = b"LK", b"xX", b"g"
REFUSED = {
    b"1": "a link",
    b"2": "a link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a named pipe",
    b"S": "a sparse file",
    b"M": "the rest of a file of another tar",
}
COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
"""What unpacks a file that begins so."""

COMPRESSED_NAMES = {
    ".tar.gz": "gunzip", ".tgz": "gunzip", ".tar.bz2": "bunzip2", ".tar.xz": "unxz", ".tar.zst": "unzstd",
}  # fmt: skip
"""The same by the end of a name."""

DAMAGED = "it is damaged: copy it again, or write its images anew"


class Member(NamedTuple):
    """A file in a tar."""

    name: str
    offset: int
    """Of its first byte in the tar."""
    size: int


class TarIndex(NamedTuple):
    """What is in a tar: of each image its name, place and label."""

    images: list[Member]
    labels: list[int | str | None]
    """A class's number or name; None where nothing says it."""
    left_out: Counter[str]


class TarFile:
    """The images in a tar file, in the order in which they lie there. For any number of threads, also after a fork.

    - `images`, `labels`: their names, and of each the number of its class, or its name, or None.
    - `left_out`: how many members of each kind are no images.

    An image KEY.png has its label in KEY.cls, a number or a name, or as "label" in KEY.json. In a tar without such files it is
    the first folder of its name, as in cat/1.png. Raises DataError, with the member and what to do, for a tar that is damaged,
    compressed, or has what is no file or folder in it, and for an image that has two labels.
    """

    def __init__(self, path: Path, timed: TimedCalls) -> None:
        self.path, self._name = path, str(path)
        with _telling(path), _opened(path, timed) as file:
            self.stamp = stamp(os.fstat(file.fileno()))
            found = _known_index(path, self.stamp)
            if found is None:
                found = _labelled(path, file, self.stamp[0], timed)
                if is_settled(self.stamp):
                    _keep(path, self.stamp, found)
        self.images, self.labels, self.left_out = [image.name for image in found.images], found.labels, found.left_out
        self._members = {image.name: (image.offset, image.size) for image in found.images}

    def read(self, name: str) -> bytes:
        """The bytes of an image. DataError if the tar is not what it was; FileNotFoundError if there is none of this name."""
        offset, size = self._member(name)
        handle = _handles.of(self._name)
        now = stamp(os.fstat(handle.number))
        # While it is open it may be removed or get other rights, which its status tells; its content stays.
        if handle.stamp != self.stamp or now[:2] != self.stamp[:2]:
            raise DataError(f"{self.path}: has changed since its images were found; start again")
        parts, left = [], size
        while left:
            part = handle.read(left, offset + size - left)
            if not part:
                raise DataError(f"{self.path}: {_named(name)}: ends after {size - left:,} of {size:,} bytes; {DAMAGED}")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _member(self, name: str) -> tuple[int, int]:
        if name not in self._members:
            raise FileNotFoundError(2, os.strerror(2), f"{self.path}/{name}")
        return self._members[name]


class _Handle:
    """A file that is open until nobody holds this any more."""

    def __init__(self, path: str) -> None:
        with open_regular(path) as file:
            self.number = os.dup(file.fileno())
            self.stamp = stamp(os.fstat(self.number))

    def read(self, count: int, offset: int) -> bytes:
        """Some of the bytes from `offset` on."""
        if hasattr(os, "pread"):
            return os.pread(self.number, min(count, 1 << 30), offset)
        with _lock:  # Windows: a file is at one place at a time
            os.lseek(self.number, offset, os.SEEK_SET)
            return os.read(self.number, min(count, 1 << 30))

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self.number)


class _Handles:
    """The files that were asked for last, open."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Handle] = OrderedDict()

    def of(self, path: str) -> _Handle:
        with _lock:
            handle = self._open.get(path)
            if handle is not None:
                self._open.move_to_end(path)
                return handle
        handle = _Handle(path)
        with _lock:
            self._open[path] = handle
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return handle

    def forget(self, path: str) -> None:
        """Open a file anew when it is next asked for."""
        with _lock:
            self._open.pop(path, None)


_lock = fork_lock()
_handles = _Handles()


def open_tar(path: Path, timed: TimedCalls) -> TarFile:
    """The tar at `path`, looked at anew if it has changed."""
    _handles.forget(str(path))
    return TarFile(path, timed)


def _labelled(path: Path, file: BinaryIO, size: int, timed: TimedCalls) -> TarIndex:
    """The images in a tar, each with its label."""
    images: list[Member] = []
    keys: dict[str, dict[str, Member]] = {}
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    members = _members(path, file, size)
    while part := timed(path, lambda: list(islice(members, AT_ONCE))):
        for member in part:
            if member.name in seen:
                raise DataError(
                    f"{path}: {_named(member.name)} is in it twice; write its images anew, under other names"
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
                f"{path}: {_named(taken[key])} and {_named(image.name)} have one label between them, {key}.cls; give each image a "
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
                f"{path}: {_named(member.name)}: {member.size:,} bytes are no label; expected a class's number or name"
            )
        file.seek(member.offset)
        content = file.read(member.size)
        try:
            text = content.decode("utf-8").strip()
            value: Any = text if suffix == ".cls" else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}: {_named(member.name)}: no label can be read ({shortened(str(error), 80)})"
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
                f"{path}: {_named(member.name)}: the label is {shortened(repr(value), 40)}; expected a class's number from 0 on, or its name"
            )
        found.append(value.strip() if isinstance(value, str) else value)
    if len(set(found)) > 1:
        raise DataError(
            f"{path}: {_named(key)} has two labels: {shortened(repr(found[0]), 40)} and {shortened(repr(found[1]), 40)}; "
            f"remove one of {key}.cls and {key}.json"
        )
    return found[0] if found else None


def _members(path: Path, file: BinaryIO, size: int) -> Iterator[Member]:
    """The files in a tar, one after the other. DataError, which names the member, for what is damaged or no file or folder."""
    at, name, own = 0, "", dict[str, str]()
    _check_start(path, file, size)
    last = ""
    while True:
        file.seek(at)
        header = file.read(BLOCK)
        after = f"after {_named(last)}" if last else "at its beginning"
        if header == END:
            return _check_end(path, file, size, at)
        if len(header) < BLOCK:
            raise DataError(f"{path}: ends {after}, without the mark of an end; {DAMAGED}")
        if not _is_sum_right(header):
            raise DataError(f"{path}: what comes {after}, at byte {at:,}, has a wrong checksum; {DAMAGED}")
        kind, count = header[156:157], _number(header[124:136])
        given = name or own.get("path") or _name(header)
        if "size" in own:
            count = (
                int(own["size"]) if own["size"].isascii() and own["size"].isdigit() and len(own["size"]) < 20 else None
            )
        offset = at + BLOCK
        if count is None or offset + count > size:
            promised = (
                "an unreadable size"
                if count is None
                else f"{count:,} bytes, of which {max(size - offset, 0):,} are there"
            )
            raise DataError(f"{path}: {_named(given)} is promised to have {promised}; {DAMAGED}")
        if any(key.startswith("GNU.sparse") for key in own):
            kind = b"S"
        if kind in REFUSED:
            raise DataError(
                f"{path}: {_named(given)} is {REFUSED[kind]}; pack the files themselves, with gpucnn data pack, or "
                f"tar --dereference --hard-dereference"
            )
        at = offset + -(-count // BLOCK) * BLOCK
        if kind in NAMES or kind in PAX or kind in ALL_PAX:
            if count > LONGEST_HEADER:
                raise DataError(f"{path}: what comes {after} has a name of {count:,} bytes; {DAMAGED}")
            content = file.read(count)
            if kind == b"L":
                name = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif kind in PAX:
                own = {**own, **_records(path, content, after)}
            elif kind in ALL_PAX and (odd := {"path", "size"} & {*_records(path, content, after)}):
                raise DataError(f"{path}: has one {min(odd)} for all of its files; write its images anew")
            continue
        if kind not in FILES + FOLDERS + SKIPPED:
            raise DataError(f"{path}: {_named(given)} is of the unknown kind {kind!r}; write its images anew")
        last, name, own = given, "", {}
        if kind in FILES and not given.endswith("/"):
            yield Member(_checked_name(path, given), offset, count)


def _check_start(path: Path, file: BinaryIO, size: int) -> None:
    """DataError for an empty file, and for one that is compressed."""
    if size == 0:
        raise DataError(f"{path}: an empty file; {DAMAGED}")
    begins = file.read(6)
    for start, program in COMPRESSED.items():
        if begins.startswith(start):
            raise DataError(compressed_text(path, program))


def check_not_compressed(folder: Path) -> None:
    """DataError if there are compressed tars in `folder`, and no folders."""
    with TimedCalls() as timed, suppress(OSError):  # for ImageFolder to tell
        inside = entries(folder, timed)
        if not any(entry.is_folder for entry in inside):
            for entry in inside:
                for end, program in COMPRESSED_NAMES.items():
                    if entry.kind == "file" and entry.name.lower().endswith(end):
                        raise DataError(compressed_text(entry.path, program))


def compressed_text(path: Path, program: str) -> str:
    """What is wrong with a compressed tar."""
    return (
        f"{path}: is compressed, so that no image in it can be read by itself; unpack it first: {program} {path.name}"
    )


def _check_end(path: Path, file: BinaryIO, size: int, at: int) -> None:
    """DataError if there is more behind the end of a tar, which is at a byte, than programs leave there."""
    file.seek(at)
    rest = size - at
    if rest < 2 * BLOCK or rest > LARGEST_REST or file.read(rest).strip(b"\0"):
        what = f"{rest:,} bytes come after its end" if rest >= 2 * BLOCK else "its end is cut off"
        raise DataError(f"{path}: {what}; {DAMAGED}")


def _is_sum_right(header: bytes) -> bool:
    written, zeroed = _number(header[148:156]), header[:148] + b" " * 8 + header[156:]
    total = sum(zeroed)
    return written == total or written == total - 256 * sum(
        byte > 127 for byte in zeroed
    )  # of bytes with a sign, as some have it


def _number(field: bytes) -> int | None:
    """A number of a header: octal digits, or GNU's bytes; None for neither."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.rstrip(b" \0").lstrip(b" ")
    return int(digits or b"0", 8) if all(48 <= digit < 56 for digit in digits) else None


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    return name.decode("utf-8", "surrogateescape")


def _records(path: Path, content: bytes, after: str) -> dict[str, str]:
    """The records of a pax header."""
    found, at = dict[str, str](), 0
    while at < len(content) and content[at:].strip(b"\0"):
        digits = content[at : at + 10].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = content[at + len(digits) + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if at + length > len(content) or not record.endswith(b"\n") or not equals:
            raise DataError(f"{path}: what comes {after} has pax records that cannot be read; {DAMAGED}")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return found


def _checked_name(path: Path, name: str) -> str:
    """The name of a file without what means nothing in it. DataError for one that leads elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or not parts:
        raise DataError(
            f"{path}: {_named(name)} leads out of the folder that was packed; write its images anew, from within that folder"
        )
    return "/".join(parts)


def _named(name: str) -> str:
    """A member in messages."""
    return shortened(name, 60)


@contextmanager
def _opened(path: Path, timed: TimedCalls) -> Iterator[BinaryIO]:
    """A file, open inside. After an interruption it stays so: to close it would wait for a thread that may still read it."""
    file = timed(path, lambda: open_regular(path))
    try:
        yield file
    except TimeoutError:
        raise
    except (DataError, OSError):
        file.close()
        raise
    file.close()


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Inside, an OSError becomes a DataError with the file and the reason."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


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
            or _checked_name(path, image.name) != image.name
        ):
            raise ValueError
    return TarIndex(images, labels, Counter({str(kind): int(count) for kind, count in left_out.items()}))


def _read(path: Path) -> bytes:
    with suppress(OSError), TimedFile(path) as file:
        return file.read(LARGEST_INDEX)
    return b""
