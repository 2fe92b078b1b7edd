"""Tables of small grey images as Kaggle has them: one row per image, its label first and then its pixels."""

import csv
import os
from pathlib import Path

import numpy as np

from gpucnn.checks import as_path
from gpucnn.data.quiet_reading import reading
from gpucnn.errors import DataError

LONGEST_HEADER = 1 << 16
"""Characters in the first line of a table; a longer one is refused."""


def read_digit_csv(path: str | os.PathLike[str], size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) in a table: bytes (N, 1, size, size) and labels int64 (N,).

    Its first line may name the columns: label, pixel0, pixel1, ... Raises DataError, which names the file, for a table
    without labels, of another width, and for anything but whole numbers from 0 to 255.
    """
    path = as_path(path, "path")
    width = size * size
    cells, has_header = _first_line(path)
    if len(cells) == width:
        raise DataError(
            f"{path}: {width} columns and no column label, so nothing to learn from; give the table that has labels, "
            f"which Kaggle calls train.csv"
        )
    if len(cells) != 1 + width or (has_header and cells[0].lower() != "label"):
        raise DataError(
            f"{path}: {len(cells):,} columns, the first {cells[0][:40]!r}; expected {1 + width}: label, then {width} "
            f"pixels, row by row, of an image of {size}x{size}"
        )
    numbers = [
        int(cell[5:]) for cell in cells[1:] if has_header and cell.lower().startswith("pixel") and cell[5:].isdecimal()
    ]
    if numbers != sorted(numbers):
        raise DataError(
            f"{path}: its pixels do not stand in their order, which is pixel0, pixel1, ...; sort the columns"
        )
    with reading(path, "not a table of whole numbers that can be read ({})"):
        rows = np.loadtxt(
            path, np.int16, comments=None, delimiter=",", skiprows=int(has_header), quotechar='"', ndmin=2,
            encoding="utf-8-sig",
        )  # fmt: skip
    if rows.shape[1] != 1 + width:
        raise DataError(f"{path}: images of {rows.shape[1] - 1} pixels; expected {width}")
    if rows.min() < 0 or rows.max() > 255:
        row = int(np.argmax(((rows < 0) | (rows > 255)).any(axis=1)))
        raise DataError(
            f"{path}: image {row} has pixels from {rows[row].min()} to {rows[row].max()}, expected 0 to 255"
        )
    if not has_header and len(rows) > 1 and rows[:, 0].max() == rows[:, 0].min() and len(np.unique(rows[:, -1])) > 1:
        raise DataError(
            f"{path}: the first column is {rows[0, 0]} in every row, and the last is not; expected the label first: put its column "
            f"there, or name the columns in a first line: label, pixel0, ..."
        )
    return rows[:, 1:].astype(np.uint8).reshape(-1, 1, size, size), rows[:, 0].astype(np.int64)


def has_labels(path: Path, size: int = 28) -> bool:
    """Whether the first line of a table begins with a column of labels. DataError if it cannot be read."""
    cells, has_header = _first_line(path)
    return cells[0].lower() == "label" if has_header else len(cells) == 1 + size * size


def _first_line(path: Path) -> tuple[list[str], bool]:
    """The cells of the first line, and whether they name the columns."""
    with (
        reading(path, "not a table of text ({})"),
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        line = file.readline(LONGEST_HEADER)
        if not (line.strip() and (not _names_columns(line) or any(row.strip() for row in file))):
            raise DataError(f"{path}: no images in it; expected label, then the pixels of an image, in each row")
        cells = [cell.strip() for cell in next(csv.reader([line]), [""])]
    return cells, _names_columns(line)


def _names_columns(line: str) -> bool:
    """Whether a line does not begin with a number."""
    return not line.strip('\ufeff" \t')[:1].isdecimal()
