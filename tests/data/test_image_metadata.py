"""Whatever becomes of what a file says beside its pixels, the image is read, and stands upright if that is still there."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from gpucnn.data.image_file import decode_image
from gpucnn.data.image_kind import suffixes
from gpucnn.errors import DataError

FILES = 60
"""Changed files of each kind. Thousands pass, too."""
PIXELS = np.random.default_rng(3).integers(0, 255, (16, 24, 3)).astype(np.uint8)
ICC = b"\0\0\2\x0cappl\2\x10\0\0mntrRGB XYZ " + bytes(range(256))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Make="Maker"/></rdf:RDF></x:xmpmeta>'
METADATA_TAGS = (270, 271, 272, 305, 306, 700, 33432, 34665, 34675, 34853)


def exif(orientation: int = 6) -> bytes:
    """As a camera writes it: texts before the orientation, and folders of exposure and place after it."""
    data = Image.Exif()
    data[0x010F], data[0x0110], data[0x0112], data[0x0131] = (
        "Maker of cameras",
        "Model 9000",
        orientation,
        "software 1.2",
    )
    data.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", 0x829A: 0.01, 0x927C: b"maker's note" * 5})
    data.get_ifd(0x8825).update({1: "N", 2: (48.0, 7.0, 33.5)})
    return data.tobytes()


class Kind(NamedTuple):
    """A kind of file: how it is written, and which bytes of it are no pixels: [begin, end) of each such part."""

    write: Callable[[], bytes]
    spans: Callable[[bytes], list[tuple[int, int]]]
    finish: Callable[[bytearray], None] = lambda content: None


def written(format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, format, **options)
    return content.getvalue()


def png() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "plain")
    text.add_text("Comment", "deflated " * 20, zip=True)
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return written("PNG", exif=exif(), icc_profile=ICC, pnginfo=text, dpi=(300, 300))


def compressed_tiff() -> bytes:
    """Without folders of tags, which Pillow does not write by way of libtiff."""
    tags = {0x010E: "a description", 0x010F: "Maker of cameras", 0x0112: 6, 0x8298: "all wrongs"}
    return written("TIFF", compression="tiff_lzw", tiffinfo=tags, icc_profile=ICC)


def jpeg_spans(content: bytes) -> list[tuple[int, int]]:
    found, place = [], 2
    while content[place + 1] != 0xDA:
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        if content[place + 1] in (*range(0xE1, 0xEE), 0xFE):
            found.append((place + 4, place + 2 + length))
        place += 2 + length
    return found


def chunk_spans(content: bytes) -> list[tuple[int, int]]:
    """Of a PNG. The checksums belong to them."""
    found, place = [], 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 5].islower():
            found.append((place + 8, place + 12 + length))
        place += 12 + length
    return found


def with_right_checksums(content: bytearray) -> None:
    for first, end in chunk_spans(bytes(content)):
        content[end - 4 : end] = struct.pack(">I", zlib.crc32(content[first - 4 : end - 4]))


def riff_spans(content: bytes) -> list[tuple[int, int]]:
    found, place = [], 12
    while place < len(content):
        name, length = struct.unpack_from("<4sI", content, place)
        if name in (b"EXIF", b"ICCP", b"XMP "):
            found.append((place + 8, place + 8 + length))
        place += 8 + length + length % 2
    return found


def tiff_spans(content: bytes) -> list[tuple[int, int]]:
    """The type, number and value of each tag that is none of the pixels', and where its value lies elsewhere, that."""
    order, is_big = ("<" if content[:2] == b"II" else ">"), 43 in content[2:4]
    (start,) = struct.unpack_from(f"{order}{'Q' if is_big else 'L'}", content, 8 if is_big else 4)
    (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", content, start)
    first, size, value_size = (start + 8, 20, 8) if is_big else (start + 2, 12, 4)
    found = []
    for place in range(first, first + size * count, size):
        tag, _, number, value = struct.unpack_from(f"{order}{'HHQQ' if is_big else 'HHLL'}", content, place)
        if tag in METADATA_TAGS:
            found.append((place + 2, place + size))
            if number > value_size:
                found.append((value, value + number))
    return found


def exif_span(content: bytes) -> list[tuple[int, int]]:
    """Where Pillow wrote it as it is, but for the orientation, which AVIF has elsewhere."""
    data = Image.Exif()
    data.load(exif())
    del data[0x0112]
    place = content.index(data.tobytes()[6:])
    return [(place, place + len(data.tobytes()) - 6)]


KINDS = {
    "JPEG": Kind(lambda: written("JPEG", exif=exif(), icc_profile=ICC, xmp=XMP, comment=b"a comment"), jpeg_spans),
    "MPO": Kind(
        lambda: written("MPO", exif=exif(), save_all=True, append_images=[Image.fromarray(PIXELS)]), jpeg_spans
    ),
    "PNG": Kind(png, chunk_spans),
    "PNG, right checksums": Kind(png, chunk_spans, with_right_checksums),
    "WebP": Kind(lambda: written("WEBP", lossless=True, exif=exif(), icc_profile=ICC, xmp=XMP), riff_spans),
    "TIFF": Kind(lambda: written("TIFF", exif=exif(), icc_profile=ICC, copyright="all wrongs"), tiff_spans),
    "TIFF, compressed": Kind(compressed_tiff, tiff_spans),
    "TIFF, big": Kind(
        lambda: written("TIFF", big_tiff=True, exif=exif(), icc_profile=ICC, copyright="all wrongs"), tiff_spans
    ),
    "AVIF": Kind(lambda: written("AVIF", exif=exif(), quality=100), exif_span),
}


def changed(content: bytes, kind: Kind, draw: np.random.Generator) -> tuple[bytes, set[int]]:
    """A file after one to four changes beside its pixels, and the places that changed."""
    spans = kind.spans(content)
    after = bytearray(content)
    for _ in range(1 + int(draw.integers(4))):
        first, end = spans[draw.integers(len(spans))]
        place = first + int(draw.integers(end - first))
        count = min(1 + int(draw.integers(8)), end - place)
        after[place : place + count] = [draw.bytes(count), bytes(count), b"\xff" * count][draw.integers(3)]
    kind.finish(after)
    return bytes(after), {place for place in range(len(content)) if after[place] != content[place]}


def needed_for_orientation(content: bytes) -> set[int]:
    """The bytes of the Exif header, the number of its entries and the entry of the orientation; its pointer, in a TIFF."""
    place = content.find(exif()[6:])
    if place < 0:  # no part of changes
        return set()
    (first,) = struct.unpack_from("<L" if exif()[6:8] == b"II" else ">L", exif(), 10)
    entry = exif().index(struct.pack("<HHL" if exif()[6:8] == b"II" else ">HHL", 0x0112, 3, 1)) - 6
    return {
        *range(place - 6, place + 8),
        *range(place + first, place + first + 2),
        *range(place + entry, place + entry + 12),
    }


@pytest.mark.parametrize("name", KINDS)
def test_damage_beside_the_pixels(name: str, tmp_path: Path) -> None:
    if name == "AVIF" and ".avif" not in suffixes():
        pytest.skip("this Pillow reads no AVIF")
    kind, path = KINDS[name], tmp_path / "image"
    whole = kind.write()
    needed = needed_for_orientation(whole)
    path.write_bytes(whole)
    expected = np.asarray(decode_image(path, 3))
    assert expected.shape == (24, 16, 3)
    stored = np.asarray(expected).transpose(1, 0, 2)
    turns = [np.ascontiguousarray(view[::a, ::b]) for view in (expected, stored) for a in (1, -1) for b in (1, -1)]
    upright = 0
    for number in range(FILES):
        content, places = changed(whole, kind, np.random.default_rng([number, 7]))
        path.write_bytes(content)
        found = np.asarray(decode_image(path, 3))
        if places & needed:
            assert any(np.array_equal(found, turn) for turn in turns), number
        else:
            np.testing.assert_array_equal(found, expected, err_msg=f"file {number}")
            upright += 1
    assert upright > FILES / 2


@pytest.mark.parametrize("name", KINDS)
def test_what_is_cut_off_is_refused_or_was_not_needed(name: str, tmp_path: Path) -> None:
    """To forgive what is beside the pixels is not to forgive pixels that are not there."""
    if name == "AVIF" and ".avif" not in suffixes():
        pytest.skip("this Pillow reads no AVIF")
    whole, path = KINDS[name].write(), tmp_path / "image"
    path.write_bytes(whole)
    expected = np.asarray(decode_image(path, 3))
    refused: list[str] = []
    for cut in range(1, len(whole), len(whole) // 40):
        path.write_bytes(whole[:-cut])
        try:
            found = np.asarray(decode_image(path, 3))
        except DataError as error:
            refused.append(str(error))
        else:
            np.testing.assert_array_equal(found, expected)
    assert len(refused) >= 20
    assert all(text.startswith(f"{path}: not an image that can be read (") for text in refused)


def test_sizes_that_are_damaged_around_metadata_swallow_no_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {}
    for kind in ("WEBP", "JPEG"):
        written = io.BytesIO()
        image.save(written, kind, exif=exif.tobytes())
        kinds[kind] = written.getvalue()
    webp, jpeg = kinds["WEBP"], kinds["JPEG"]
    chunk, segment = webp.rfind(b"EXIF"), jpeg.find(b"\xff\xe1")
    damaged = {
        "a chunk that is too long": webp[: chunk + 4] + struct.pack("<L", 10**6) + webp[chunk + 8 :],
        "a segment that swallows the tables": jpeg[: segment + 2] + b"\xff\xff" + jpeg[segment + 4 :],
    }
    for name, content in damaged.items():
        path = tmp_path / "damaged"
        path.write_bytes(content)
        assert decode_image(path, 3).size == (16, 24), name  # upright
    path.write_bytes(webp[:chunk])
    with pytest.raises(DataError, match="damaged or cut off"):  # the orientation is gone
        decode_image(path, 3)
    for whole in kinds.values():
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match="damaged or cut off"):
            decode_image(path, 3)
