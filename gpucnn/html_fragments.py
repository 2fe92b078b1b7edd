"""Fragments of HTML that stand by themselves: tables, images and sheets of them, for notebooks and reports.

They inherit the page's colours, light or dark, have no scripts and ask for nothing from elsewhere.
"""

import binascii
import functools
import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeAlias

import numpy as np

from gpucnn.errors import LibraryError, ShapeError
from gpucnn.text import printed, shape_text

if TYPE_CHECKING:
    from PIL.Image import Image

FAINT = "rgba(128, 128, 128, 0.35)"
"""Of lines: to be seen on white and on black."""
BLUE, ORANGE = "66, 133, 244", "230, 120, 0"
"""Behind numbers, told apart by colour-blind eyes; see-through, so that letters of the page's colour stay readable."""
FULLEST = 0.55
EXACT, QUALITY = 1_000, 85
"""Bytes of a PNG file that are little enough; the quality of the JPEG file that stands for one that takes more."""
ALIGNED = {"l": "left", "r": "right"}

ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
"""As `html.escape` has them; that module takes longer to import than all of this one."""

P = ParamSpec("P")


class Html(str):
    """Text that is HTML already: `escaped` leaves it, and so does Jinja, by `__html__`."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


class Shaded(NamedTuple):
    """A cell of a table with a colour behind it, the fuller the larger `share`, which is from 0 to 1."""

    text: str
    share: float
    colour: str = BLUE


Cell: TypeAlias = str | Shaded


def escaped(text: object) -> Html:
    """What shows `text` as it is, also within an attribute in quotes: no tag in it is one, no control character is left."""
    return text if isinstance(text, Html) else Html(printed(str(text)).translate(ENTITIES))


def titled(title: str, *parts: str) -> Html:
    """Parts, which are HTML, below one another under a line of text; what is too wide or very high is scrolled."""
    inner = "".join(f'<div style="overflow: auto; max-height: 36em; margin: 4px 0">{part}</div>' for part in parts)
    return Html(f"<div><div>{escaped(title)}</div>{inner}</div>")


def html_table(header: Sequence[str], rows: Sequence[Sequence[Cell]], sides: str) -> Html:
    """A table: `header`, which may be empty, and `rows`. `sides` has "l" for each column that is flush left, "r" for right."""
    head = "".join(_cell("th", text, side) for text, side in zip(header, sides, strict=True)) if header else ""
    body = "".join(
        f"<tr>{''.join(_cell('td', cell, side) for cell, side in zip(row, sides, strict=True))}</tr>" for row in rows
    )
    return Html(
        f'<table style="border-collapse: collapse; font-variant-numeric: tabular-nums">'
        f"{head and f'<thead><tr>{head}</tr></thead>'}<tbody>{body}</tbody></table>"
    )


def html_image(image: np.ndarray, alt: str, size: int) -> Html:
    """An image, see `png_uri`, shown `size` pixels high, in whole pixels if it is smaller; `alt` is what it shows, in words."""
    height, width = image.shape[-2:]
    return _shown(png_uri(image), alt, max(round(size * width / height), 1), size, height < size)


def html_sheet(images: Sequence[np.ndarray], captions: Sequence[str], size: int) -> Html:
    """Images beside and below one another, each above its caption and at most `size` pixels high and wide.

    Large ones are made smaller, to two pixels for each that is shown, and photos lose a little as JPEG files do.
    """
    figures = "".join(
        f'<figure style="margin: 0; max-width: {size}px; overflow-wrap: anywhere; text-align: center">'
        f'{_thumbnail(image, caption, size)}<figcaption style="font-size: 80%">{escaped(caption)}</figcaption></figure>'
        for image, caption in zip(images, captions, strict=True)
    )
    return Html(f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{figures}</div>')


def sparkline(values: Sequence[float], width: int = 96, height: int = 24) -> Html:
    """A course of numbers as a line without axes, in the text's colour; those that are not finite are left out."""
    places = [(place, value) for place, value in enumerate(values) if math.isfinite(value)]
    if len(places) < 2:
        return Html("")
    low, high = min(value for _, value in places), max(value for _, value in places)
    across, up = (width - 4) / (len(values) - 1), (height - 4) / ((high - low) or 1)
    points = " ".join(f"{2 + place * across:.1f},{height - 2 - (value - low) * up:.1f}" for place, value in places)
    name = f"from {places[0][1]:.4g} to {places[-1][1]:.4g}, lowest {low:.4g}, highest {high:.4g}"
    return Html(
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{name}"><title>{name}</title>'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )


def png_uri(image: np.ndarray) -> str:
    """An image as a data URI of a PNG file: (H, W), grey (1, H, W) or RGB (3, H, W), bytes or floats from 0 to 1.

    Floats beyond are cut off, NaN is black. Of another number of channels the planes stand side by side, in grey. Raises
    ShapeError for an array of another form, LibraryError without Pillow.
    """
    return data_uri("png", _saved(_picture(image), "PNG", optimize=True))


def _thumbnail(image: np.ndarray, alt: str, size: int) -> Html:
    """An image, see `png_uri`, that is as large as fits into `size` by `size` pixels; of more than twice that size, a smaller one."""
    picture = _picture(image)
    scale, is_small = size / max(picture.size), max(picture.size) < size
    width, height = (max(round(side * scale), 1) for side in picture.size)
    picture.thumbnail((2 * size, 2 * size))
    exact = _saved(picture, "PNG", optimize=True)
    lossy = exact if len(exact) <= EXACT else _saved(picture, "JPEG", quality=QUALITY)
    uri = data_uri("jpeg", lossy) if len(lossy) < len(exact) else data_uri("png", exact)
    return _shown(uri, alt, width, height, is_small)


def _shown(uri: str, alt: str, width: int, height: int, is_pixelated: bool) -> Html:
    style = "image-rendering: pixelated; " if is_pixelated else ""
    return Html(f'<img src="{uri}" alt="{escaped(alt)}" width="{width}" height="{height}" style="{style}margin: 0">')


def _picture(image: np.ndarray) -> "Image":
    try:
        from PIL import Image
    except ImportError as error:
        raise LibraryError(f"images need Pillow ({error}); pip install pillow") from None
    return Image.fromarray(_pixels(image))


def _saved(picture: "Image", kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """The content of an image's file, within the page: `kind` is png, jpeg, webp or svg+xml."""
    return f"data:image/{kind};base64,{binascii.b2a_base64(content, newline=False).decode('ascii')}"


def _pixels(image: np.ndarray) -> np.ndarray:
    """Bytes (H, W) or (H, W, 3), as Pillow takes them."""
    if image.ndim not in (2, 3) or image.size == 0:
        raise ShapeError(f"expected an image (H, W) or (C, H, W), got {shape_text(image.shape)}")
    if image.dtype != np.uint8:
        image = np.rint(np.clip(np.nan_to_num(image.astype(np.float64)), 0, 1) * 255).astype(np.uint8)
    if image.ndim == 2:
        return image
    return np.ascontiguousarray(image.transpose(1, 2, 0)) if len(image) == 3 else np.concatenate(list(image), axis=1)


def _cell(tag: str, cell: Cell, side: str) -> str:
    text, share, colour = cell if isinstance(cell, Shaded) else Shaded(cell, 0.0)
    style = f"text-align: {ALIGNED[side]}; padding: 2px 8px; border-bottom: 1px solid {FAINT}"
    if share > 0:
        style += f"; background: rgba({colour}, {min(share, 1.0) * FULLEST:.3f})"
    return f'<{tag} style="{style}">{escaped(text)}</{tag}>'


def text_instead(draw: Callable[P, Html | None]) -> Callable[P, Html | None]:
    """For what a `_repr_html_` gives: None where it fails, e.g. for a file that is gone, and notebooks show the text."""

    @functools.wraps(draw)
    def shown(*given: P.args, **named: P.kwargs) -> Html | None:
        try:
            return draw(*given, **named)
        except Exception:  # whatever it is, a look at an object is no place for it
            return None

    return shown
