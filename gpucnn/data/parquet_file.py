"""A Parquet file of images: which columns have them and their labels, and the bytes of the images of some rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gpucnn.data.hugging_face import class_names_of, features_beside, features_in
from gpucnn.data.timed_file import TimedFile
from gpucnn.errors import DataError, LibraryError
from gpucnn.text import names_text
from gpucnn.text_table import shortened

if TYPE_CHECKING:
    from pyarrow import Schema
    from pyarrow.parquet import FileMetaData, ParquetFile

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
IMAGES = ("image", "img", "images", "jpg", "png", "bytes")
LABELS = ("label", "labels", "class", "category", "cls", "target")
"""What columns are called, where more than one could be meant."""

LABELS_AT_ONCE = 1 << 16

AGAIN = "download it again, or leave it out"


class Columns(NamedTuple):
    """Where a file has its images and labels."""

    image: str
    """The column of bytes, e.g. "image.bytes"."""
    path: str
    """The column of the paths that the images had; empty without one."""
    label: str
    """The column of labels; empty if it is not asked for."""
    class_names: tuple[str, ...]
    """What the labels are called, if that is written."""


class Labels(NamedTuple):
    """The labels of a file's rows."""

    values: np.ndarray
    """int64 (N,): labels, or places in `texts`."""
    texts: tuple[str, ...] | None
    """The different texts; None for labels that are integers."""


class ParquetTable:
    """A Parquet file of images, whose footer is read. Row groups are read when their images are asked for. For any number of threads.

    Raises DataError, which names the file, if it is none, damaged, encrypted, or has no columns of images, and of labels if it is
    to be labelled, and LibraryError without pyarrow.
    """

    def __init__(self, path: Path, is_labelled: bool = True) -> None:
        self.path, self._is_labelled = path, is_labelled
        with _reading(path), TimedFile(path) as file:
            self.stamp = file.stamp
            _check_ends(path, file, self.stamp[0])
            opened = _opened(file)
            self._metadata: FileMetaData = opened.metadata
            self.columns = _columns(path, opened.schema_arrow, is_labelled)
            counts = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
            if min(counts, default=0) < 0 or sum(counts) > self.stamp[0]:
                raise DataError(
                    f"{path}: promises {sum(counts):,} rows in {self.stamp[0]:,} bytes; it is damaged; {AGAIN}"
                )
            self.starts: np.ndarray = np.cumsum([0, *counts])
            # Not of the column of images: pyarrow ends the process over some damage there.
            self.sizes = [self._metadata.row_group(group).total_byte_size for group in range(len(counts))]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetTable, (self.path, self._is_labelled)

    def labels(self) -> Labels:
        """Of all rows. DataError, which names the row, for one that has none."""
        import pyarrow as pa

        parts = self._column(self.columns.label)
        kind = parts[0].type if parts else pa.int64()
        _check_whole(self.path, self.columns.label, parts)
        with _reading(self.path):
            column = pa.chunked_array(parts, kind)
            if pa.types.is_integer(kind):
                return Labels(column.cast(pa.int64()).to_numpy().astype(np.int64), None)
            coded = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
            coded = coded.unify_dictionaries()
            texts = coded.chunk(0).dictionary.to_pylist() if coded.num_chunks else []
            places = [chunk.indices.to_numpy(zero_copy_only=False).astype(np.int64) for chunk in coded.chunks]
            return Labels(np.concatenate([np.zeros(0, np.int64), *places]), tuple(texts))

    @cached_property
    def names(self) -> list[str | None]:
        """The path that each image had before it came here, as far as that is written."""
        if not self.columns.path:
            return [None] * len(self)
        return [_last(name) for part in self._column(self.columns.path) for name in part.to_pylist()]

    def images(self, group: int, at_once: int) -> Iterator[list[bytes | None]]:
        """The images of a row group in lists of `at_once`; little more than one of them, and a page of the file, is in memory."""
        rows, images = 0, list[bytes | None]()
        for part in self._parts(self.columns.image, [group], at_once):
            rows += len(part)
            images += part.to_pylist()
            while len(images) >= at_once:
                yield images[:at_once]
                del images[:at_once]
        if rows != (expected := int(self.starts[group + 1] - self.starts[group])):
            raise DataError(f"{self.path}: row group {group} has {rows:,} rows, {expected:,} are promised; {AGAIN}")
        if images:
            yield images

    def checked(self, row: int, content: bytes | None) -> bytes:
        """What was read of a row. DataError, which names it, if that is no image's bytes."""
        if content:
            return content
        if content is None and self.columns.path and (path := self.names[row]):
            raise DataError(
                f"{self.path / f'row {row}'}: the image is given by its path alone, {shortened(path, 60)!r}; write the table with the "
                f"images' bytes, or give the folder of the image files"
            )
        wrong = "there is no image" if content is None else "the image has no bytes"
        raise DataError(f"{self.path / f'row {row}'}: {wrong} in {self.columns.image}; leave the row out")

    def _column(self, name: str) -> list[Any]:
        """All of a column, which takes little memory."""
        parts = list(self._parts(name, range(len(self.starts) - 1), LABELS_AT_ONCE))
        if (count := sum(map(len, parts))) != len(self):
            raise DataError(
                f"{self.path}: {name} has {count:,} rows, {len(self):,} are promised; it is damaged; {AGAIN}"
            )
        return parts

    def _parts(self, name: str, groups: Sequence[int], at_once: int) -> Iterator[Any]:
        """Arrays of a column, in the order of its rows."""
        with _reading(self.path), TimedFile(self.path) as file:
            if file.stamp != self.stamp:
                raise DataError(f"{self.path}: has changed since it was opened; start again")
            opened = _opened(file, self._metadata)
            outer, _, inner = ("", "", name) if name in opened.schema_arrow.names else name.rpartition(".")
            for batch in opened.iter_batches(max(at_once, 1), list(groups), [name], use_threads=False):
                column = batch.column(outer or inner)
                # Of a struct: its field, null where the struct is.
                yield column.flatten()[column.type.get_field_index(inner)] if outer else column


def _opened(file: TimedFile, metadata: "FileMetaData | None" = None) -> "ParquetFile":
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
    except MemoryError as error:
        raise DataError(
            f"{path}: asks for more memory than there is ({error}); it is damaged, or its row groups are too large: write it with smaller "
            f"ones, e.g. row_group_size=100"
        ) from None
    except Exception as error:  # pyarrow raises many kinds
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    reason = shortened(" ".join(str(error).split()) or type(error).__name__, 200)
    if "encrypt" in reason or "decrypt" in reason:
        return DataError(f"{path}: is encrypted ({reason}); write it without encryption")
    return DataError(f"{path}: not a Parquet file that can be read ({reason}); {AGAIN}")


def _check_ends(path: Path, file: TimedFile, size: int) -> None:
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


def _columns(path: Path, schema: "Schema", is_labelled: bool) -> Columns:
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
    label, class_names = _label_column(path, features, inside, image) if is_labelled else ("", ())
    if image not in structs:
        return Columns(image, "", label, class_names)
    at = structs[image].get_field_index("path")
    has_path = at >= 0 and _is_text(structs[image].field(at).type)
    return Columns(f"{image}.bytes", f"{image}.path" if has_path else "", label, class_names)


def _label_column(
    path: Path, features: dict[str, Any], inside: dict[str, Any], image: str
) -> tuple[str, tuple[str, ...]]:
    """Where labels are, and what their classes are called, if that is written."""
    import pyarrow as pa

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
    return label, class_names


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


def _check_whole(path: Path, name: str, parts: Sequence[Any]) -> None:
    row = 0
    for part in parts:
        if part.null_count:
            row += int(np.flatnonzero(part.is_null().to_numpy(zero_copy_only=False))[0])
            raise DataError(f"{path / f'row {row}'}: there is no label in {name}; leave the row out")
        row += len(part)


def _last(name: str | None) -> str | None:
    """The name of a file, without its folders."""
    return None if name is None else name.replace("\\", "/").rpartition("/")[2] or None
