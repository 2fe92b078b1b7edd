"""Argument types that several commands share. Each refuses a wrong value with what was expected."""

import argparse
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpucnn.checks import Shape
from gpucnn.errors import ArgumentError
from gpucnn.layers.views import VIEWS
from gpucnn.runs.choices import Classifier
from gpucnn.runs.kept_weights import WEIGHTS
from gpucnn.runs.value_kind import COUNT, POSITIVE, Kind, Name

LARGEST_SIZE = 4096
"""Of an image that a summary is asked for."""
UNITS = {"b": 1, **{f"{letter}b": 1000**i for i, letter in enumerate("kmgt", 1)},
         **{f"{letter}ib": 1024**i for i, letter in enumerate("kmgt", 1)}}  # fmt: skip


def argument(kind: Kind) -> Callable[[str], Any]:
    """What argparse wants as the type of an argument that is a value of `kind`."""

    def parse(text: str) -> Any:
        try:
            return kind.parse(text)
        except ArgumentError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


count, rate, classifier = argument(COUNT), argument(POSITIVE), argument(Classifier())


def choice(names: Sequence[str]) -> Callable[[str], str]:
    """One of `names`; a wrong one is answered with the nearest."""
    return argument(Name(lambda: names))


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Declare the option that chooses among the weights of a run."""
    parser.add_argument(
        "--weights",
        type=choice(WEIGHTS),
        metavar="best|last",
        help="of the best epoch, or of the last (default: best, if epochs were measured on validation images, or early "
        "stopping was on; else last)",
    )


def add_views(parser: argparse.ArgumentParser) -> None:
    """Declare the option that has a model look at each image several times."""
    parser.add_argument(
        "--views",
        type=choice(tuple(VIEWS)),
        metavar="|".join(VIEWS),
        help="answer with the mean over the image and its mirror image, or over both moved by a pixel, too (default: the image)",
    )


def image_shape(text: str) -> Shape:
    """CHANNELSxHEIGHTxWIDTH, e.g. 1x32x32, as a tuple."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected CHANNELSxHEIGHTxWIDTH, e.g. 1x32x32, got {text!r}")
    if any(int(part) > LARGEST_SIZE for part in parts):
        raise argparse.ArgumentTypeError(f"expected sizes of at most {LARGEST_SIZE}, got {text!r}")
    return tuple(int(part) for part in parts)


def batch_or_auto(text: str) -> int | str:
    """An int >= 1, or "auto"."""
    if text == "auto":
        return text
    return int(argument(dataclasses.replace(COUNT, expected=f"{COUNT.expected} or auto"))(text))


def memory_size(text: str) -> int:
    """A size with its unit, e.g. 4GB, 1.5 GiB or 512MB, in bytes."""
    return _scaled(text, UNITS, "a size with its unit, e.g. 4GB, 512MB or 2GiB")


def pixel_count(text: str) -> int:
    """A number of pixels, e.g. 50M, 12.5M, 800k or 640000."""
    return _scaled(text, {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}, "a number of pixels, e.g. 50M, 800k or 640000")


def _scaled(text: str, units: Mapping[str, int], expected: str) -> int:
    """A number >= 1 with one of the `units` behind it, in capitals or not."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?) ?([a-z]*)", text.strip().lower(), re.ASCII)
    size = int(float(found[1]) * units.get(found[2], 0)) if found else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return size
