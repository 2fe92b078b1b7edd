"""A Parquet file of images, as Hugging Face keeps them: of which only the columns of images and labels are read, a row group at a time.

The format: Apache Parquet; what is in the metadata of its schema: Hugging Face's `datasets`.
"""

import errno
import os
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from gpucnn.data.hugging_face import class_names_of, features_beside, features_in
from gpucnn.errors import DataError, LibraryError
from gpucnn.regular_file import TimedCalls, open_regular
from gpucnn.text import names_text
from gpucnn.text_table import shortened

if TYPE_CHECKING:
    from pyarrow import ChunkedArray as Array
    from pyarrow import Schema
    from pyarrow.parquet import FileMetaData, ParquetFile

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
IMAGES = ("image", "img", "images", "jpg", "png", "bytes")
LABELS = ("label", "labels", "class", "category", "cls", "target")
"""What columns are called, where more than one could be meant."""

KEPT_BYTES = 1 << 28
"""What the row groups that are kept take of the host's memory."""

PIECE_BYTES = KEPT_BYTES >> 2
PIECE_ROWS = 16
MOST_OPEN = 4
"""Row groups that are being read on."""

LABELS_AT_ONCE = 1 << 16

AGAIN = "download it again, or leave it out"


class Columns(NamedTuple):
    """Where a file has its images and labels."""

    image: str
    """The column of bytes, e.g. "image.bytes"."""
    path: str
    """The column of the paths that the images had; empty without one."""
    label: str
    class_names: tuple[str, ...]
    """What the labels are called, if that is written."""


class ParquetPack:
    """The images in a Parquet file, in the order of its rows. For any number of threads, also after a fork.

    - `images`, `labels`: their names, and of each the number of its class, or its name.
    - `class_names`: what the classes are called, as the schema's metadata say, or a README.md or dataset_info.json beside the file,
      or in the folder above it; empty where nobody says it.
    - `left_out`: empty.

    A file has a column of images, a struct {bytes, path} or bytes; and one of labels, integers or text. They may have any name if
    there is one of each, else `image` and `label`. An image is called by its class and its path in the struct, as in cat/1.png, if
    each row has a path of its own, and else by class, file and row, as in `cat/train-0 row 7`.

    The row groups that were read last are kept, `KEPT_BYTES` of all files together: images should be asked for so that some
    row groups serve for a while. One of more than `PIECE_BYTES` is read in pieces of `PIECE_ROWS` rows, from its first row on,
    unless the one that is asked for comes after the latest.

    Raises DataError, with file, row and what to do, for a file that is damaged, encrypted, or lacks a column, and for rows
    without a label; and when an image is asked for, for one that is not there or is given by its path alone. LibraryError without
    pyarrow.
    """

    def __init__(self, path: Path, timed: TimedCalls) -> None:
        self.path = path
        with _reading(path), timed(path, lambda: open_regular(path)) as file:
            self.stamp = _stamp(file)
            _check_ends(path, file, self.stamp[0])
            opened = _opened(file)
            self._metadata: FileMetaData = opened.metadata
            self._columns = _columns(path, opened.schema_arrow)
            counts = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        if min(counts, default=0) < 0 or sum(counts) > self.stamp[0]:
            raise DataError(f"{path}: promises {sum(counts):,} rows in {self.stamp[0]:,} bytes; it is damaged; {AGAIN}")
        self.starts: np.ndarray = np.cumsum([0, *counts])
        self.class_names = self._columns.class_names
        self.labels = self._labels()
        self.images = self._names()
        self.left_out: Counter[str] = Counter()
        self._row_of = {name: row for row, name in enumerate(self.images)}

    def size(self, name: str) -> int:
        """How many bytes an image has. FileNotFoundError if there is none of this name."""
        return len(self.read(name))

    def read(self, name: str) -> bytes:
        """The bytes of an image. DataError if there are none, or the file is not what it was; FileNotFoundError if there is none of this name."""
        if (row := self._row_of.get(name)) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path / name))
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        at_once = PIECE_ROWS if self._image_bytes(group) > PIECE_BYTES else max(self._rows_in(group), 1)
        number, row_in_piece = divmod(row - int(self.starts[group]), at_once)
        images = kept.get(
            Piece(os.getpid(), str(self.path), self.stamp, group, number), lambda: self._pieces(group, at_once)
        )
        if not (content := images[row_in_piece].as_py()):
            raise self._no_image(row, content)
        return content

    def _pieces(self, group: int, at_once: int) -> "Iterator[Array]":
        """The images of a row group in arrays of `at_once`; little more than one of them, and a page of the file, is in memory."""
        import pyarrow as pa

        rows, waiting = 0, list[Any]()
        for part in self._parts(self._columns.image, [group], at_once):
            rows += len(part)
            waiting.append(part)
            if sum(map(len, waiting)) >= at_once or rows == self._rows_in(group):
                whole = pa.chunked_array(waiting)
                waiting = []
                for start in range(0, len(whole), at_once):
                    piece = whole.slice(start, at_once)
                    if len(piece) == at_once or rows == self._rows_in(group):
                        yield piece
                    else:
                        waiting = list(piece.chunks)
        if rows != self._rows_in(group):
            raise DataError(
                f"{self.path}: row group {group} has {rows:,} rows, {self._rows_in(group):,} are promised; it is damaged; {AGAIN}"
            )

    def _rows_in(self, group: int) -> int:
        return int(self.starts[group + 1] - self.starts[group])

    def _labels(self) -> list[int | str | None]:
        """Of all rows."""
        name, found = self._columns.label, list[int | str | None]()
        for part in self._column(name):
            found += part.to_pylist()
        most = len(self.class_names) or len(found) + 1
        for row, label in enumerate(found):
            if label is None:
                raise DataError(f"{self.path}: row {row}: there is no label in {name}; leave the row out")
            if isinstance(label, int) and not 0 <= label < most:
                hint = ", which is for images without a label" if label == -1 else ""
                raise DataError(
                    f"{self.path}: row {row}: the label is {label}{hint}; expected 0 to {most - 1} in {name}; leave the row out"
                )
        return found

    def _names(self) -> list[str]:
        """What the images are called."""
        classes = [
            _part(self.class_names[label] if isinstance(label, int) and self.class_names else str(label))
            for label in self.labels
        ]
        before = [_last(name) for name in self._paths]
        names = [f"{one}/{name}" for one, name in zip(classes, before, strict=True)]
        if all(before) and len(set(names)) == len(names):
            return names
        width = len(str(len(classes)))
        return [f"{one}/{self.path.stem} row {row:0{width}}" for row, one in enumerate(classes)]

    @cached_property
    def _paths(self) -> list[str | None]:
        """The path that each image had before it came here, as far as that is written."""
        if not self._columns.path:
            return [None] * int(self.starts[-1])
        return [path for part in self._column(self._columns.path) for path in part.to_pylist()]

    def _no_image(self, row: int, content: bytes | None) -> DataError:
        """Why a row has no bytes of an image."""
        if content is None and (path := self._paths[row]):
            return DataError(
                f"{self.path}: row {row}: the image is given by its path alone, {shortened(path, 60)!r}; write the table with the "
                f"images' bytes, or give the folder of the image files"
            )
        wrong = "there is no image" if content is None else "the image has no bytes"
        return DataError(f"{self.path}: row {row}: {wrong} in {self._columns.image}; leave the row out")

    def _column(self, name: str) -> list[Any]:
        """All of a column, which takes little memory."""
        parts = list(self._parts(name, range(len(self.starts) - 1), LABELS_AT_ONCE))
        if (count := sum(map(len, parts))) != self.starts[-1]:
            raise DataError(
                f"{self.path}: {name} has {count:,} rows, {self.starts[-1]:,} are promised; it is damaged; {AGAIN}"
            )
        return parts

    def _parts(self, name: str, groups: Sequence[int], at_once: int) -> Iterator[Any]:
        """Arrays of a column, in the order of its rows."""
        with _reading(self.path), open_regular(self.path) as file:
            if _stamp(file) != self.stamp:
                raise DataError(f"{self.path}: has changed since it was opened; start again")
            opened = _opened(file, self._metadata)
            outer, _, inner = ("", "", name) if name in opened.schema_arrow.names else name.rpartition(".")
            for batch in opened.iter_batches(max(at_once, 1), list(groups), [name], use_threads=False):
                column = batch.column(outer or inner)
                # Of a struct: its field, null where the struct is.
                yield column.flatten()[column.type.get_field_index(inner)] if outer else column

    def _image_bytes(self, group: int) -> int:
        """How much memory the images of a row group take."""
        row_group = self._metadata.row_group(group)
        columns = (row_group.column(place) for place in range(row_group.num_columns))
        return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == self._columns.image)


def _opened(file: BinaryIO, metadata: "FileMetaData | None" = None) -> "ParquetFile":
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise LibraryError(f'Parquet files need pyarrow ({error}); pip install "gpucnn[parquet]"') from None
    # Page by page: a column of a row group may be larger than memory.
    return pyarrow.parquet.ParquetFile(
        file, metadata=metadata, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Inside, `path` is read, and what goes wrong is a DataError that names it."""
    try:
        yield
    except (DataError, LibraryError):
        raise
    except OSError as error:
        if error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        raise _damaged(path, error) from None
    except Exception as error:  # pyarrow raises many kinds
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    reason = shortened(" ".join(str(error).split()) or type(error).__name__, 200)
    if "encrypt" in reason or "decrypt" in reason:
        return DataError(f"{path}: is encrypted ({reason}); write it without encryption")
    return DataError(f"{path}: not a Parquet file that can be read ({reason}); {AGAIN}")


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """What is another once a file has changed."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _check_ends(path: Path, file: BinaryIO, size: int) -> None:
    """DataError unless the file begins and ends as Parquet does, and is as long as its footer says."""
    begins = file.read(4)
    file.seek(max(size - 8, 0))
    length, ends = file.read(4), file.read(4)
    if ENCRYPTED in (begins, ends):
        raise DataError(f"{path}: is encrypted; write it without encryption")
    if begins != MAGIC:
        lfs = "; it is a pointer to the file: git lfs pull fetches it" if begins == b"vers" else f"; {AGAIN}"
        raise DataError(f"{path}: not a Parquet file: it begins with {begins!r}, expected {MAGIC!r}{lfs}")
    if ends != MAGIC or int.from_bytes(length, "little") > size - 12:
        raise DataError(f"{path}: cut off, or damaged: its end is not that of a Parquet file; {AGAIN}")
    file.seek(0)


def _columns(path: Path, schema: "Schema") -> Columns:
    """Where images and labels are. DataError if there are no such columns, or several and none is called as usual."""
    import pyarrow as pa

    features = features_in(schema.metadata)
    inside = {name: schema.field(place).type for place, name in enumerate(schema.names)}
    structs = {
        name: kind
        for name, kind in inside.items()
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    }
    binaries = [name for name, kind in inside.items() if _is_binary(kind)]
    told = [name for name in (*structs, *binaries) if _type_of(features, name) == "Image"]
    image = _chosen(path, "images, as bytes,", told or [*structs] or binaries, IMAGES, inside)
    integers = [name for name, kind in inside.items() if pa.types.is_integer(kind)]
    texts = [name for name, kind in inside.items() if _is_text(kind)]
    named = [name for name in integers if _type_of(features, name) == "ClassLabel"]
    usual = [name for name in (*integers, *texts) if name in LABELS]
    if not (candidates := named or usual):
        others = [name for name in inside if name != image]
        raise DataError(
            f"{path}: no column of labels; expected integers or text in a column called label, got "
            f"{names_text([f'{name} ({shortened(str(inside[name]), 40)})' for name in others]) or 'none beside the images'}; rename the one "
            f"that has the classes to label"
        )
    label = _chosen(path, "labels", candidates, LABELS, inside)
    class_names: tuple[str, ...] = ()
    if label in integers:
        class_names = class_names_of(features.get(label)) or class_names_of(features_beside(path.parent).get(label))
    if image not in structs:
        return Columns(image, "", label, class_names)
    at = structs[image].get_field_index("path")
    has_path = at >= 0 and _is_text(structs[image].field(at).type)
    return Columns(f"{image}.bytes", f"{image}.path" if has_path else "", label, class_names)


def _chosen(path: Path, what: str, candidates: Sequence[str], usual: Sequence[str], inside: dict[str, Any]) -> str:
    """The only candidate, or the first one that is called as usual."""
    if len(candidates) == 1:
        return candidates[0]
    for name in usual:
        if name in candidates:
            return name
    if candidates:
        raise DataError(
            f"{path}: {what} could be in {names_text(candidates)}; rename the column that is meant to {usual[0]}"
        )
    raise DataError(
        f"{path}: no column of {what.rstrip(',')}; expected a column {usual[0]} of bytes, or with fields bytes and path, got "
        f"{names_text([f'{name} ({shortened(str(kind), 40)})' for name, kind in inside.items()]) or 'no columns'}"
    )


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _type_of(features: dict[str, Any], name: str) -> str:
    feature = features.get(name)
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _part(text: str) -> str:
    """A text as the name of a folder: without what paths are made of."""
    name = re.sub(r"[/\\\0]", "_", text)
    return "_" if name in ("", ".", "..") else name


def _last(path: str | None) -> str | None:
    """The name of a file, without its folders; None if it has none that can be one here."""
    name = (path or "").replace("\\", "/").rpartition("/")[2]
    return None if name in ("", ".", "..") or "\0" in name else name


class Piece(NamedTuple):
    """Some rows of a row group that are read together."""

    process: int
    """A child that was forked opens files of its own."""
    path: str
    stamp: tuple[int, int]
    group: int
    number: int


class KeptPieces:
    """The pieces that were read last, of all files together, and where reading has come to. For any number of threads."""

    def __init__(self) -> None:
        self._pieces: OrderedDict[Piece, Array] = OrderedDict()
        self._bytes = 0
        self._readers: OrderedDict[Piece, Iterator[Array]] = OrderedDict()
        self._next: dict[Piece, int] = {}

    def get(self, piece: Piece, begin: "Callable[[], Iterator[Array]]") -> "Array":
        """A piece; `begin` reads the pieces of its row group from the first on, and is asked if nobody is on the way to it."""
        with _lock:
            if piece in self._pieces:
                self._pieces.move_to_end(piece)
                return self._pieces[piece]
            first = piece._replace(number=0)
            reader, number = self._readers.pop(first, None), self._next.pop(first, 0)
            if reader is None or number > piece.number:
                reader, number = begin(), 0
            while True:
                images = next(reader)
                self._keep(piece._replace(number=number), images)
                number += 1
                if number > piece.number:
                    break
            self._readers[first], self._next[first] = reader, number  # not of one that has raised
            if len(self._readers) > MOST_OPEN:
                self._next.pop(self._readers.popitem(last=False)[0])
            return images

    def _keep(self, piece: Piece, images: "Array") -> None:
        if (earlier := self._pieces.pop(piece, None)) is not None:
            self._bytes -= earlier.nbytes
        self._pieces[piece] = images
        self._bytes += images.nbytes
        while self._bytes > KEPT_BYTES and len(self._pieces) > 1:
            self._bytes -= self._pieces.popitem(last=False)[1].nbytes


kept = KeptPieces()
_lock = Lock()  # a fork waits for it: in the child it would never be opened
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
