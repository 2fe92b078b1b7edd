"""Argument types that several commands share. Each refuses a wrong value with what was expected."""

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from gpucnn import models
from gpucnn.checks import Shape

Number = TypeVar("Number", int, float)
LARGEST_SIZE = 4096
"""Of an image that a summary is asked for."""
UNITS = {"b": 1, **{f"{letter}b": 1000**i for i, letter in enumerate("kmgt", 1)},
         **{f"{letter}ib": 1024**i for i, letter in enumerate("kmgt", 1)}}  # fmt: skip


def count(text: str) -> int:
    """An int >= 1."""
    return _number(text, int, "a whole number >= 1", lambda value: value >= 1)


def seed(text: str) -> int:
    """An int from 0 to 2^64 - 1."""
    return _number(text, int, "a whole number from 0 to 2^64 - 1", lambda value: 0 <= value < 1 << 64)


def rate(text: str) -> float:
    """A finite number > 0."""
    return _number(text, float, "a number > 0", lambda value: 0 < value < float("inf"))


def choice(names: Sequence[str]) -> Callable[[str], str]:
    """One of `names`; a wrong one is answered with the nearest."""

    def parse(text: str) -> str:
        if text in names:
            return text
        nearest = difflib.get_close_matches(text, names, 1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise argparse.ArgumentTypeError(f"unknown name {text!r}, expected one of {', '.join(names)}{hint}")

    return parse


def classifier(text: str) -> str:
    """The name of a model that gives one row of logits an image."""
    classifiers = models.classifier_names()
    if text in models.names() and text not in classifiers:
        raise argparse.ArgumentTypeError(
            f"{text} labels every pixel, and images have one label here; choose a classifier, e.g. resnet20"
        )
    return choice(classifiers)(text)


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
    return _number(text, int, "a whole number >= 1 or auto", lambda value: value >= 1)


def memory_size(text: str) -> int:
    """A size with its unit, e.g. 4GB, 1.5 GiB or 512MB, in bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", text.strip().lower(), re.ASCII)
    size = int(float(found[1]) * UNITS.get(found[2], 0)) if found else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"expected a size with its unit, e.g. 4GB, 512MB or 2GiB, got {text!r}")
    return size


def _number(text: str, kind: Callable[[str], Number], expected: str, valid: Callable[[Number], bool]) -> Number:
    try:
        value = kind(text)
        if valid(value):
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
