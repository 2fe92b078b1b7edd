"""The members of a tar file, one after the other. The format: POSIX.1-2017, "pax", "ustar interchange format", and GNU's long names."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gpucnn.errors import DataError
from gpucnn.text_table import shortened

BLOCK = 512
END = bytes(BLOCK)
LONGEST_HEADER = 1 << 20
"""Bytes of a long name, or of pax records."""

LARGEST_REST = 1 << 20
"""Bytes of padding after a tar's end; programs write up to 10,240."""

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


def members(path: Path, file: BinaryIO, size: int) -> Iterator[Member]:
    """The files in a tar, one after the other. DataError, which names the member, for what is damaged or no file or folder."""
    at, name, own = 0, "", dict[str, str]()
    _check_start(path, file, size)
    last = ""
    while True:
        file.seek(at)
        header = file.read(BLOCK)
        after = f"after {named(last)}" if last else "at its beginning"
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
            raise DataError(f"{path}: {named(given)} is promised to have {promised}; {DAMAGED}")
        if any(key.startswith("GNU.sparse") for key in own):
            kind = b"S"
        if kind in REFUSED:
            raise DataError(
                f"{path}: {named(given)} is {REFUSED[kind]}; pack the files themselves, with gpucnn data pack, or "
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
            raise DataError(f"{path}: {named(given)} is of the unknown kind {kind!r}; write its images anew")
        last, name, own = given, "", {}
        if kind in FILES and not given.endswith("/"):
            yield Member(checked_name(path, given), offset, count)


def _check_start(path: Path, file: BinaryIO, size: int) -> None:
    """DataError for an empty file, and for one that is compressed."""
    if size == 0:
        raise DataError(f"{path}: an empty file; {DAMAGED}")
    begins = file.read(6)
    for start, program in COMPRESSED.items():
        if begins.startswith(start):
            raise DataError(compressed_text(path, program))


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


def checked_name(path: Path, name: str) -> str:
    """The name of a file without what means nothing in it. DataError for one that leads elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or not parts:
        raise DataError(
            f"{path}: {named(name)} leads out of the folder that was packed; write its images anew, from within that folder"
        )
    return "/".join(parts)


def named(name: str) -> str:
    """A member in messages."""
    return shortened(name, 60)
