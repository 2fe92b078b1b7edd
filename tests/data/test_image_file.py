"""Image files that are damaged or lie about themselves: they are named, in one line and in little memory."""

import io
import logging
import struct
import threading
import tracemalloc
import warnings
import zlib
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
