"""Tables of plain text: columns aligned, names that are too wide cut, control characters never printed."""

import shutil
import textwrap
import unicodedata
from collections.abc import Sequence

from gpucnn.text import printed

GAP = "  "
NARROWEST = 24
"""Columns that are left of a text that is cut to have a table fit."""
LONGEST = 300
"""Columns of what is said of an entry of a file, which may be of any length."""
WIDENS, JOINER = "\N{VARIATION SELECTOR-16}", "\N{ZERO WIDTH JOINER}"


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


def terminal_width() -> int:
    """How many columns the terminal has; 80 where there is none, as in a file, unless the variable COLUMNS says otherwise."""
    return shutil.get_terminal_size().columns


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of `width` columns, those after the first set in; a word, e.g. a path, stays whole."""
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def stacked_tables(header: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """The lines of a table; where the terminal is too narrow, of several below one another, each with the first column."""
    most, rest = terminal_width(), list(range(1, len(header)))
    tables: list[list[str]] = []
    while rest or not tables:
        taken = [0, *rest[:1]]
        table = _part(header, rows, sides, taken)
        for place in rest[1:]:
            wider = _part(header, rows, sides, [*taken, place])
            if columns(wider[1]) > most:
                break
            taken, table = [*taken, place], wider
        rest = rest[len(taken) - 1 :]
        tables.append(table)
    return [line for table in tables for line in (*([""] if table is not tables[0] else []), *table)]


def fitted_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], sides: str, less_needed: Sequence[str]
) -> list[str]:
    """The lines of a table; where the terminal is too narrow, without columns that are `less_needed`, the first of them first."""
    places = list(range(len(header)))
    for name in (*less_needed, None):
        table = _part(header, rows, sides, places)
        if columns(table[1]) <= terminal_width() or name is None:
            break
        places.remove(header.index(name))
    return table


def shortened_table(header: Sequence[str], rows: Sequence[Sequence[str]], sides: str, place: int) -> list[str]:
    """The lines of a table; where the terminal is too narrow, texts in the column at `place` are cut, see `shortened`."""
    table = text_table(header, rows, sides)
    there = max(columns(line[place]) for line in (header, *rows))
    room = max(terminal_width() - columns(table[1]) + there, NARROWEST, columns(header[place]))
    if room >= there:
        return table
    return text_table(header, [[*row[:place], shortened(row[place], room), *row[place + 1 :]] for row in rows], sides)


def _part(header: Sequence[str], rows: Sequence[Sequence[str]], sides: str, places: Sequence[int]) -> list[str]:
    """The table of the columns at some places."""
    lines = [[line[place] for place in places] for line in (header, *rows)]
    return text_table(lines[0], lines[1:], "".join(sides[place] for place in places))


def shortened(text: str, most: int = 40) -> str:
    """`text` on one line of at most `most` columns: control characters as escapes, "..." for a middle that is too much."""
    text = printed(text)
    if columns(text) <= most:
        return text
    room = most - len("...")
    return f"{_start(text, room - room // 2)}...{_end(text, room // 2)}"


def padded(text: str, width: int, right: bool = False) -> str:
    """`text` in `width` columns of a terminal, flush left or flush `right`."""
    space = " " * (width - columns(text))
    return space + text if right else text + space


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes: two for a wide letter or an emoji, none for a mark on another."""
    if text.isascii():
        return len(text)
    total, last, is_joined = 0, 0, False
    for letter in unicodedata.normalize("NFC", text):
        width = 0 if is_joined else _columns_of(letter)
        if letter == WIDENS and last == 1:  # what came before is shown as an emoji
            width, last = 1, 2
        is_joined = letter == JOINER and last == 2  # the next is part of the same emoji
        total += width
        last = last if width == 0 or letter == WIDENS else width
    return total


def _columns_of(letter: str) -> int:
    if (
        unicodedata.category(letter) in ("Mn", "Me", "Cf")
        or "\N{EMOJI MODIFIER FITZPATRICK TYPE-1-2}" <= letter <= "\N{EMOJI MODIFIER FITZPATRICK TYPE-6}"
    ):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _start(text: str, room: int) -> str:
    """As much of the beginning of `text` as fits into `room` columns."""
    end = 0
    while end < len(text) and columns(text[: end + 1]) <= room:
        end += 1
    return text[:end]


def _end(text: str, room: int) -> str:
    """As much of the end of `text` as fits into `room` columns."""
    start = len(text)
    while start > 0 and columns(text[start - 1 :]) <= room:
        start -= 1
    return text[start:]
