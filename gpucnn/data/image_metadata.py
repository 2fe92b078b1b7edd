"""What an image file says beside its pixels. The orientation is read; damage to the rest is no reason to refuse the image.

Sources: the formats' specifications: Exif 2.32 (CIPA DC-008), TIFF 6.0, JPEG (ITU-T T.81), PNG (third edition), WebP.
"""

import contextlib
import functools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112
UNSIGNED = {1: "B", 3: "H", 4: "L"}
"""Types of a number in Exif, as struct knows them."""

HOLDERS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
"""Where Pillow has what may hold an orientation. A TIFF has it in its tags."""

NEEDED_APP = (0, 14)
"""Of JPEG's application segments those that say what the colours mean: JFIF's and Adobe's."""

TIFF_NEEDED = (
    254, 255, 256, 257, 258, 259, 262, 266, 273, ORIENTATION, 277, 278, 279, 284, 292, 293, 301, 317, 320, 322, 323, 324, 325,
    330, 332, 334, 336, 338, 339, 340, 341, 347, 512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532,
)  # fmt: skip
"""The tags of TIFF that pixels depend on."""


def upright(image: "Image.Image") -> "Image.Image":
    """A loaded image turned as its orientation says, if it has one."""
    from PIL import Image

    turns = Image.Transpose
    turn = {
        2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE, 6: turns.ROTATE_270,
        7: turns.TRANSVERSE, 8: turns.ROTATE_90,
    }.get(_orientation(image))  # fmt: skip
    return image if turn is None else image.transpose(turn)


def without_metadata(content: bytes) -> Iterator[bytes]:
    """Files of the same pixels without what Pillow could stumble over, those that keep most first; none where nothing can go."""
    if content[4:8] == b"ftyp":  # AVIF: an item of another type
        yield content.replace(b"Exif", b"free", 1)
    for beginning, strip in STRIPPED:
        if content.startswith(beginning):
            with contextlib.suppress(struct.error):
                yield strip(content)


def _orientation(image: "Image.Image") -> int:
    """From 1 to 8, or another number, which says nothing."""
    if not hasattr(image, "tag_v2") and not any(key in image.info for key in HOLDERS):  # as in most small images
        return 0
    found = 0
    with contextlib.suppress(Exception):  # Pillow raises many kinds for what else is damaged there
        found = image.getexif().get(ORIENTATION, 0)
    if found not in range(1, 9):
        exif = image.info.get("exif")
        found = _orientation_in(re.sub(rb"^(Exif\0\0)+", b"", exif)) if isinstance(exif, bytes) else 0
    return found


def _orientation_in(exif: bytes) -> int:
    """The orientation in Exif data, whatever else is damaged there; 0 for none."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 0
    with contextlib.suppress(struct.error):
        (start,) = struct.unpack_from(f"{order}L", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHL", exif, place)
            if tag == ORIENTATION and values == 1 and kind in UNSIGNED:
                (found,) = struct.unpack_from(f"{order}{UNSIGNED[kind]}", exif, place + 8)
                if 1 <= found <= 8:  # else it may be a damaged tag, and the right one comes behind it
                    return int(found)
    return 0


def _stripped_jpeg(content: bytes) -> bytes:
    """Without application segments, but for those of colours and orientation, and without comments."""
    kept, place = [content[:2]], 2
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] != b"\xda":  # until the pixels
        marker = content[place + 1]
        (length,) = struct.unpack_from(">H", content, place + 2)
        segment = content[place : place + 2 + length]
        is_needed = marker - 0xE0 in NEEDED_APP or segment[4:10] == b"Exif\0\0"
        if is_needed or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
        place += len(segment)
    return b"".join([*kept, content[place:]])


def _from_tables_on(content: bytes) -> bytes:
    """A JPEG without all before its first table of quantization but Exif data: a damaged length can swallow the tables."""
    tables = max(content.find(b"\xff\xdb"), 2)
    exif = content.find(b"Exif\0\0", 0, tables)
    data = b"" if exif < 0 else content[exif:tables][:65533]
    segment = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data if data else b""
    return content[:2] + segment + content[tables:]


def _stripped_webp(content: bytes, keeps_exif: bool) -> bytes:
    """Without XMP, perhaps without EXIF, which stand behind the pixels, and what else is there; with sizes that are right."""
    (size,) = struct.unpack_from("<L", content, 4)
    if size + 8 > len(content):
        raise struct.error("cut off")  # and nobody knows what of: that is no damage beside the pixels
    kept, place = [], 12
    while place + 8 <= len(content):
        kind, length = struct.unpack_from("<4sL", content, place)
        chunk = bytearray(content[place : place + 8 + length + length % 2])
        if kind == b"VP8X":
            chunk[8] &= 0xF3 + 0x08 * keeps_exif  # whether EXIF and XMP are there
        if kind == b"EXIF" and keeps_exif:
            data = bytes(chunk[8:])
            kept.append(struct.pack("<4sL", kind, len(data)) + data + b"\0" * (len(data) % 2))
        if kind in (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"):
            kept.append(bytes(chunk))
        place += 8 + length + length % 2
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def _stripped_png(content: bytes) -> bytes:
    """Without the chunks that a decoder may leave out, but for transparency and orientation."""
    kept, place = [content[:8]], 8
    while place < len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        chunk = content[place : place + 12 + length]
        if kind == b"eXIf":  # whose checksum may be the damage
            kept.append(chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4])))
        elif kind[:1].isupper() or kind == b"tRNS":
            kept.append(chunk)
        place += 12 + length
    return b"".join(kept)


def _stripped_tiff(content: bytes, order: str, is_big: bool) -> bytes:
    """With every tag that pixels do not need turned into one that nobody knows."""
    changed = bytearray(content)
    place, number, entry = (8, "Q", "HHQQ") if is_big else (4, "L", "HHLL")
    (start,) = struct.unpack_from(f"{order}{number}", content, place)
    (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", content, start)
    first, size = start + (8 if is_big else 2), struct.calcsize(f"={entry}")
    for place in range(first, first + min(count, len(content)) * size, size):
        if struct.unpack_from(f"{order}H", content, place)[0] not in TIFF_NEEDED:
            struct.pack_into(f"{order}{entry}", changed, place, 65000, 1, 1, 0)
    return bytes(changed)


STRIPPED: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\xff\xd8\xff", _stripped_jpeg),
    (b"\xff\xd8\xff", _from_tables_on),
    (b"\x89PNG\r\n\x1a\n", _stripped_png),
    (b"RIFF", functools.partial(_stripped_webp, keeps_exif=True)),
    (b"RIFF", functools.partial(_stripped_webp, keeps_exif=False)),
    (b"II*\0", functools.partial(_stripped_tiff, order="<", is_big=False)),
    (b"MM\0*", functools.partial(_stripped_tiff, order=">", is_big=False)),
    (b"II+\0", functools.partial(_stripped_tiff, order="<", is_big=True)),
    (b"MM\0+", functools.partial(_stripped_tiff, order=">", is_big=True)),
)
"""How files that begin so are stripped."""
