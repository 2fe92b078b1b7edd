"""Figures as a page has them: within it, as SVG or PNG, or the reason why there is none."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gpucnn.errors import GpucnnError
from gpucnn.html_fragments import data_uri
from gpucnn.plot.figure import SCREEN, saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARP = 144
"""Dots an inch of a PNG: more than most screens show."""
LARGE = 150_000
"""Bytes of a figure that is rather compressed with a loss, as WebP; of photos it has many."""
QUALITY = 88


class Picture(NamedTuple):
    """A picture to show, or why there is none."""

    uri: str = ""
    alt: str = ""
    width: int = 0
    height: int = 0
    """Pixels of a page."""
    reason: str = ""
    title: str = ""


def embedded(draw: "Callable[[], Figure]") -> Picture:
    """What `draw` draws: SVG of lines and letters, of images PNG, or WebP of large ones. An error of ours is a reason for none."""
    try:
        figure = draw()
    except GpucnnError as error:
        return Picture(reason=f"No picture: {error}")
    has_images = any(axes.images for axes in figure.axes)  # which a file of lines and letters would hold twice encoded
    kind, content = ("png", saved(figure, ".png", SHARP)) if has_images else ("svg+xml", saved(figure, ".svg"))
    if has_images and len(content) > LARGE:
        kind, content = min(("webp", _webp(content)), (kind, content), key=lambda file: len(file[1]))
    width, height = (round(inches * SCREEN) for inches in (figure.get_figwidth(), figure.get_figheight()))
    return Picture(data_uri(kind, content), getattr(figure, "alt", ""), width, height)


def _webp(png: bytes) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(file, "WEBP", quality=QUALITY)
    return file.getvalue()


def embedded_svg(svg: str, alt: str, width: int, height: int) -> Picture:
    """An SVG as an image of its own: what it holds cannot reach the page, and the page's rules do not reach it."""
    return Picture(data_uri("svg+xml", svg.encode()), alt, width, height)
