"""Decoders of JPEGs by name: what each gives, never by what is installed."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from gpucnn.data import ImageFolder, Preprocess, read_image
from gpucnn.data.image_file import decode_image
from gpucnn.data.jpeg_decoders import DECODERS
from gpucnn.errors import ArgumentError, ConfigError, DataError, LibraryError
from gpucnn.runs.config import RunConfig


def _photo(mode: str = "RGB", size: tuple[int, int] = (200, 120), **saved_as: object) -> bytes:
    low = np.random.default_rng(2).integers(0, 256, (6, 10, len(Image.new(mode, (1, 1)).getbands())), np.uint8)
    image = Image.fromarray(low.squeeze(), mode).resize(size, Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, "JPEG", **saved_as)  # type: ignore[arg-type]
    return content.getvalue()


@pytest.mark.parametrize(
    ("least", "expected"), [(121, 120), (120, 120), (61, 120), (60, 60), (31, 60), (30, 30), (15, 15), (1, 15)]
)
def test_a_draft_is_never_smaller_than_what_is_wanted(least, expected):
    found = decode_image(_photo(), 3, decode="pillow-draft", least=least)
    assert found.height == expected
    assert found.height >= min(least, 120)


def test_a_draft_shows_the_same_image():
    preprocess = Preprocess(3, 30, 30, 255, "crop")
    own, draft = (read_image(_photo(), preprocess, decode=name).astype(int) for name in ("pillow", "pillow-draft"))
    assert 0 < np.abs(own - draft).max() <= 16


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "pillow"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_photos_are_turned_upright_whatever_decodes_them(name, orientation):
    pytest.importorskip("simplejpeg")
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = _photo(exif=exif)
    expected, found = (np.asarray(decode_image(photo, 3, decode=one), int) for one in ("pillow", name))
    assert expected.shape == found.shape
    assert np.abs(expected - found).max() <= 8


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_simplejpeg_reads_what_pillow_reads(mode, channels):
    pytest.importorskip("simplejpeg")
    expected, found = (
        np.asarray(decode_image(_photo(mode), channels, decode=one), int) for one in ("pillow", "simplejpeg")
    )
    assert expected.shape == found.shape
    assert np.abs(expected - found).max() <= 8


@pytest.mark.parametrize("name", DECODERS)
def test_other_formats_are_the_same_by_all(name):
    pytest.importorskip("simplejpeg")
    content = io.BytesIO()
    Image.open(io.BytesIO(_photo())).save(content, "PNG")
    expected, found = (decode_image(content.getvalue(), 3, decode=one, least=10).tobytes() for one in ("pillow", name))
    assert expected == found


@pytest.mark.parametrize("name", DECODERS)
def test_a_truncated_photo_is_refused_by_all(name):
    pytest.importorskip("simplejpeg")
    photo = _photo()
    with pytest.raises(DataError, match="damaged or cut off"):
        decode_image(photo[: len(photo) // 2], 3, decode=name, least=10)


@pytest.mark.parametrize("name", DECODERS)
def test_too_many_pixels_are_refused_before_they_are_decoded(name, monkeypatch):
    pytest.importorskip("simplejpeg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with pytest.raises(DataError, match="make the image smaller"):
        decode_image(_photo(), 3, decode=name, least=10)


def test_without_simplejpeg_the_fix_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(_photo())
    with pytest.raises(LibraryError, match=r'pip install "gpucnn\[simplejpeg\]", or choose decode pillow'):
        ImageFolder(tmp_path, 8).decoded_by("simplejpeg")


def test_unknown_decoders_are_refused():
    with pytest.raises(ArgumentError, match="decode must be"):
        read_image(_photo(), Preprocess(3, 8, 8, 255, "crop"), decode="pilow")


@pytest.mark.parametrize("setting", [{"decode": "pillow-draft"}, {"cache": "there"}])
def test_data_without_image_files_take_neither_decoder_nor_cache(setting):
    with pytest.raises(ConfigError, match="digits has no image files to decode; leave it out, or choose data folder"):
        RunConfig(**setting)
