"""Pickles of plain values and byte arrays, as CIFAR's Python version is made of, read without pickle's machine.

`pickle.load` calls whatever a file names, and so runs what its author wants. Here the opcodes are only listed, by
`pickletools`, and a few of them understood: those that make numbers, text, bytes, lists, tuples, dicts and NumPy arrays.
"""

import os
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn.checks import as_path
from gpucnn.data.quiet_reading import reading

MOST_OPCODES = 1_000_000
"""Of a file; CIFAR-100's 50,000 training images take some 200,000."""

_MARK = object()
_DTYPES = {"u1": "|u1", "|u1": "|u1", "i4": "<i4", "<i4": "<i4", "i8": "<i8", "<i8": "<i8"}


class _Named:
    """A global that the file names, one of `_MAKERS`."""

    def __init__(self, name: str) -> None:
        self.name = name


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


def _encoded(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("text in an encoding that is not latin1")
    return text.encode("latin1")


_MAKERS: dict[str, Callable[..., Any] | None] = {
    "numpy ndarray": None,  # only named, as what is to be made
    "numpy dtype": lambda code, *_: _DType(_text(code)),
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
        return _unwrapped(_value_of(path.read_bytes()))


def _value_of(content: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if count > MOST_OPCODES:
            raise ValueError(f"more than {MOST_OPCODES:,} opcodes")
        name = opcode.name
        if name == "STOP":
            break
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _VALUES:
            stack.append(argument)
        elif name in ("STRING", "BINSTRING", "SHORT_BINSTRING"):  # bytes, of Python 2
            stack.append(argument.encode("latin1") if isinstance(argument, str) else argument)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            called = argument if name == "GLOBAL" else " ".join(_text(part) for part in _popped(stack, 2))
            if called not in _MAKERS:
                raise ValueError(f"it names {called.replace(' ', '.')[:80]}, which could run anything")
            stack.append(_Named(called))
        elif name == "REDUCE":
            made, arguments = _popped(stack, 2)
            maker = _MAKERS[made.name] if isinstance(made, _Named) else None
            if maker is None or not isinstance(arguments, tuple):
                raise ValueError("it calls what is no function")
            stack.append(maker(*arguments))
        elif name == "BUILD":
            (state,) = _popped(stack, 1)
            if isinstance(stack[-1], _Array) and isinstance(state, tuple) and len(state) == 5:
                stack[-1].fill(*state[1:])
            elif isinstance(stack[-1], _DType) and isinstance(state, tuple) and len(state) > 1:
                if _text(state[1]) not in ("<", "|", "="):
                    raise ValueError("an array of big-endian numbers")
            else:
                raise ValueError("it sets the state of what has none")
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _CONTAINERS:
            _contain(name, stack)
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"it has the opcode {name}")
    if len(stack) != 1 or stack[0] is _MARK:
        raise ValueError("it ends with no value, or with more than one")
    return stack[0]


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict, "MARK": lambda: _MARK,
}  # fmt: skip
_VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
_CONTAINERS = (
    "APPEND", "APPENDS", "SETITEM", "SETITEMS", "LIST", "TUPLE", "DICT", "TUPLE1", "TUPLE2", "TUPLE3",
)  # fmt: skip


def _contain(name: str, stack: list[Any]) -> None:
    """Put values on the stack into a container."""
    fixed = {"APPEND": 1, "SETITEM": 2, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}.get(name)
    items = _popped_to_mark(stack) if fixed is None else _popped(stack, fixed)
    if name.startswith("TUPLE"):
        stack.append(tuple(items))
    elif name == "LIST":
        stack.append(items)
    elif name == "DICT":
        stack.append(_pairs(items))
    elif name.startswith("APPEND") and type(stack[-1]) is list:
        stack[-1].extend(items)
    elif name.startswith("SETITEM") and type(stack[-1]) is dict:
        stack[-1].update(_pairs(items))
    else:
        raise ValueError(f"it has {name} for what is no container")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    keys = items[::2]
    # Of tuples in tuples in ... the hash needs no end of memory.
    if not all(type(key) in (bytes, str, int) for key in keys):
        raise ValueError("a dict has keys that are neither text nor numbers")
    return dict(zip(keys, items[1::2], strict=True))


def _popped(stack: list[Any], count: int) -> list[Any]:
    items = stack[-count:]
    if len(items) < count or any(item is _MARK for item in items):
        raise ValueError("it takes more from the stack than there is")
    del stack[-count:]
    return items


def _popped_to_mark(stack: list[Any]) -> list[Any]:
    place = next((place for place in range(len(stack) - 1, -1, -1) if stack[place] is _MARK), None)
    if place is None:
        raise ValueError("it takes more from the stack than there is")
    items = stack[place + 1 :]
    del stack[place:]
    return items


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value) if isinstance(value, str) else ""


def _unwrapped(value: Any) -> Any:
    """The value with its arrays, where they are it, or directly in its dict."""
    if type(value) is dict:
        return {key: item.content if isinstance(item, _Array) else item for key, item in value.items()}
    return value.content if isinstance(value, _Array) else value
