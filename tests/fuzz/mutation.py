"""Changes of valid files, such as bad disks, cut downloads and hostile people make. All are functions of a generator."""

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

EXTREMES = [0, 1, 2**7 - 1, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63 - 1, 2**64 - 1]
MOST_CHANGES = 4
DEEP = 20_000
"""Lists in lists: more than Python's stack has frames."""

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**63, -(2**63), 2**64, 10**30, 10**400, 0.5, -0.0, 1e300, -1e-300, 5e-324, "", "0", "1e9",
    "nan", "None", "mlp", "../../etc", "\0", "\ud800", "\u202e", "\x1b[2J", "é" * 70, "x" * 5000, [], [[]], [1, 2], {}, {"": {}},
    {"name": "mlp"}, float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
"""What a JSON value may turn into."""

RAW = {
    "raw: a number of many digits": "9" * 5000,
    "raw: an exponent": "-1e999999",
    "raw: deep lists": "[" * DEEP + "]" * DEEP,
    "raw: deep objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "raw: many lists": "[" + "[]," * 1000 + "0]",
}
"""What `json.dumps` would not write: the text in place of the string."""


def mutated(content: bytes, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> bytes:
    """`content` after one to four changes; parts come from `others` and `tokens`, too."""
    changed = bytearray(content)
    for _ in range(1 + int(draw.integers(MOST_CHANGES))):
        change = CHANGES[draw.integers(len(CHANGES))]
        change(changed, others, tokens, draw)
    return bytes(changed)


def _place(changed: bytearray, draw: np.random.Generator) -> int:
    """Anywhere, but every other time among the first 64 bytes, where headers are."""
    most = min(len(changed), 64) if draw.integers(2) else len(changed)
    return int(draw.integers(most + 1))


def _flip(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    place = _place(changed, draw)
    if place < len(changed):
        changed[place] ^= 1 << int(draw.integers(8))


def _overwrite(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    place, count = _place(changed, draw), int(draw.integers(1, 9))
    changed[place : place + count] = draw.bytes(count)


def _insert(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    place = _place(changed, draw)
    changed[place:place] = draw.bytes(int(draw.integers(1, 9)))


def _delete(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    place = _place(changed, draw)
    del changed[place : place + int(draw.integers(1, 9))]


def _truncate(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    del changed[_place(changed, draw) :]


def _duplicate(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    first, last = sorted((_place(changed, draw), _place(changed, draw)))
    changed[last:last] = changed[first:last]


def _splice(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    other = others[int(draw.integers(len(others)))]
    first, last = sorted((int(draw.integers(len(other) + 1)), int(draw.integers(len(other) + 1))))
    place = _place(changed, draw)
    changed[place : place + (last - first) * int(draw.integers(2))] = other[first:last]


def _extreme(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    order, code = "<>"[draw.integers(2)], "BHIQ"[draw.integers(4)]
    number = EXTREMES[draw.integers(len(EXTREMES))] % (1 << 8 * struct.calcsize(code))
    packed = struct.pack(f"{order}{code}", number)
    place = _place(changed, draw)
    changed[place : place + len(packed)] = packed


def _digits(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    """Another number in place of one that is written in the text."""
    places = [place for place in range(min(len(changed), 4096)) if 48 <= changed[place] < 58]
    if places:
        place = places[draw.integers(len(places))]
        end = place
        while end < len(changed) and 48 <= changed[end] < 58:
            end += 1
        changed[place:end] = str(EXTREMES[draw.integers(len(EXTREMES))]).encode()


def _token(changed: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], draw: np.random.Generator) -> None:
    if tokens:
        place = _place(changed, draw)
        changed[place : place + int(draw.integers(4))] = tokens[int(draw.integers(len(tokens)))]


CHANGES: list[Callable[[bytearray, Sequence[bytes], Sequence[bytes], np.random.Generator], None]] = [
    _flip, _overwrite, _insert, _delete, _truncate, _duplicate, _splice, _extreme, _digits, _token,
]  # fmt: skip


def mutated_json(value: Any, draw: np.random.Generator) -> str:
    """The text of `value` after one to three entries became something else, were dropped, renamed or moved."""
    value = json.loads(json.dumps(value))
    for _ in range(1 + int(draw.integers(3))):
        value = _changed_somewhere(value, draw)
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    return text


def _changed_somewhere(value: Any, draw: np.random.Generator) -> Any:
    """`value` with a change in one of its parts; whole, one time in thirty."""
    holders = _holders(value)
    if not holders or draw.integers(30) == 0:
        return _other(draw)
    holder = holders[draw.integers(len(holders))]
    keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key = keys[draw.integers(len(keys))]
    kind = draw.integers(10)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = [holder[key]]
    elif kind == 2:
        holder[key] = json.loads(json.dumps(holders[draw.integers(len(holders))]))
    elif kind == 3 and isinstance(holder, dict):
        holder[f"{key}x" if draw.integers(2) else str(_other(draw))] = holder.pop(key)
    else:
        holder[key] = _other(draw)
    return value


def _other(draw: np.random.Generator) -> Any:
    if draw.integers(8) == 0:
        return list(RAW)[draw.integers(len(RAW))]
    return json.loads(json.dumps(VALUES[draw.integers(len(VALUES))]))


def _holders(value: Any) -> list[Any]:
    """All lists and objects in `value` that have something in them."""
    found: list[Any] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list) and one:
            found.append(one)
            waiting += one.values() if isinstance(one, dict) else one
    return found
