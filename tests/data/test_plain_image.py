"""Small plain PNGs and JPEGs: decoded in a few calls to what Pillow opens them to, or not at all."""

import io
import random

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from gpucnn.data.plain_image import MOST_PIXELS, plain_image, plain_square


def _saved(mode: str, size: tuple[int, int], **saved_as: object) -> bytes:
    rng, shape = np.random.default_rng(size[0]), (size[1], size[0], *([3] if mode == "RGB" else []))
    content = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(content, **saved_as)  # type: ignore[arg-type]
    return content.getvalue()


def _opened(content: bytes) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return image
    except Exception:
        return None


PLAIN = [
    _saved(mode, size, **saved_as)
    for mode in ("L", "RGB")
    for size in ((28, 28), (1, 1), (5, 40))
    for saved_as in (
        {"format": "PNG"},
        {"format": "PNG", "dpi": (72, 72), "compress_level": 0},
        {"format": "JPEG", "quality": 90},
        {"format": "JPEG", "progressive": True, "subsampling": 0, "comment": b"of an image"},
    )
]


@pytest.mark.parametrize("content", PLAIN, ids=range(len(PLAIN)))
def test_plain_files_have_the_pixels_that_pillow_opens_them_to(content):
    found, expected = plain_image(content), _opened(content)
    assert found is not None
    assert expected is not None
    assert (found.mode, found.size, found.tobytes()) == (expected.mode, expected.size, expected.tobytes())


def test_a_png_in_several_parts_is_plain():
    content = _saved("L", (300, 300), format="PNG")  # random pixels, of which Pillow makes parts of 64 kB
    assert content.count(b"IDAT") > 1
    found, expected = plain_image(content), _opened(content)
    assert found is not None
    assert expected is not None
    assert found.tobytes() == expected.tobytes()


def _with_text() -> dict[str, object]:
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "an orientation")
    return {"format": "PNG", "pnginfo": text}


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


UNUSUAL = {
    "texts": _saved("RGB", (8, 8), **_with_text()),
    "transparency": _saved("L", (8, 8), format="PNG", transparency=3),
    "EXIF in a PNG": _saved("RGB", (8, 8), format="PNG", exif=_turned()),
    "EXIF in a JPEG": _saved("RGB", (8, 8), format="JPEG", exif=_turned()),
    "a colour profile": _saved("RGB", (8, 8), format="JPEG", icc_profile=b"of colours"),
    "another format": _saved("RGB", (8, 8), format="BMP"),
    "a large image": _saved("L", (MOST_PIXELS // 100, 101), format="PNG"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_left_to_pillow(name):
    assert _opened(UNUSUAL[name]) is not None
    assert plain_image(UNUSUAL[name]) is None


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_other_modes_are_left_to_pillow(mode):
    content = io.BytesIO()
    Image.new(mode, (4, 4)).save(content, "JPEG" if mode == "CMYK" else "PNG")
    assert plain_image(content.getvalue()) is None


def test_more_pixels_than_pillow_may_open_are_left_to_it(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 28 * 28 - 1)
    assert plain_image(PLAIN[0]) is None


def test_damaged_files_are_as_pillow_opens_them_or_left_to_it():
    draw, taken = random.Random(7), 0
    for _ in range(3000):
        content = bytearray(draw.choice(PLAIN))
        for _ in range(draw.choice((1, 1, 2))):
            place = draw.randrange(len(content) if draw.random() < 0.5 else min(200, len(content)))
            kind = draw.random()
            if kind < 0.7:
                content[place] = draw.randrange(256)
            elif kind < 0.9:
                content[place:place] = bytes([draw.randrange(256)])
            else:
                del content[place : place + 3]
        found = plain_image(bytes(content))
        if found is not None:
            expected, taken = _opened(bytes(content)), taken + 1
            assert expected is not None
            assert (found.mode, found.size, found.tobytes()) == (expected.mode, expected.size, expected.tobytes())
            same = plain_square(bytes(content), found.mode, found.width)
            if found.width == found.height and same is not None:
                assert same.transpose(1, 2, 0).tobytes() == found.tobytes()
    assert taken > 100


@pytest.mark.parametrize("content", PLAIN, ids=range(len(PLAIN)))
def test_squares_of_the_wanted_size_come_as_arrays(content):
    expected = _opened(content)
    assert expected is not None
    side, other = expected.width, {"L": "RGB", "RGB": "L"}[expected.mode]
    found = plain_square(content, expected.mode, side)
    assert (found is not None) == (expected.height == side)
    if found is not None:
        np.testing.assert_array_equal(found.transpose(1, 2, 0).squeeze(), np.asarray(expected).squeeze())
        assert plain_square(content[:-20], expected.mode, side) is None
    assert plain_square(content, expected.mode, side + 1) is None
    assert plain_square(content, other, side) is None
