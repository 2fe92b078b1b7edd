"""ParquetImages: a data set of images in Parquet files, as Hugging Face keeps them."""

import os
from collections import Counter, OrderedDict
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import to_host
from gpucnn.data.class_folders import comparable
from gpucnn.data.file_stamp import FileStamp
from gpucnn.data.fork_lock import fork_lock
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.packed_parts import PackedFiles
from gpucnn.data.parquet_file import Columns, Labels, ParquetTable
from gpucnn.errors import DataError
from gpucnn.text import is_printed, names_text

SUFFIX = ".parquet"
KEPT_BYTES = 1 << 28
"""What the row groups that are kept take of the host's memory."""

PIECE_BYTES = KEPT_BYTES >> 2
"""A row group with more bytes of images than that is read in pieces."""

PIECE_ROWS = 16
AT_ONCE = 64
"""Images that are sought together."""

MOST_OPEN = 4
"""Row groups of several pieces that are being read on."""


class ParquetImages(ImageFolder):
    """The images in Parquet files, in the order of the files' names and of their rows.

    - `folder`: one that holds them, or `PackedFiles`: just these files, which are in one folder.

    A file has a column of images, a struct {bytes, path} as Hugging Face's `datasets` write it, or bytes; and one of labels,
    integers or text. They may have any name if there is one of each, else `image` and `label`. Classes are called what the
    schema's metadata say, or a README.md or dataset_info.json beside the files; else integers are their names. Of `class_names`
    some may lack images. All else is as in `ImageFolder`: `paths` says file and row, e.g. train.parquet/row 7.

    Of the file only these columns are read, a row group at a time, and the latest row groups, of `KEPT_BYTES` in all, are kept:
    so the order in which images are asked for should stay in some of them for a while. A row group of more than `PIECE_BYTES`
    is read in pieces of `PIECE_ROWS` rows, from its first row on, unless those asked for come after the latest.

    Raises DataError, which names the file and the row, for what is damaged, encrypted, missing or of the wrong type, and when a
    batch is asked for, for images that are none, or are given by a path alone. LibraryError without pyarrow.
    """

    def _find(self, folder: Any, class_names: Sequence[str] | None) -> None:
        packed = PackedFiles.of(folder, SUFFIX, f"no {SUFFIX} files in it; give the folder that holds them")
        tables = [ParquetTable(path, packed.are_labelled) for path in packed.files]
        self.folder, self._images = packed.folder, _KeptImages(tables)
        self.left_out: Counter[str] = Counter()
        if packed.are_labelled:
            self.class_names, labels = _labels(tables, class_names)
        else:
            self.class_names, labels = ("",), np.zeros(sum(map(len, tables)), np.int64)
        paths = [table.path / f"row {row}" for table in tables for row in range(len(table))]
        self._rows = packed.kept(paths)
        self.labels, self.paths = labels[self._rows], tuple(paths[row] for row in self._rows)
        self.notes = _notes(tables)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each image is called, as "class/name": by its path before it came into the table, or else by file and row."""
        before = [name for table in self._images.tables for name in table.names]
        return tuple(
            f"{self.class_names[label]}/{before[row] or path.relative_to(self.folder).as_posix()}"
            for row, path, label in zip(self._rows, self.paths, to_host(self.labels).tolist(), strict=True)
        )

    def contents(self, indices: np.ndarray) -> Generator[bytes]:
        """The images at `indices` (B,), as they are in the files. DataError for one that cannot be read."""
        yield from self._images.read(self._rows[indices])

    def file_of(self, index: int) -> Path:
        """The file in which an image is."""
        return self.paths[index].parent

    def opened_stamp(self, index: int) -> FileStamp:
        """The stamp of the file as it was opened, of which alone images are read."""
        return self._images.table_of(int(self._rows[index])).stamp


def _notes(tables: Sequence[ParquetTable]) -> tuple[str, ...]:
    """A line if row groups are too large to be kept."""
    largest, path = max((max(table.sizes, default=0), table.path) for table in tables)
    if largest <= PIECE_BYTES:
        return ()
    told = f"{path}: has row groups of up to {largest >> 20:,} MB, which take long to read in random order"
    return (f"{told}; write it with smaller ones, e.g. row_group_size=100",)


def _labels(tables: Sequence[ParquetTable], expected: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes and the label (N,) of each row."""
    first = tables[0]
    found = [table.labels() for table in tables]
    for table, labels in zip(tables, found, strict=True):
        if (labels.texts is None) != (found[0].texts is None):
            raise DataError(
                f"{table.path}: labels in {table.columns.label} are of another type than in {first.path}; write both alike"
            )
        if labels.texts is None and table.columns.class_names != first.columns.class_names:
            raise DataError(f"{table.path}: its classes are called otherwise than in {first.path}; write both alike")
    names = _class_names(first.columns, found, expected)
    for name in names:
        if not name.strip() or not all(map(is_printed, name)):
            raise DataError(f"{first.path}: {name!a} cannot be printed as the name of a class; rename the class")
    if len(set(map(comparable, names))) < len(names):
        raise DataError(
            f"{first.path}: two classes have one name: {names_text(names)}; give each class a name of its own"
        )
    if len(names) < 2:
        raise DataError(
            f"{first.path}: {f'one class, {names[0]}' if names else 'no images'} in {first.columns.label}; expected two classes or more"
        )
    values = [
        _numbered(table, labels, names, expected is not None) for table, labels in zip(tables, found, strict=True)
    ]
    return names, np.concatenate(values)


def _class_names(columns: Columns, found: Sequence[Labels], expected: Sequence[str] | None) -> tuple[str, ...]:
    if expected is not None:
        return tuple(expected)
    if found[0].texts is not None:
        return tuple(sorted({text for labels in found for text in labels.texts or ()}))
    if columns.class_names:
        return columns.class_names
    most = max((int(labels.values.max()) for labels in found if labels.values.size), default=-1)
    if most >= sum(len(labels.values) for labels in found):
        return ("0", "1")  # for _numbered to tell which row is wrong
    return tuple(map(str, range(most + 1)))


def _numbered(table: ParquetTable, labels: Labels, names: tuple[str, ...], is_expected: bool) -> np.ndarray:
    """The labels of a file's rows as places in `names`. DataError, which names the row, for one that is not there."""
    own = labels.texts or table.columns.class_names
    if own and is_expected:
        known = {comparable(name): place for place, name in enumerate(names)}
        places = np.array([known.get(comparable(name), -1) for name in own], np.int64)
    else:
        places = np.array(
            [names.index(name) for name in own] if labels.texts is not None else range(len(names)), np.int64
        )
    is_wrong = (labels.values < 0) | (labels.values >= len(places))
    if not is_wrong.any():
        numbered: np.ndarray = places[labels.values]
        if (unknown := np.flatnonzero(numbered < 0)).size:
            row = int(unknown[0])
            raise DataError(
                f"{table.path / f'row {row}'}: {own[labels.values[row]]!r} is not a class of the training images: {names_text(names)}; "
                f"leave such rows out"
            )
        return numbered
    row = int(np.flatnonzero(is_wrong)[0])
    hint = " (-1 is what images without a label have)" if labels.values[row] == -1 else ""
    raise DataError(
        f"{table.path / f'row {row}'}: label {labels.values[row]}{hint} in {table.columns.label} is not from 0 to {len(places) - 1}; "
        f"leave the row out"
    )


_lock = fork_lock()


class _Piece(NamedTuple):
    """Some rows of a row group that are read together."""

    process: int
    """A child that was forked opens files of its own."""
    table: int
    group: int
    number: int


class _KeptImages:
    """The images in some tables, one after the other; the pieces that were read last are kept. For any number of threads.

    A pickle of it has none.
    """

    def __init__(self, tables: Sequence[ParquetTable]) -> None:
        self.tables = tables
        self._starts = np.cumsum([0, *map(len, tables)])
        self._kept: OrderedDict[_Piece, list[bytes | None]] = OrderedDict()
        self._bytes = 0
        self._readers: OrderedDict[_Piece, Iterator[tuple[_Piece, list[bytes | None]]]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return _KeptImages, (self.tables,)

    def read(self, indices: np.ndarray) -> Iterator[bytes]:
        """The images at `indices` (B,), of which those of one piece are read together."""
        for start in range(0, len(indices), AT_ONCE):
            yield from self._read_some([self._place(int(index)) for index in indices[start : start + AT_ONCE]])

    def _read_some(self, places: "Sequence[tuple[_Piece, int, int]]") -> Iterator[bytes]:
        found: dict[int, bytes] = {}
        for number in sorted(range(len(places)), key=lambda number: places[number]):
            piece, row, row_in_piece = places[number]
            with _lock:
                content = self._content(piece)[row_in_piece]
            found[number] = self.tables[piece.table].checked(row, content)
        for number in range(len(places)):
            yield found.pop(number)

    def table_of(self, index: int) -> ParquetTable:
        """The table in which an image is."""
        return self.tables[int(np.searchsorted(self._starts, index, side="right")) - 1]

    def _place(self, index: int) -> tuple[_Piece, int, int]:
        """The piece of an image, its row in the file, and in the piece."""
        table = int(np.searchsorted(self._starts, index, side="right")) - 1
        row = index - int(self._starts[table])
        starts = self.tables[table].starts
        group = int(np.searchsorted(starts, row, side="right")) - 1
        number, row_in_piece = divmod(row - int(starts[group]), self._rows_at_once(table, group))
        return _Piece(os.getpid(), table, group, number), row, row_in_piece

    def _rows_at_once(self, table: int, group: int) -> int:
        one = self.tables[table]
        return PIECE_ROWS if one.sizes[group] > PIECE_BYTES else max(int(one.starts[group + 1] - one.starts[group]), 1)

    def _content(self, piece: _Piece) -> list[bytes | None]:
        """The images of a piece, those before it read, too, if nobody has come as far in its row group."""
        if piece in self._kept:
            self._kept.move_to_end(piece)
            return self._kept[piece]
        first = piece._replace(number=0)
        for reader in (self._readers.pop(first, None), self._pieces(first)):
            for found, images in reader or ():
                self._keep(found, images)
                if found == piece:
                    assert reader is not None
                    self._readers[first] = reader  # if it raises it is read anew
                    if len(self._readers) > MOST_OPEN:
                        self._readers.popitem(last=False)
                    return images
        raise AssertionError("a table has all rows that it promises, or says that it lacks some")

    def _pieces(self, first: _Piece) -> Iterator[tuple[_Piece, list[bytes | None]]]:
        at_once = self._rows_at_once(first.table, first.group)
        for number, images in enumerate(self.tables[first.table].images(first.group, at_once)):
            yield first._replace(number=number), images

    def _keep(self, piece: _Piece, images: list[bytes | None]) -> None:
        if piece in self._kept:
            return
        self._kept[piece] = images
        self._bytes += _size(images)
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(images: Sequence[bytes | None]) -> int:
    return sum(len(image or b"") for image in images)
