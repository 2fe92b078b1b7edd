"""The IDX file format of MNIST and Fashion-MNIST, plain or gzip-compressed.

A file is: two zero bytes, a type byte (8: unsigned bytes), the number of axes, each size as a big-endian 32-bit integer,
then the elements. Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from gpucnn.errors import DataError
from gpucnn.regular_file import open_regular

_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_DEFLATE_RATIO = 1032
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str], axes: int) -> np.ndarray:
    """The uint8 array in an IDX file: `axes` is 3 for images (N, H, W), 1 for labels (N,).

    Raises DataError, which names the file, for a wrong magic number, for sizes that the file cannot hold (found out
    before memory is taken), for too little or too much data, and for a damaged gzip stream.
    """
    path = Path(path)
    try:
        with open_regular(path) as raw:
            compressed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            size = os.fstat(raw.fileno()).st_size
            if not compressed:
                return _read(path, raw, axes, size)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read(path, cast(BinaryIO, stream), axes, size * _LARGEST_DEFLATE_RATIO)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip data ({error}); download the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read(path: Path, stream: BinaryIO, axes: int, most_bytes: int) -> np.ndarray:
    magic = b"\0\0\x08" + bytes([axes])
    header = stream.read(4 + 4 * axes)
    if header[:4] != magic:
        found = f"0x{header[:4].hex()}" if header else "an empty file"
        raise DataError(f"{path}: magic number {found}, expected 0x{magic.hex()} (IDX, unsigned bytes, {axes} axes)")
    if len(header) < 4 + 4 * axes:
        raise DataError(f"{path}: the header ends after {len(header)} bytes, expected {4 + 4 * axes}")
    shape = struct.unpack(f">{axes}I", header[4:])
    count = math.prod(shape)
    if count + len(header) > most_bytes:
        raise DataError(
            f"{path}: the header promises {' x '.join(map(str, shape))} = {count:,} bytes, more than the file can hold; "
            f"it is truncated or its header is damaged"
        )
    data = bytearray()
    while len(data) <= count:
        chunk = stream.read(min(_CHUNK, count + 1 - len(data)))
        if not chunk:
            break
        data += chunk
    if len(data) != count:
        found = "more" if len(data) > count else f"{len(data):,}"
        raise DataError(
            f"{path}: expected {count:,} bytes of data ({' x '.join(map(str, shape))}), the file has {found}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
