"""Images from files, bytes, arrays and Pillow: decoded, in the raw format that a `Preprocess` takes; and whether they are dark on light."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import to_host
from gpucnn.checks import as_path
from gpucnn.data.image_kind import kind_of, reads_heif, what_to_do
from gpucnn.data.image_metadata import upright, without_metadata
from gpucnn.data.jpeg_decoders import DECODERS, PILLOW
from gpucnn.data.npz import read_npy
from gpucnn.data.plain_image import JPEG, plain_image
from gpucnn.data.quiet_reading import quiet_reading
from gpucnn.errors import ArgumentError, DataError, GpucnnError
from gpucnn.regular_file import read_regular
from gpucnn.text import shape_text, value_text

if TYPE_CHECKING:
    from PIL import Image


AUTO = "auto"
BACKGROUNDS = (AUTO, "white", "black")
"""What is behind the transparent parts of an image; auto is white where most of what is to be seen is dark, else black."""

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray"
"""What an image is read from: a path, the content of a file, a file that is open in binary mode, Pillow's image, an array."""


def decode_image(
    image: ImageSource,
    channels: int,
    *,
    background: str = AUTO,
    read: Callable[[Path], bytes] = read_regular,
    decode: str = PILLOW,
    least: int = 0,
) -> "Image.Image":
    """The image in what `read_image` takes: upright as its EXIF data says, grey for one channel, else RGB.

    What is transparent shows the `background`, one of BACKGROUNDS. Of several frames of a file it is the first. Any thread may
    call it. `read` gives the content of a file. `decode` is what decodes JPEGs; with a draft neither side becomes smaller than
    `least`, and 0 is for their own size. DataError, which names the file, if it cannot be read.
    """
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    name, content = name_of(image), b""
    try:
        if isinstance(image, Image.Image):
            opened = _loaded(image)
        elif is_array(image):
            opened = Image.fromarray(_bytes_of(name, *_pixels(name, image)))
        else:
            # From memory: Pillow reads a few bytes at a time, and as many bytes as a damaged header promises.
            content = _content(image, read)
            if _is_npy(image, content):
                opened = Image.fromarray(_bytes_of(name, read_npy(io.BytesIO(content), len(content), name)))
            else:
                opened = _opened(content, decode, least)
        if opened.mode[0] in "IF":  # Pillow would cut 16-bit and float pixels off at 255
            opened = Image.fromarray(_bytes_of(name, np.asarray(opened), whole=65535))
        opaque = _without_transparency(opened, background)
        if opaque.mode in ("LAB", "HSV"):  # which Pillow makes RGB of, but not grey
            opaque = opaque.convert("RGB")
        return opaque if opaque.mode == mode else opaque.convert(mode)
    except FileNotFoundError:
        raise DataError(f"{name}: no such image file") from None
    except GpucnnError:
        raise
    except Exception as error:  # Pillow and NumPy raise many kinds for damaged files
        raise DataError(f"{name}: {_reason(image, content, error)}") from None


def is_array(image: object) -> bool:
    """Whether `image` is an array, of whichever library, or a tensor."""
    if isinstance(image, str | bytes):  # NumPy's own are both
        return False
    return isinstance(image, np.ndarray | Tensor) or hasattr(image, "__array__") or _is_on_gpu(image)


def name_of(image: object) -> str:
    """What messages call an image: the path, if it has one. ArgumentError for what is no image."""
    from PIL import Image

    if isinstance(image, str | os.PathLike):
        return str(as_path(image, "image"))
    if isinstance(image, bytes | bytearray | memoryview):
        return "the bytes"
    if isinstance(image, Image.Image):
        return str(getattr(image, "filename", "") or "the Pillow image")
    if is_array(image):
        return "the array"
    if callable(getattr(image, "read", None)):
        known = getattr(image, "name", None)  # of a file without a name it is a number
        return known if isinstance(known, str) and known else "the open file"
    raise ArgumentError(
        f"expected an image: a path, bytes, a file opened with mode 'rb', a Pillow image or an array, got {value_text(image)}"
    )


def centre_crop(image: "Image.Image", size: int) -> np.ndarray:
    """The largest square in the middle of a grey or RGB image, bilinearly at `size`: bytes (C, size, size)."""
    from PIL import Image, ImageOps

    if image.size == (size, size):  # as it is
        return planes_of(image)
    return planes_of(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))


def planes_of(image: "Image.Image") -> np.ndarray:
    """A grey or RGB image as bytes (C, H, W)."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _content(image: Any, read: Callable[[Path], bytes]) -> bytes:
    """The content of a file that is given by its path, as bytes, or open."""
    if isinstance(image, str | os.PathLike):
        return read(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    content = image.read()
    if not isinstance(content, bytes | bytearray | memoryview):
        raise DataError(f"{name_of(image)}: gives {type(content).__name__}, not bytes; open it with mode 'rb'")
    if not content:
        raise DataError(f"{name_of(image)}: nothing is left to read; if it was read before, file.seek(0) goes back")
    return bytes(content)


def _is_npy(image: object, content: bytes) -> bool:
    """Whether it is an array: a file by the end of its name, bytes by their beginning."""
    if isinstance(image, str | os.PathLike):
        return Path(image).suffix.lower() == ".npy"
    return kind_of(content) == ".npy"


def _is_on_gpu(image: object) -> bool:
    return hasattr(image, "__cuda_array_interface__")


def _pixels(name: str, image: Any) -> tuple[np.ndarray, int]:
    """The array of an image, on the host, and the value of full brightness of its integers. DataError for other numbers."""
    given = image.array if isinstance(image, Tensor) else image
    array = np.asarray(to_host(given) if _is_on_gpu(given) else given)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: expected bytes (uint8) from 0 to 255, got {array.dtype}")
    is_outside = array.dtype != np.uint16 and array.size > 0 and not (array.min() >= 0 and array.max() <= 255)
    if array.dtype.kind == "f" or is_outside:
        raise DataError(f"{name}: expected bytes (uint8) from 0 to 255, got {_range_text(array)}; {_to_bytes(array)}")
    if array.dtype != np.uint16:
        return array, 255
    if array.size and 1 < array.max() <= 255:
        raise DataError(
            f"{name}: {_range_text(array)} are black as 16 bits, which go up to 65535; if 255 is white: image.astype('uint8')"
        )
    return array, 65535


def _range_text(array: np.ndarray) -> str:
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    return f"{array.dtype} from {low:g} to {high:g}"


def _to_bytes(array: np.ndarray) -> str:
    """What makes bytes of floats."""
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if low >= 0 and high <= 1:
        return "np.rint(255 * image).astype('uint8') makes them"
    if low >= 0 and high <= 255:
        return "np.rint(image).astype('uint8') makes them"
    if low >= 0 and array.dtype.kind in "iu":
        return "of 16 bits image.astype('uint16') is taken"
    return "give the pixels as they were before normalisation"


def _opened(content: bytes, decode: str, least: int) -> "Image.Image":
    """The image in a file's content, loaded and upright. Raises what Pillow does."""
    if content[4:8] == b"ftyp":  # AVIF or HEIF
        reads_heif()
    if (decode == PILLOW or not content.startswith(JPEG)) and (plain := plain_image(content)) is not None:
        return plain
    with quiet_reading():
        try:
            return _opened_as_it_is(content, decode, least)
        except Exception:
            for stripped in without_metadata(content):
                with contextlib.suppress(Exception):  # the first error tells more
                    return _opened_as_it_is(stripped, decode, least)
            raise


def _opened_as_it_is(content: bytes, decode: str = PILLOW, least: int = 0) -> "Image.Image":
    from PIL import Image

    with Image.open(io.BytesIO(content)) as opened:
        decoder = DECODERS[decode] if content.startswith(JPEG) else None
        if decoder is not None:
            _check_pixel_count(opened)
            if (decoded := decoder(opened, content, least)) is not None:
                return upright(decoded)
        return _loaded(opened)


def _loaded(image: "Image.Image") -> "Image.Image":
    """An image of Pillow's with its pixels, upright."""
    _check_pixel_count(image)
    with quiet_reading():
        image.load()
        return upright(image)


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


def _reason(image: object, content: bytes, error: Exception) -> str:
    """Why an image cannot be read, and what to do about it."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, OSError) and error.errno is not None:  # not Pillow's own
        return f"cannot be read ({error.strerror or error})"
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # which names an object of ours
        what = f"image file {str(image)!r}" if isinstance(image, str | os.PathLike) else "what image it is"
        reason = f"cannot identify {what}" if content else "an empty file"
    fix = what_to_do(content) if content or isinstance(image, str | os.PathLike | bytes) else "open it anew"
    if isinstance(error, Image.DecompressionBombError):
        fix = "make the image smaller"
    return f"not an image that can be read ({reason}); {fix}"


def _bytes_of(name: str, array: np.ndarray, whole: int = 255) -> np.ndarray:
    """Pixels from 0 to `whole`, or floats or truth values from 0 to 1, as bytes (H, W), (H, W, 3) or (H, W, 4)."""
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise DataError(f"{name}: expected one image (H, W), (C, H, W) or (H, W, C), got {shape_text(array.shape)}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = (float(array.min()), float(array.max())) if array.dtype.kind in "fiub" else (np.nan, np.nan)
    top = 1 if array.dtype.kind in "fb" else whole
    if not (low >= 0 and high <= top):
        raise DataError(
            f"{name}: expected integers from 0 to {whole} or floats from 0 to 1, got {array.dtype} from {low} to {high}"
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
