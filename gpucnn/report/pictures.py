"""Figures as a page has them: within it, as SVG or PNG, or the reason why there is none."""

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gpucnn.errors import GpucnnError
from gpucnn.plot.figure import SCREEN, saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARP = 144
"""Dots an inch of a PNG: twice as many as most screens show."""


class Picture(NamedTuple):
    """A picture to show, or why there is none."""

    uri: str = ""
    alt: str = ""
    width: int = 0
    height: int = 0
    """Pixels of a page."""
    reason: str = ""
    title: str = ""


def picture(draw: "Callable[[], Figure]") -> Picture:
    """What `draw` draws, in the smaller of two forms. If it raises an error of ours, that is the reason for there being none."""
    try:
        figure = draw()
    except GpucnnError as error:
        return Picture(reason=f"No picture: {error}")
    files = {"svg+xml": saved(figure, ".svg"), "png": saved(figure, ".png", SHARP)}
    kind = min(files, key=lambda one: len(files[one]))
    width, height = (round(inches * SCREEN) for inches in (figure.get_figwidth(), figure.get_figheight()))
    return Picture(_uri(kind, files[kind]), getattr(figure, "alt", ""), width, height)


def svg_picture(svg: str, alt: str, width: int, height: int) -> Picture:
    """An SVG as an image of its own: what it holds cannot reach the page, and the page's rules do not reach it."""
    return Picture(_uri("svg+xml", svg.encode()), alt, width, height)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
