"""Arrays of numbers from MATLAB's .mat files, version 5, by SciPy, after a look at what their headers promise."""

import io
import math
import os
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from gpucnn.checks import as_path
from gpucnn.data.idx import LARGEST_DEFLATE_RATIO
from gpucnn.data.quiet_reading import reading
from gpucnn.errors import LibraryError
from gpucnn.text import shape_text

_HEADER, _TAG = 128, 8
_COMPRESSED, _MATRIX = 15, 14
_BYTES_OF_CLASS = {6: 8, 7: 4, 8: 1, 9: 1, 10: 2, 11: 2, 12: 4, 13: 4, 14: 8, 15: 8}
"""Of an element, by the number of MATLAB's class: double, single, int8, uint8, ..., uint64."""
_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Of an element as it is stored, which may take less."""
_MOST_AXES = 32
_BEFORE_DATA = 1024
"""Bytes of an array that its description takes at most."""


def read_mat(path: str | os.PathLike[str], names: Sequence[str]) -> list[np.ndarray]:
    """The arrays called `names` in a .mat file of MATLAB 5 to 7.2, each of plain numbers.

    Raises LibraryError if SciPy is not installed; DataError, which names the file, if an array is missing, damaged, of
    another kind, or larger than the file can hold, which is found out before memory is taken.
    """
    path = as_path(path, "path")
    try:
        from scipy.io import loadmat
    except ImportError:
        raise LibraryError(
            f'{path}: .mat files are read by SciPy, which is not installed; pip install "gpucnn[svhn]"'
        ) from None
    with reading(path, "not a .mat file that can be read ({}); download it again"):
        content = path.read_bytes()
        there = _checked(content)
        if missing := [name for name in names if name not in there]:
            raise ValueError(
                f"no array {', no '.join(missing)} in it; its arrays are {', '.join(there)[:80] or 'none'}"
            )
        found = loadmat(io.BytesIO(content), variable_names=list(names))
        return [np.asarray(found[name]) for name in names]


def _checked(content: bytes) -> list[str]:
    """The names of all arrays in a file, after a look at each. ValueError for anything but arrays, and for one that promises too much."""
    if content[:6] != b"MATLAB" or len(content) < _HEADER:
        raise ValueError("it does not begin as a .mat file")
    if content[126:128] != b"IM" or content[124:126] != b"\0\1":
        raise ValueError("another version than 5, or big-endian")
    names, place = [], _HEADER
    while place < len(content):
        kind, size = _tag(content, place)
        inside, most = content[place + _TAG : place + _TAG + min(size, 1 << 16)], size
        if size > len(content) - place - _TAG:
            raise ValueError(f"an element promises {size:,} bytes, more than the file has")
        place += _TAG + size
        if kind == _COMPRESSED:
            most = size * LARGEST_DEFLATE_RATIO
            inside = zlib.decompressobj().decompress(inside, _BEFORE_DATA)
            kind, size = _tag(inside, 0)
            inside = inside[_TAG:]
        if kind != _MATRIX or size > most:
            raise ValueError(f"an element of type {kind} promises {size:,} bytes of at most {most:,}")
        names.append(_array_name(inside, size))
    return names


def _array_name(inside: bytes, size: int) -> str:
    """The name of an array of `size` bytes, if its sizes go together, from how it begins."""
    place, parts = 0, []
    for _ in ("flags", "sizes", "name"):
        kind, length, begin, place = _element(inside, place)
        if length > _BEFORE_DATA or begin + length > len(inside):
            raise ValueError("the description of an array is cut off or too long")
        parts.append((kind, inside[begin : begin + length]))
    (flag_kind, flags), (size_kind, sizes), (name_kind, name) = parts
    if (flag_kind, size_kind, name_kind) != (6, 5, 1) or len(flags) != 8 or not 8 <= len(sizes) <= 4 * _MOST_AXES:
        raise ValueError("the description of an array is damaged")
    if flags[0] not in _BYTES_OF_CLASS or flags[1] & 0b1100:  # complex, global
        raise ValueError(f"an array of MATLAB's class {flags[0]}, which has no real numbers")
    shape = struct.unpack(f"<{len(sizes) // 4}i", sizes[: len(sizes) // 4 * 4])
    kind, length, begin, _ = _element(inside, place)
    stored = math.prod(shape) * _BYTES_OF_TYPE.get(kind, 0)
    if min(shape) < 0 or kind not in _BYTES_OF_TYPE or stored != length or begin + length > size:
        raise ValueError(
            f"an array {shape_text(shape)} with {length:,} bytes of type {kind} in an element of {size:,} bytes"
        )
    if math.prod(shape) * _BYTES_OF_CLASS[flags[0]] > 8 * max(size, 1):
        raise ValueError(f"an array {shape_text(shape)} of more than eight times its bytes")
    return name.decode("latin1")


def _element(inside: bytes, place: int) -> tuple[int, int, int, int]:
    """(type, bytes, where they begin, where the next element begins) of the element at `place`."""
    kind, length = _tag(inside, place)
    if kind >> 16:  # a small one, which has its length in the type and its bytes in place of a length
        return kind & 0xFFFF, kind >> 16, place + 4, place + _TAG
    return kind, length, place + _TAG, place + _TAG + (length + 7) // 8 * 8


def _tag(content: bytes, place: int) -> tuple[int, int]:
    if place + _TAG > len(content):
        raise ValueError("it ends in the middle of an element")
    kind, length = struct.unpack_from("<II", content, place)
    return kind, length
