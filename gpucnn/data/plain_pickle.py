"""Pickles of plain values and byte arrays, as CIFAR's Python version is made of: nothing that stands in them is run."""

import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn.checks import as_path
from gpucnn.data.quiet_reading import reading
from gpucnn.files.restricted_pickle import Vocabulary, read_pickle_from, text

_DTYPES = {"u1": "|u1", "|u1": "|u1", "i4": "<i4", "<i4": "<i4", "i8": "<i8", "<i8": "<i8"}


class _DType:
    """A NumPy dtype, by its code."""

    def __init__(self, code: str) -> None:
        if code not in _DTYPES:
            raise ValueError(f"an array of dtype {code[:20]!r}")
        self.dtype = np.dtype(_DTYPES[code])


class _Array:
    """An array, whose content comes later than itself."""

    content: np.ndarray | None = None

    def fill(self, shape: Any, dtype: Any, is_fortran: Any, content: Any) -> None:
        """Take the content, if it is as much as the shape says."""
        if not isinstance(dtype, _DType) or not isinstance(content, bytes | bytearray) or not isinstance(shape, tuple):
            raise ValueError("an array that is described wrongly")
        flat = np.frombuffer(bytes(content), dtype.dtype)
        self.content = flat.reshape(shape, order="F" if is_fortran is True else "C")


def _array_of_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.fill(shape, dtype, order == "F", content)
    return made


def _encoded(value: Any, encoding: Any) -> bytes:
    if not isinstance(value, str) or encoding != "latin1":
        raise ValueError("text in an encoding that is not latin1")
    return value.encode("latin1")


def _set_state(made: Any, state: Any) -> None:
    if isinstance(made, _Array) and isinstance(state, tuple) and len(state) == 5:
        made.fill(*state[1:])
    elif isinstance(made, _DType) and isinstance(state, tuple) and len(state) > 1:
        if text(state[1]) not in ("<", "|", "="):
            raise ValueError("an array of big-endian numbers")
    else:
        raise ValueError("it sets the state of what has none")


_MAKERS: dict[str, Callable[..., Any] | None] = {
    "numpy ndarray": None,  # only named, as what is to be made
    "numpy dtype": lambda code, *_: _DType(text(code)),
    "_codecs encode": _encoded,
    "__builtin__ bytes": lambda: b"",
    "builtins bytes": lambda: b"",
    **{f"numpy.{core}.multiarray _reconstruct": lambda *_: _Array() for core in ("core", "_core")},
    **{f"numpy.{core}.numeric _frombuffer": _array_of_buffer for core in ("core", "_core")},
}
"""By module and name, what stands for it; nothing else is taken, and NumPy's own is never called."""


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """What is in the pickle file: None, numbers, str, bytes, list, tuple, dict, and arrays of uint8, int32 or int64.

    The str of Python 2 are bytes. Raises DataError, which names the file, for anything else, also if it only stands in
    the file: what it names, say os.system, is told, and not called. The same for a damaged file.
    """
    path = as_path(path, "path")
    with reading(path, "not a pickle of plain values and byte arrays ({}); nothing of it was run; download it again"):
        return _unwrapped(read_pickle_from(io.BytesIO(path.read_bytes()), Vocabulary(_MAKERS, _set_state)))


def _unwrapped(value: Any) -> Any:
    """The value with its arrays, where they are it, or directly in its dict."""
    if type(value) is dict:
        return {key: item.content if isinstance(item, _Array) else item for key, item in value.items()}
    return value.content if isinstance(value, _Array) else value
