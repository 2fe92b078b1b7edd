"""Small PNG and JPEG files whose header says nothing unusual: decoded in a few calls, to the pixels that Pillow opens them to.

Sources: the PNG specification (third edition), sections 5 and 11; JPEG (ITU-T T.81), annex B.
"""

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 1 << 18
"""In larger images decoding takes so long that what comes before it does not count."""

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
HEADER, END = b"\0\0\0\rIHDR", b"\0\0\0\0IEND\xae\x42\x60\x82"
PNG_MODES = {0: "L", 2: "RGB"}
"""By colour type, of 8 bits."""
BESIDE = (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"sBIT", b"bKGD")
"""Chunks that change no pixel, nor turn the image."""

JPEG_MODES = {1: "L", 3: "RGB"}
"""By the number of components."""
SKIPPED = (0xC4, 0xDB, 0xDD, 0xE0, 0xEE, 0xFE)
"""Segments that the decoder itself understands, or that say nothing of pixels: tables, restarts, JFIF's and Adobe's, comments."""


def plain_image(content: bytes) -> "Image.Image | None":
    """The image in the content of a file, loaded; None if it takes more than this to decode, or is damaged.

    Of a PNG: 8 bits, grey or RGB, neither interlaced, nor transparent, animated, nor with texts or EXIF data. Of a JPEG: 8 bits,
    grey or in three colours, baseline or progressive, without EXIF data.
    """
    if (found := _parsed(content)) is None:
        return None
    from PIL import Image

    mode, size, *decoder = found
    try:
        return Image.frombytes(mode, size, *decoder)
    except Exception:  # damaged, which Pillow tells of in its own words when it opens the file
        return None


def plain_square(content: bytes, mode: str, side: int) -> np.ndarray | None:
    """The pixels of a plain image of this mode, "L" or "RGB", and of `side` x `side` pixels, bytes (C, side, side); None for others.

    As `Image.frombytes` and `Image.tobytes` do it, without the some 100 calls in Python around them.
    """
    found = _parsed(content)
    if found is None or found[0] != mode or found[1] != (side, side):
        return None
    from PIL import Image

    _, size, compressed, name, *arguments = found
    whole, channels = (0, 0, *size), len(mode)
    core: Any = Image.core  # type: ignore[attr-defined]
    try:
        image = core.new(mode, size)
        decoder = getattr(core, f"{name}_decoder")(mode, *arguments)
        decoder.setimage(image, whole)
        if decoder.decode(compressed) != (-1, 0):  # all there, and no error
            return None
        encoder = core.raw_encoder(mode, mode, 0, 1)
        encoder.setimage(image, whole)
        _, status, pixels = encoder.encode(side * side * channels)
    except Exception:
        return None
    if status < 0 or len(pixels) != side * side * channels:
        return None
    return np.frombuffer(pixels, np.uint8).reshape(side, side, channels).transpose(2, 0, 1)


def plain_mode(content: bytes) -> str | None:
    """The mode of what `plain_image` takes, "L" or "RGB", as far as is seen without decoding it; None for other content."""
    found = _parsed(content)
    return None if found is None else str(found[0])


def _parsed(content: bytes) -> tuple[Any, ...] | None:
    """Mode, size, what is to be decoded, and the decoder's name and arguments; None for what is not plain."""
    from PIL import Image

    found = _png(content) if content.startswith(PNG) else _jpeg(content) if content.startswith(JPEG) else None
    if found is None:
        return None
    most, (width, height) = Image.MAX_IMAGE_PIXELS or MOST_PIXELS, found[1]
    return found if 0 < width * height <= min(MOST_PIXELS, most) else None


def _png(content: bytes) -> "tuple[str, tuple[int, int], bytes, str, str, int] | None":
    """Mode, size, compressed pixels and the decoder's name and arguments."""
    if len(content) < 45 or content[8:16] != HEADER or not content.endswith(END):
        return None
    width, height, depth, colour, packing, filtering, interlace = struct.unpack_from(">IIBBBBB", content, 16)
    mode = PNG_MODES.get(colour)
    if mode is None or depth != 8 or packing or filtering or interlace:
        return None
    if not _is_whole(content, 8, 13):
        return None
    parts: list[bytes] = []
    place, last, expected = 33, len(content) - 12, 0
    while place < last:
        (length,) = struct.unpack_from(">I", content, place)
        kind = content[place + 4 : place + 8]
        if kind == b"IDAT":
            if parts and place != expected:  # what comes between two of them
                return None
            parts.append(content[place + 8 : place + 8 + length])
            expected = place + 12 + length
        elif kind not in BESIDE or not _is_whole(content, place, length):
            return None
        place += 12 + length
    if place != last or not parts:
        return None
    return mode, (width, height), b"".join(parts), "zip", mode, 0


def _is_whole(content: bytes, place: int, length: int) -> bool:
    """Whether the checksum of the chunk at `place` is right."""
    stop = place + 8 + length
    return zlib.crc32(content[place + 4 : stop]) == int.from_bytes(content[stop : stop + 4], "big")


def _jpeg(content: bytes) -> "tuple[str, tuple[int, int], bytes, str, str, str] | None":
    """Mode, size, the content and the decoder's name and arguments."""
    place, found = 2, None
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], content[place + 2] << 8 | content[place + 3]
        if marker in (0xC0, 0xC2) and found is None and length >= 8:
            if place + 10 > len(content) or content[place + 4] != 8:
                return None
            height, width, components = struct.unpack_from(">HHB", content, place + 5)
            mode = JPEG_MODES.get(components)
            if mode is None or length != 8 + 3 * components:
                return None
            found = mode, (width, height), content, "jpeg", mode, ""
        elif marker == 0xDA:
            return found
        elif marker not in SKIPPED:
            return None
        place += 2 + length
    return None
