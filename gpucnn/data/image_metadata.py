"""What an image file says beside its pixels. The orientation is read; damage to the rest is no reason to refuse the image.

Sources: the formats' specifications: Exif 2.32 (CIPA DC-008), TIFF 6.0, JPEG (ITU-T T.81), PNG (third edition), WebP.
"""

import contextlib
import functools
import re
import struct
import zlib
from collections.abc import Callable
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


def without_metadata(content: bytes) -> bytes:
    """A file of the same pixels without what Pillow could stumble over; `content` itself where nothing is known to go."""
    for beginning, strip in STRIPPED.items():
        if content.startswith(beginning):
            with contextlib.suppress(struct.error):
                return strip(content)
    return content.replace(b"Exif", b"free", 1) if content[4:8] == b"ftyp" else content  # AVIF: an item of another type


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


STRIPPED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\xff\xd8\xff": _stripped_jpeg,
    b"\x89PNG\r\n\x1a\n": _stripped_png,
    b"II*\0": functools.partial(_stripped_tiff, order="<", is_big=False),
    b"MM\0*": functools.partial(_stripped_tiff, order=">", is_big=False),
    b"II+\0": functools.partial(_stripped_tiff, order="<", is_big=True),
    b"MM\0+": functools.partial(_stripped_tiff, order=">", is_big=True),
}
"""How files that begin so are stripped."""
