"""Tables of plain text: columns aligned, names that are too wide cut, control characters never printed."""

import unicodedata
from collections.abc import Sequence

GAP = "  "


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """The lines of a table: `header`, a rule, `rows`. `sides` has "l" for each column that is flush left, "r" for right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(columns(line[place]) for line in lines) for place in range(len(header))]
    text = [
        GAP.join(padded(cell, width, side == "r") for cell, width, side in zip(line, widths, sides, strict=True))
        for line in lines
    ]
    rule = "-" * (sum(widths) + len(GAP) * (len(widths) - 1))
    return [line.rstrip() for line in (text[0], rule, *text[1:])]


def shown(text: str, most: int = 40) -> str:
    """`text` on one line of at most `most` columns: control characters as escapes, "..." for a middle that is too much."""
    text = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    if columns(text) <= most:
        return text
    room = most - len("...")
    head, tail = _start(text, room - room // 2), _start(text[::-1], room // 2)
    return f"{head}...{tail[::-1]}"


def padded(text: str, width: int, right: bool = False) -> str:
    """`text` in `width` columns of a terminal, flush left or flush `right`."""
    space = " " * (width - columns(text))
    return space + text if right else text + space


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    return sum(map(_columns_of, text))


def _columns_of(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _start(text: str, room: int) -> str:
    """As much of the beginning of `text` as fits into `room` columns."""
    end = 0
    while end < len(text) and columns(text[: end + 1]) <= room:
        end += 1
    return text[:end]
