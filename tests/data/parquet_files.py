"""Parquet files of images, written with pyarrow as Hugging Face's `datasets` does."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpucnn.data import ImageFolder


def rows_of(images: ImageFolder) -> list[dict[str, Any]]:
    """The files of a folder as a column has them."""
    return [{"bytes": path.read_bytes(), "path": path.name} for path in images.paths]


def features(names: Sequence[str]) -> dict[str, Any]:
    """What `datasets` writes into the metadata of a schema."""
    return {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}


def write(
    path: Path, images: Sequence[Any], labels: Sequence[Any], names: Sequence[str] = (), rows: int = 3, **options: Any
) -> Path:
    """A file whose columns are called `image` and `label`; with the `names` of classes in its metadata, if there are any."""
    table = pa.table({"image": pa.array(images), "label": pa.array(labels)})
    if names:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features(names)}})})
    return write_table(path, table, rows, **options)


def write_table(path: Path, table: pa.Table, rows: int = 3, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows, **options)
    return path
