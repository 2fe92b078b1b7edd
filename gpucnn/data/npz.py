"""Arrays from NumPy's .npy and .npz files, whose headers are not believed before the file is seen to hold as much."""

import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from gpucnn.checks import as_path
from gpucnn.data.idx import LARGEST_DEFLATE_RATIO
from gpucnn.data.quiet_reading import quiet_reading, reading
from gpucnn.errors import DataError
from gpucnn.text import shape_text


def read_npy(stream: BinaryIO, most_bytes: int, name: str) -> np.ndarray:
    """The array in `stream`, a .npy file of `most_bytes` at most; no object is made but an array of plain elements.

    Raises DataError, which starts with `name`, if its header promises more; ValueError if it is not such a file.
    """
    shape, is_fortran, dtype = read_npy_header(stream, most_bytes, name)
    promised = math.prod(shape) * dtype.itemsize
    content = stream.read(promised)
    if len(content) != promised:
        raise DataError(
            f"{name}: the header promises {shape_text(shape)} of {dtype}, {promised:,} bytes, the file has "
            f"{len(content):,}; it is truncated"
        )
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def read_npy_header(stream: BinaryIO, most_bytes: int, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran's order, and dtype of the array whose elements come next in `stream`. Raises what `read_npy` does."""
    with quiet_reading():
        version = np.lib.format.read_magic(stream)
        # Later versions are for dtypes that take pages to describe, and their headers have any length.
        if version != (1, 0):
            raise ValueError(f".npy format {version[0]}.{version[1]}, which no image needs")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError(f"an array of {dtype}, which only unpickling would make")
    promised, there = math.prod(shape) * dtype.itemsize, most_bytes - stream.tell()
    if not 0 <= promised <= there:
        raise DataError(
            f"{name}: the header promises {shape_text(shape)} of {dtype}, {promised:,} bytes, the file has {there:,}; it "
            f"is truncated or its header is damaged"
        )
    return shape, is_fortran, dtype


def read_npz(path: str | os.PathLike[str], names: Sequence[str]) -> list[np.ndarray]:
    """The arrays called `names` in a .npz file, as `numpy.savez` and `numpy.savez_compressed` write it.

    Raises DataError, which names the file, if one is missing, of a kind that needs pickle, damaged, or larger than the
    file can hold, which is found out before memory is taken.
    """
    path = as_path(path, "path")
    with (
        reading(path, "not a .npz file that can be read ({}); download it again"),
        zipfile.ZipFile(path) as archive,
    ):
        inside = archive.namelist()
        missing = [name for name in names if f"{name}.npy" not in inside]
        if missing:
            there = ", ".join(sorted(name.removesuffix(".npy")[:20] for name in inside)[:10]) or "none"
            raise DataError(f"{path}: no array {', no '.join(missing)} in it; its arrays are {there}")
        return [_read_member(path, archive, name) for name in names]


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed by method {member.compress_type}, which NumPy does not use")
    size = path.stat().st_size
    most = size if member.compress_type == zipfile.ZIP_STORED else size * LARGEST_DEFLATE_RATIO
    with archive.open(member) as stream:
        try:
            array = read_npy(cast(BinaryIO, stream), min(member.file_size, most), f"{path}: {name}")
            if stream.read(1):
                raise ValueError(f"{member.filename} has more than its array")  # and so its checksum is looked at
        except zlib.error as error:
            raise ValueError(f"{member.filename}: {error}") from None
    return array
