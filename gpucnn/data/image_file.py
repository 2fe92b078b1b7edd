"""Images from files: decoded, in the raw format that a `Preprocess` takes; and whether what is drawn in them is dark or light."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gpucnn.checks import as_choice, as_path
from gpucnn.data.image_kind import reads_heif, what_to_do
from gpucnn.data.image_metadata import upright, without_metadata
from gpucnn.data.npz import read_npy
from gpucnn.data.preprocess import Preprocess
from gpucnn.data.quiet_reading import quiet_reading
from gpucnn.errors import ArgumentError, DataError
from gpucnn.regular_file import read_regular
from gpucnn.text import shape_text, value_text

if TYPE_CHECKING:
    from PIL import Image


AUTO = "auto"
BACKGROUNDS = (AUTO, "white", "black")
"""What is behind the transparent parts of an image; auto is white where most of what is to be seen is dark, else black."""


def read_image(path: str | os.PathLike[str], preprocess: Preprocess, background: str = AUTO) -> np.ndarray:
    """The image in a PNG, JPEG or other file that Pillow reads, or in a .npy array, as raw (1, C, size, size).

    It is turned to grey or RGB and fitted to the data set's native size as `preprocess` has it: squeezed into the
    square, or cut out of the middle. An array is (H, W), (C, H, W) or (H, W, C), of bytes from 0 to 255 or floats from 0
    to 1. `background`: "auto", "white" or "black", what is behind transparent parts. Raises DataError, which names the
    file, if it is something else.
    """
    from PIL import Image

    if not isinstance(preprocess, Preprocess):
        raise ArgumentError(f"read_image: preprocess must be a data.Preprocess, got {value_text(preprocess)}")
    as_choice(background, "background", BACKGROUNDS)
    image, size = decode_image(path, preprocess.channels, background=background), preprocess.native_size
    if preprocess.fit == "crop":
        pixels = centre_crop(image, size)
    else:
        method = Image.Resampling.BOX if image.width > size else Image.Resampling.BILINEAR
        pixels = _planes(image.resize((size, size), method))
    return np.rint(pixels[None] * (preprocess.full_scale / 255)).astype(np.uint8)


def decode_image(
    path: str | os.PathLike[str], channels: int, *, background: str = AUTO, read: Callable[[Path], bytes] = read_regular
) -> "Image.Image":
    """The image in a file that `read_image` takes: upright as its EXIF data says, grey for one channel, else RGB.

    What is transparent shows the `background`, one of BACKGROUNDS. Of several frames it is the first. Any thread may call it. `read` gives the content of
    the file. DataError, which names the file, if it cannot be read.
    """
    from PIL import Image

    path, mode = as_path(path, "path"), "L" if channels == 1 else "RGB"
    content = b""
    try:
        # From memory: Pillow reads a few bytes at a time, and as many bytes as a damaged header promises.
        content = read(path)
        if path.suffix.lower() == ".npy":
            array = read_npy(io.BytesIO(content), len(content), str(path))
            image = Image.fromarray(_bytes_of(path, array))
        else:
            image = _opened(content)
            if image.mode[0] in "IF":  # Pillow would cut 16-bit and float pixels off at 255
                image = Image.fromarray(_bytes_of(path, np.asarray(image), whole=65535))
        opaque = _without_transparency(image, background)
        if opaque.mode in ("LAB", "HSV"):  # which Pillow makes RGB of, but not grey
            opaque = opaque.convert("RGB")
        return opaque if opaque.mode == mode else opaque.convert(mode)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image file") from None
    except DataError:
        raise
    except Exception as error:  # Pillow and NumPy raise many kinds for damaged files
        raise DataError(f"{path}: {_reason(path, content, error)}") from None


def centre_crop(image: "Image.Image", size: int) -> np.ndarray:
    """The largest square in the middle of a grey or RGB image, bilinearly at `size`: bytes (C, size, size)."""
    from PIL import Image, ImageOps

    return _planes(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))


def _planes(image: "Image.Image") -> np.ndarray:
    """A grey or RGB image as bytes (C, H, W)."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _opened(content: bytes) -> "Image.Image":
    """The image in a file's content, loaded and upright. Raises what Pillow does."""
    if content[4:8] == b"ftyp":  # AVIF or HEIF
        reads_heif()
    with quiet_reading():
        try:
            return _loaded(content)
        except Exception:
            for stripped in without_metadata(content):
                with contextlib.suppress(Exception):  # the first error tells more
                    return _loaded(stripped)
            raise


def _loaded(content: bytes) -> "Image.Image":
    from PIL import Image

    with Image.open(io.BytesIO(content)) as opened:
        _check_pixel_count(opened)
        opened.load()
        return upright(opened)


def _check_pixel_count(image: "Image.Image") -> None:
    """Refuse an image with more pixels than an image has: its memory would be some 1.5 GB.

    Pillow only warns up to twice its MAX_IMAGE_PIXELS, 89 million, and phones take photos of 108. Beyond, it refuses, too.
    """
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is None:
        return
    is_plain = image.mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV") and "transparency" not in image.info
    most = Image.MAX_IMAGE_PIXELS * (2 if is_plain else 1)
    if image.width * image.height > most:
        raise Image.DecompressionBombError(
            f"{image.width}x{image.height} pixels of {image.mode}, at most {most:,} are taken"
        )


def _reason(path: Path, content: bytes, error: Exception) -> str:
    """Why a file cannot be read, and what to do about it."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, OSError) and error.errno is not None:  # not Pillow's own
        return f"cannot be read ({error.strerror or error})"
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # which names an object of ours
        reason = f"cannot identify image file {str(path)!r}" if content else "an empty file"
    fix = what_to_do(content)
    if isinstance(error, Image.DecompressionBombError):
        fix = "make the image smaller"
    return f"not an image that can be read ({reason}); {fix}"


def _bytes_of(path: Path, array: np.ndarray, whole: int = 255) -> np.ndarray:
    """Pixels from 0 to `whole`, or floats or truth values from 0 to 1, as bytes (H, W) or (H, W, 3)."""
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[2] != 3):
        raise DataError(f"{path}: expected one image (H, W), (C, H, W) or (H, W, C), got {shape_text(array.shape)}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = (float(array.min()), float(array.max())) if array.dtype.kind in "fiub" else (np.nan, np.nan)
    top = 1 if array.dtype.kind in "fb" else whole
    if not (low >= 0 and high <= top):
        raise DataError(
            f"{path}: expected integers from 0 to {whole} or floats from 0 to 1, got {array.dtype} from {low} to {high}"
        )
    # In float32, if that holds the pixels: images may be so large that memory counts.
    precision = np.float64 if array.dtype.kind == "f" and array.itemsize > 4 else np.float32
    scaled = np.multiply(array, 255 / top, dtype=precision, order="C")
    pixels: np.ndarray = np.rint(scaled, out=scaled).astype(np.uint8)
    return pixels


def _without_transparency(image: "Image.Image", background: str) -> "Image.Image":
    """The image on a background of its own."""
    from PIL import Image

    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return image
    ink = image if image.mode == "RGBA" else image.convert("RGBA")
    is_white = background == "white" or (background == AUTO and has_dark_ink(ink))
    opaque = Image.new("RGBA", image.size, "white" if is_white else "black")
    opaque.alpha_composite(ink)
    return opaque


def has_dark_ink(image: "Image.Image") -> bool:
    """Whether most of what is to be seen in an RGBA image is dark, each pixel counted as much as it covers."""
    light, cover = (np.asarray(band) for band in image.convert("LA").split())
    return 2 * int(cover[light < 128].sum(dtype=np.int64)) > int(cover.sum(dtype=np.int64))


def is_dark_on_light(raw: np.ndarray) -> bool:
    """Whether a raw image (1, C, S, S) is light as a whole, and at its edge: ink on paper, not chalk on a board.

    Light is what is nearer to its lightest pixel than to its darkest, as paper may be grey.
    """
    grey = raw.mean(axis=(0, 1))
    middle = (grey.min() + grey.max()) / 2
    edge = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    return bool(grey.mean() > middle and np.median(edge) > middle)
