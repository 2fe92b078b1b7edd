"""Image files that are damaged or lie about themselves: they are named, in one line and in little memory."""

import io
import logging
import struct
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn.data import Preprocess, read_image
from gpucnn.data.quiet_reading import quiet_reading
from gpucnn.errors import DataError

PREPROCESS = Preprocess(1, 4, 4, 255, "pad")


def npy(header: str, version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    size = len(header) if length is None else length
    return b"\x93NUMPY" + version + size.to_bytes(2 if version[0] == 1 else 4, "little") + header.encode() + bytes(64)


def promise(dtype: str, shape: str) -> str:
    return f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(promise("<f8", "(1152921504606846976,)")), "promises (1152921504606846976,) of float64, 9,223,372,036,854,775,808 bytes, the file has 64"),
        (npy(promise("|u1", "(20000, 20000)")), "the header promises (20000, 20000) of uint8, 400,000,000 bytes, the file has 64; it is truncated"),
        (npy(promise("|u1", "(-1, 8)")), "the header promises (-1, 8) of uint8, -8 bytes, the file has 64"),
        (npy("{}", b"\x02\x00", 1 << 31), "not an image that can be read (.npy format 2.0, which no image needs)"),
        (npy(promise(r"\^", "(2, 2)")), "not an image that can be read ("),
        (npy("-" * 9000), "not an image that can be read ("),
    ],
)  # fmt: skip
def test_a_npy_header_that_lies_takes_no_memory(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "image.npy"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError) as raised:
        read_image(path, PREPROCESS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)
    assert peak < 5_000_000


def chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return struct.pack(">I", size) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_png_chunk_that_says_it_is_large_takes_no_memory(tmp_path: Path) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    pixels = zlib.compress((b"\0" + bytes([7, 8, 9, 10])) * 4)
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels, 2**31 - 1))
    tracemalloc.start()
    assert read_image(path, PREPROCESS)[0, 0].tolist() == [[7, 8, 9, 10]] * 4  # whole, up to where the file ends
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def damaged_exif(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    Image.new("L", (4, 4), 200).save(content, "JPEG", exif=exif)
    entry = content.getvalue().index(b"\x01\x12\x00\x03")
    changed = bytearray(content.getvalue())
    changed[entry + 4 : entry + 8] = b"\x7f\xff\xff\xff"  # so many numbers for an orientation
    path.write_bytes(changed)
    return path


def test_damaged_exif_data_is_no_reason_to_warn(tmp_path: Path) -> None:
    path = damaged_exif(tmp_path / "image.jpg")
    for read, warns in ((lambda: Image.open(path).getexif(), True), (lambda: read_image(path, PREPROCESS), False)):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            read()
        assert bool(warned) is warns


def test_readers_in_threads_leave_the_filters_as_they_were(tmp_path: Path) -> None:
    path = damaged_exif(tmp_path / "image.jpg")
    before, met = list(warnings.filters), threading.Barrier(4)
    problems: list[Exception] = []

    def read() -> None:
        met.wait()
        try:
            for _ in range(50):
                read_image(path, PREPROCESS)  # a warning would be an error here
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert list(warnings.filters) == before


def test_inside_others_may_warn() -> None:
    with quiet_reading(), pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


def test_pillow_s_log_does_not_reach_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("PIL.TiffImagePlugin")
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("PIL").handlers)
    assert logger.propagate


@pytest.mark.parametrize("mode", ["I", "F"])
def test_sixteen_bits_are_rounded_as_in_float64(mode: str, tmp_path: Path) -> None:
    pixels = np.arange(65536).reshape(256, 256)
    path = tmp_path / "image.tif"
    Image.fromarray(pixels.astype(np.int32) if mode == "I" else (pixels / 65535).astype(np.float32)).save(path)
    image = read_image(path, Preprocess(1, 256, 256, 255, "pad"))
    np.testing.assert_array_equal(image[0, 0], np.rint(pixels / 257))


RED, GREEN = (200, 0, 0), (0, 200, 0)


def frames(format: str) -> bytes:
    """A red image, and a green one behind it."""
    content = io.BytesIO()
    first, second = (Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN))
    first.save(content, format, save_all=True, append_images=[second], **({"quality": 95} if format == "MPO" else {}))
    return content.getvalue()


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("name", ["image.jpg", "image.png", "image"])
def test_the_content_counts_and_of_several_frames_the_first(format: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(frames(format))
    found = read_image(tmp_path / name, Preprocess(3, 8, 8, 255, "crop"))[0, :, 4, 4]
    assert np.abs(found.astype(int) - RED).max() <= 12


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def see_through() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *RED])
    return image


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda: saved(see_through(), "PNG"), RED),
        (lambda: saved(see_through(), "PNG", transparency=1), (0, 0, 0)),
        (lambda: saved(see_through(), "PNG", transparency=0), RED),
        (lambda: saved(see_through(), "GIF", transparency=1), (0, 0, 0)),
        (lambda: saved(Image.new("LA", (8, 8), (77, 255)), "PNG"), (77, 77, 77)),
        (lambda: saved(Image.new("LA", (8, 8), (77, 0)), "PNG"), (0, 0, 0)),
        (lambda: saved(Image.new("L", (8, 8), 77), "PNG", transparency=77), (0, 0, 0)),
        (lambda: saved(Image.new("RGB", (8, 8), RED), "PNG", transparency=RED), (0, 0, 0)),
        (lambda: saved(Image.new("1", (8, 8), 1), "PNG"), (255, 255, 255)),
        (lambda: saved(Image.new("1", (8, 8), 1), "TIFF", compression="group4"), (255, 255, 255)),
        (lambda: saved(Image.new("I;16", (8, 8), 257 * 90), "PNG"), (90, 90, 90)),
        (lambda: saved(Image.new("I;16B", (8, 8), 257 * 90), "TIFF"), (90, 90, 90)),
        (lambda: saved(Image.new("F", (8, 8), 0.5), "TIFF"), (128, 128, 128)),
        (lambda: saved(Image.new("CMYK", (8, 8), (0, 255, 255, 55)), "TIFF"), RED),
        (lambda: saved(Image.new("YCbCr", (8, 8), (100, 128, 128)), "JPEG"), (100, 100, 100)),
        (lambda: saved(Image.new("LAB", (8, 8), (128, 128, 128)), "TIFF"), None),
        (lambda: saved(Image.new("RGBA", (8, 8), (*RED, 255)), "TIFF", compression="tiff_deflate"), RED),
        (lambda: saved(Image.new("RGB", (8, 8), RED), "BMP"), RED),
        (lambda: saved(Image.new("RGB", (8, 8), RED), "JPEG2000"), RED),
        (lambda: saved(Image.new("RGB", (8, 8), RED), "TGA"), RED),
        (lambda: saved(Image.new("RGB", (8, 8), RED), "ICO", sizes=[(8, 8)]), RED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_kinds_of_pixels(
    content: Callable[[], bytes], expected: tuple[int, ...] | None, channels: int, tmp_path: Path
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content())
    found = read_image(path, Preprocess(channels, 8, 8, 255, "crop"))
    assert (found.dtype, found.shape) == (np.dtype(np.uint8), (1, channels, 8, 8))
    if expected is not None and channels == 3:
        assert np.abs(found[0, :, 4, 4].astype(int) - expected).max() <= 1


def jpeg(size: int = 64) -> bytes:
    return saved(Image.effect_noise((size, size), 50), "JPEG")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (jpeg()[:700], "; it begins as JPEG does, but is damaged or cut off"),
        (jpeg()[:30], "; it begins as JPEG does, but is damaged or cut off"),
        (saved(Image.effect_noise((64, 64), 50), "PNG")[:1000], "; it begins as PNG does, but is damaged or cut off"),
        (saved(Image.effect_noise((64, 64), 50), "TIFF")[:100], "; it begins as TIFF does, but is damaged or cut off"),
        (saved(Image.effect_noise((64, 64), 50), "WEBP")[:100], "; it begins as WebP does, but is damaged or cut off"),
        (saved(Image.effect_noise((64, 64), 50), "GIF")[:20], "; it begins as GIF does, but is damaged or cut off"),
        (b"", "(an empty file); give PNG, JPEG or .npy"),
        (b"\0" * 500, "; give PNG, JPEG or .npy"),
        (b"<!DOCTYPE html><html>404</html>", "; it is a web page, as some servers send for an error; download it again"),
        (b"\n<HTML>", "; it is a web page, as some servers send for an error; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "; it is a pointer to the image; git lfs pull fetches it"),
        (b"%PDF-1.7 x", "; it is a PDF; save its pages as PNG"),
        (b"PK\3\4 x", "; it is a zip archive; unpack it"),
    ],
)  # fmt: skip
def test_what_is_said_of_files_that_cannot_be_read(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_image(path, PREPROCESS)
    assert str(caught.value).startswith(f"{path}: not an image that can be read (")
    assert str(caught.value).endswith(said)
    assert "give PNG, JPEG" not in str(caught.value) or "begins" not in str(caught.value)


def test_what_cannot_be_opened_is_no_damaged_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)$"):
        read_image(tmp_path, PREPROCESS)
    with pytest.raises(DataError, match=r"image.png: no such image file$"):
        read_image(tmp_path / "image.png", PREPROCESS)
