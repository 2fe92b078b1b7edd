"""What decodes JPEGs, by name. Decoders differ in bits, so which one it is, is a setting, never what is installed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gpucnn.checks import as_choice
from gpucnn.errors import LibraryError

if TYPE_CHECKING:
    from PIL import Image

PILLOW, SIMPLEJPEG = "pillow", "simplejpeg"


def _draft(opened: "Image.Image", content: bytes, least: int) -> None:
    """By Pillow, at 1/2, 1/4 or 1/8 of its size if both sides then still have `least` pixels, which takes less time."""
    if least:
        opened.draft(None, (least, least))


def _simplejpeg(opened: "Image.Image", content: bytes, least: int) -> "Image.Image | None":
    """By libjpeg-turbo itself. What it finds damaged, and CMYK, is left to Pillow."""
    import simplejpeg
    from PIL import Image

    if opened.mode not in ("L", "RGB"):
        return None
    try:
        pixels = simplejpeg.decode_jpeg(content, colorspace="GRAY" if opened.mode == "L" else "RGB")
    except ValueError:
        return None
    image = Image.fromarray(pixels[:, :, 0] if opened.mode == "L" else pixels)
    image.info = dict(opened.info)  # which may tell how to turn it
    return image


DECODERS: "dict[str, Callable[[Image.Image, bytes, int], Image.Image | None] | None]" = {
    PILLOW: None,
    "pillow-draft": _draft,
    SIMPLEJPEG: _simplejpeg,
}
"""Of an image that Pillow has opened, the file's content and the least size wanted: the image; None if Pillow is to load it."""


def check_decoder(name: str) -> str:
    """The name of a decoder. ArgumentError for another, LibraryError where what it needs is not installed."""
    if as_choice(name, "decode", DECODERS) == SIMPLEJPEG:
        simplejpeg_version()
    return name


def simplejpeg_version() -> str:
    """LibraryError where it is not installed."""
    try:
        import simplejpeg
    except ImportError as error:
        raise LibraryError(
            f'decode simplejpeg needs simplejpeg ({error}); pip install "gpucnn[simplejpeg]", or choose decode pillow'
        ) from None
    return str(simplejpeg.__version__)
