"""Pickles read without pickle's machine, which calls whatever a file names, and so runs what its author wants.

The opcodes are only listed, by `pickletools`, and a few of them understood: those that make numbers, text, bytes, lists, tuples
and dicts. What a file names beside these is looked up in a table of ours; what is not there is refused, and never called.
"""

import io
import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from gpucnn.text import printed

MOST_OPCODES = 1_000_000
"""Of a pickle; CIFAR-100's 50,000 training images take some 200,000, an optimizer's state beside its model far fewer."""

SHORT = 16
"""Items, bytes or letters of an argument that does not count as much."""

MOST_COPIED = 2
"""How often a file's bytes may go into calls: it can name one list again and again, and each call copies it."""

_MARK = object()
_BY_CODE = {opcode.code: opcode for opcode in pickletools.opcodes}


class Named:
    """A global that a file names, one of the table."""

    def __init__(self, name: str) -> None:
        self.name = name


class Vocabulary(NamedTuple):
    """What a kind of pickle may name, and what stands for it."""

    makers: Mapping[str, Callable[..., Any] | None]
    """By "module name": what is called in its place; None for what is only named, and comes as a `Named`."""
    build: Callable[[Any, Any], None]
    """Gives a state to what was made. ValueError, with the reason, if it takes none."""
    persistent: Callable[[Any], Any] | None = None
    """From an identity to what is kept outside of the pickle; None if nothing is."""
    refused: frozenset[str] = frozenset()
    """Opcodes that such pickles never have: they are not even read."""


def read_pickle_from(file: BinaryIO, words: Vocabulary) -> Any:
    """The value of the pickle that begins where `file` stands, and ends where it stands then.

    Raises ValueError, or what `pickletools` and the table's makers raise, for a damaged one, and for anything that is not in
    the table, also if it is only named there: "it names os.system, which could run anything".
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    bounded, copied = _Bounded(file), 0
    for name, argument in _opcodes(bounded, words.refused):
        if name == "STOP":
            break
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _VALUES:
            stack.append(argument)
        elif name in ("STRING", "BINSTRING", "SHORT_BINSTRING"):  # bytes, of Python 2
            stack.append(argument.encode("latin1") if isinstance(argument, str) else argument)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            called = argument if name == "GLOBAL" else " ".join(text(part) for part in _popped(stack, 2))
            if called not in words.makers:
                raise ValueError(f"it names {printed(called.replace(' ', '.')[:80])}, which could run anything")
            stack.append(Named(called))
        elif name == "REDUCE":
            made, arguments = _popped(stack, 2)
            maker = words.makers[made.name] if isinstance(made, Named) else None
            if maker is None or not isinstance(arguments, tuple):
                raise ValueError("it calls what is no function")
            copied = _copied(copied, arguments, bounded)
            stack.append(maker(*arguments))
        elif name == "BUILD":
            (state,) = _popped(stack, 1)
            copied = _copied(copied, state if isinstance(state, tuple) else (state,), bounded)
            words.build(stack[-1], state)
        elif name == "BINPERSID":
            if words.persistent is None:
                raise ValueError("it has the opcode BINPERSID")
            stack.append(words.persistent(*_popped(stack, 1)))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _CONTAINERS:
            _contain(name, stack)
    if len(stack) != 1 or stack[0] is _MARK:
        raise ValueError("it ends with no value, or with more than one")
    return stack[0]


def _opcodes(bounded: "_Bounded", refused: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Names and arguments. ValueError if there are too many, or no end; of what is not understood no argument is read."""
    for _ in range(MOST_OPCODES):
        code = bounded.read(1)
        if not code:
            raise ValueError("pickle exhausted before its end")
        opcode = _BY_CODE.get(code.decode("latin1"))
        if opcode is None or opcode.name not in _UNDERSTOOD or opcode.name in refused:
            raise ValueError(f"it has the opcode {opcode.name if opcode else repr(code)}")
        if opcode.name == "GLOBAL":  # pickletools would warn of backslashes in names
            yield opcode.name, " ".join(bounded.readline().removesuffix(b"\n").decode() for _ in range(2))
        else:
            yield opcode.name, None if opcode.arg is None else opcode.arg.reader(bounded)  # type: ignore[arg-type]
    raise ValueError(f"more than {MOST_OPCODES:,} opcodes")


class _Bounded:
    """A file of which nobody can ask for more than there is, as lengths in a hostile one do: room is made for it first."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, place = file, file.tell()
        self.size = file.seek(0, io.SEEK_END)
        file.seek(place)

    def read(self, count: int) -> bytes:
        """At most `count` bytes."""
        return self.file.read(min(count, self.size))

    def readline(self) -> bytes:
        """A line."""
        return self.file.readline()


def _copied(before: int, arguments: tuple[Any, ...], bounded: _Bounded) -> int:
    """How much has gone into calls, with these `arguments`. ValueError if that is more than a file has which was written once."""
    sized = (len(one) for one in arguments if isinstance(one, list | tuple | dict | str | bytes | bytearray))
    after = before + sum(size for size in sized if size > SHORT)
    if after > MOST_COPIED * bounded.size:
        raise ValueError("it would have one thing copied again and again")
    return after


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict, "MARK": lambda: _MARK,
}  # fmt: skip
_VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
_CONTAINERS = (
    "APPEND", "APPENDS", "SETITEM", "SETITEMS", "LIST", "TUPLE", "DICT", "TUPLE1", "TUPLE2", "TUPLE3",
)  # fmt: skip
_UNDERSTOOD = {
    *_CONSTANTS, *_VALUES, *_CONTAINERS, "STOP", "STRING", "BINSTRING", "SHORT_BINSTRING", "GLOBAL", "STACK_GLOBAL", "REDUCE",
    "BUILD", "BINPERSID", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "PROTO", "FRAME",
}  # fmt: skip


def _contain(name: str, stack: list[Any]) -> None:
    """Put values on the stack into a container."""
    fixed = {"APPEND": 1, "SETITEM": 2, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}.get(name)
    items = _popped_to_mark(stack) if fixed is None else _popped(stack, fixed)
    if name.startswith("TUPLE"):
        stack.append(tuple(items))
    elif name == "LIST":
        stack.append(items)
    elif name == "DICT":
        stack.append(pairs(items))
    elif name.startswith("APPEND") and type(stack[-1]) is list:
        stack[-1].extend(items)
    elif name.startswith("SETITEM") and type(stack[-1]) is dict:
        stack[-1].update(pairs(items))
    else:
        raise ValueError(f"it has {name} for what is no container")


def pairs(items: list[Any]) -> dict[Any, Any]:
    """A dict of keys and values, one after the other. ValueError for keys that are neither text nor numbers."""
    keys = items[::2]
    # Of tuples in tuples in ... the hash needs no end of memory.
    if not all(type(key) in (bytes, str, int) for key in keys):
        raise ValueError("a dict has keys that are neither text nor numbers")
    return dict(zip(keys, items[1::2], strict=True))


def text(value: Any) -> str:
    """A text of Python 2 or 3; "" for what is none."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value) if isinstance(value, str) else ""


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
