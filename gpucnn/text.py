"""How values, shapes, names and commands to type are written in messages: in a line, and no longer than helps."""

import inspect
import os
import re
import reprlib
import shlex
import unicodedata
from collections.abc import Sequence

WINDOWS = os.name == "nt"
MOST_AXES = 64
"""The most axes that NumPy's arrays have."""

UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, surrogates, and separators of lines and paragraphs."""
REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They turn the order of all that follows them in a line. The marks that names in Arabic or Hebrew use are not among them."""
NO_CHARACTERS = frozenset(
    map(
        chr,
        [*range(0xFDD0, 0xFDF0), *(plane + end for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF))],
    )
)
"""Codes that Unicode keeps from being characters: no file of XML may have U+FFFE or U+FFFF in it, in whatever form."""


def shape_text(shape: Sequence[object]) -> str:
    """A shape as messages print it: (32, 1, 28, 28), or (N, 6, H, W) where names stand for free sizes."""
    if len(shape) > MOST_AXES:
        return f"a shape of {len(shape):,} axes"
    return (
        f"({', '.join(size if isinstance(size, str) else value_text(size) for size in shape)}{',' * (len(shape) == 1)})"
    )


LONGEST = 120
"""Characters of a value."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 8


def value_text(value: object) -> str:
    """A value as messages print it, in a line: an array by its shape and dtype, anything else by its repr, cut short."""
    try:
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if isinstance(shape, tuple) and shape and dtype is not None:
            return f"an array {shape_text(shape)} of {dtype}"
        text = " ".join(_SHORT.repr(value).split())
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    except Exception:  # a repr that fails
        return "a very large number" if isinstance(value, int) else f"a value of type {type(value).__name__}"


def call_text(made: object, **values: object) -> str:
    """The call that makes an object, which keeps its arguments under their names; those that are as by default are left out.

    `values` are those that it keeps in another form.
    """
    parts = []
    for name, parameter in inspect.signature(type(made)).parameters.items():
        value = values.get(name, getattr(made, name))
        if parameter.default is parameter.empty:
            parts.append(repr(value))
        elif value != parameter.default:
            parts.append(f"{name}={value!r}")
    return f"{type(made).__name__}({', '.join(parts)})"


def counted(count: int, noun: str) -> str:
    """1 batch, 1,437 batches."""
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith(('s', 'tch')) else 's'}"


def size_text(shape: Sequence[int]) -> str:
    """The size of an image: 3x32x32."""
    return "x".join(map(str, shape))


def is_printed(letter: str) -> bool:
    """Whether a character does no more than stand in its line, in any script: joiners and odd spaces do no more."""
    return letter.isprintable() or not (
        unicodedata.category(letter) in UNPRINTABLE or letter in REORDERING or letter in NO_CHARACTERS
    )


def printed(text: str) -> str:
    r"""`text` with escapes such as \x1b in place of what would do something to a terminal, or cannot be written to it, or to a file of XML."""
    if text.isprintable():
        return text
    return "".join(letter if is_printed(letter) else letter.encode("unicode_escape").decode("ascii") for letter in text)


def names_text(names: Sequence[str], most: int = 10) -> str:
    """Names as messages print them: a, b, c and 997 more."""
    left = len(names) - most
    return ", ".join(map(printed, names)) if left <= 1 else f"{', '.join(map(printed, names[:most]))} and {left:,} more"


def quoted(path: object) -> str:
    """A path as one word of a command, see `quoted_word`; one that begins with - is not taken for an option."""
    return quoted_word(f"./{path}" if str(path).startswith("-") else str(path))


def quoted_word(word: str) -> str:
    r"""A word of a command, for sh or, on Windows, for cmd.exe and PowerShell.

    cmd.exe knows double quotes alone, which no Windows path can hold, and \ is no special character there.
    """
    if not WINDOWS:
        return shlex.quote(word)
    return word if re.fullmatch(r"[\w.:\\/+-]+", word) else f'"{word}"'
