"""Checks of plain arguments, each with a message that says what was given and what was expected."""

import difflib
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from opcode import opmap
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, TypeAlias

import numpy as np

from gpucnn.errors import ArgumentError, DTypeError, KeywordError, ShapeError, UnknownNameError
from gpucnn.text import MOST_AXES, printed, shape_text, value_text

Pair: TypeAlias = tuple[int, int]
IntOrPair: TypeAlias = int | Sequence[int]
Shape: TypeAlias = tuple[int, ...]

LARGEST = 1 << 31
"""Sizes and counts are below it."""

LARGEST_FLOAT = 8
"""The bytes of the largest float that every operation knows."""

MOST_ELEMENTS = 1 << 59
"""Arrays are smaller, as their bytes are counted in 63 bits."""

LONGEST_NAME = 60
"""Characters of an unknown name that are compared with known ones."""


def is_int(value: object) -> bool:
    """Whether `value` is an integer, NumPy's too, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool | np.timedelta64)


def is_finite(value: object) -> bool:
    """Whether `value` is a finite real number, NumPy's too, and not a bool."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool | np.timedelta64) and math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def as_flag(value: bool, name: str) -> bool:
    """`value` as a bool; ArgumentError, which calls it `name`, if it is neither a bool, NumPy's too, nor 0 or 1."""
    if value is True or value is False:  # the usual case, at once
        return value
    if not isinstance(value, bool | np.bool_ | Integral) or value not in (0, 1):
        raise ArgumentError(f"{name} must be True or False, got {value_text(value)}")
    return bool(value)


def as_choice(value: str, name: str, choices: Iterable[str]) -> str:
    """`value` itself; ArgumentError, which calls it `name`, if it is not one of the `choices`."""
    if not isinstance(value, str) or value not in choices:
        *others, last = [f'"{choice}"' for choice in choices]
        raise ArgumentError(f"{name} must be {', '.join(others)} or {last}, got {value_text(value)}")
    return value


def check_activation(owner: str, activation: str | None) -> bool:
    """Whether `activation` is "relu" (None is not); ArgumentError, which names `owner`, for anything else."""
    if activation is not None and not (isinstance(activation, str) and activation == "relu"):
        raise ArgumentError(
            f'{owner}: activation must be None or "relu", got {value_text(activation)}; apply others after it'
        )
    return activation == "relu"


def as_function(value: Callable[..., Any], name: str, use: str) -> Callable[..., Any]:
    """`value` itself; ArgumentError, which calls it `name` and tells its `use`, if it cannot be called."""
    if not callable(value):
        raise ArgumentError(f"{name} must be a function {use}, got {value_text(value)}")
    return value


def as_path(value: str | os.PathLike[str], name: str) -> Path:
    """`value` as a path; ArgumentError, which calls it `name`, if it is neither a text nor a path, or has a NUL in it."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise ArgumentError(f"{name} must be a path, got {value_text(value)}")
    return Path(value)


def as_dtype(value: Any, owner: str, kinds: str = "f") -> np.dtype:
    """`value`, e.g. "float64", as a dtype of floats of at most 64 bits, or of other `kinds`, as NumPy calls them.

    DTypeError, which names `owner`, if it is not one.
    """
    try:
        dtype: np.dtype = np.dtype(value)
    except (TypeError, ValueError, SyntaxError, Warning):  # NumPy parses texts such as "f4, f8"
        raise DTypeError(f"{owner} must be a float, e.g. 'float32', got {value_text(value)}") from None
    if dtype.kind not in kinds or dtype.itemsize > LARGEST_FLOAT:
        raise DTypeError(f"{owner} must be a float, got {dtype}")
    return dtype


def as_count(value: int, name: str, least: int = 1) -> int:
    """`value` as an int >= `least`, below 2^31; ArgumentError, which calls it `name`, if it is not."""
    if is_int(value) and value >= LARGEST:
        raise ArgumentError(f"{name} must be below 2^31, got {value_text(value)}")
    if not is_int(value) or value < least:
        raise ArgumentError(f"{name} must be an int >= {least}, got {value_text(value)}")
    return int(value)


def as_items(value: object) -> tuple[Any, ...] | None:
    """The items of a sequence, or of a plain array of one axis or more as Python has them; None for what is neither.

    A text is no sequence here.
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None


def as_kept(value: Any) -> Any:
    """`value` as a layer keeps it: a sequence or array as a tuple, which nobody changes later, and all else as it is."""
    items = as_items(value)
    return value if items is None else items


def as_pair(value: IntOrPair, name: str, minimum: int) -> Pair:
    """`value` as (height, width): an int stands for both. ArgumentError if it is not one or two ints >= `minimum`.

    They are below 2^31, as everything that counts rows, columns or steps.
    """
    if type(value) is int and minimum <= value < LARGEST:  # the usual case, at once
        return value, value
    items = as_items(value)
    pair = (value, value) if items is None else items
    if len(pair) != 2 or not all(is_int(item) and minimum <= item < LARGEST for item in pair):
        raise _no_pair(value, name, minimum, pair)
    return int(pair[0]), int(pair[1])


def _no_pair(value: IntOrPair, name: str, minimum: int, items: Sequence[Any]) -> ArgumentError:
    if len(items) == 2 and all(is_int(item) and item >= minimum for item in items):
        return ArgumentError(f"{name} must be below 2^31, got {value_text(value)}")
    return ArgumentError(
        f"{name} must be an int >= {minimum} or a (height, width) pair of them, got {value_text(value)}"
    )


def is_real(value: object) -> bool:
    """Whether `value` is a real number that a float can hold, infinities and NaN too, NumPy's too, and not a bool."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool | np.timedelta64) and float(value) is not None
    except OverflowError:
        return False


def as_number(value: float, name: str, below: float = float("inf")) -> float:
    """`value` as a float; ArgumentError, which calls it `name`, unless 0 <= value < `below`."""
    if not is_finite(value) or not 0 <= value < below:
        limit = "a number >= 0" if below == float("inf") else f"a number from 0 to below {below:g}"
        raise ArgumentError(f"{name} must be {limit}, got {value_text(value)}")
    return float(value)


def check_shape(owner: str, shape: Shape) -> Shape:
    """`shape` itself; ShapeError, which names `owner`, if no array can have it."""
    if len(shape) > MOST_AXES or math.prod(shape) >= MOST_ELEMENTS:
        what = f"{len(shape)} axes" if len(shape) > MOST_AXES else f"a result {shape_text(shape)}"
        raise ShapeError(f"{owner}: {what} is more than an array can have; check the sizes that were given")
    return shape


def labels_fix(shape: Sequence[int], count: int | None = None) -> str:
    """What makes labels of `shape` one class index an image, (N,), as messages say it; "" if that is not plain.

    `count`: how many images there are, if that is known.
    """
    if len(shape) != 2 or count not in (None, *shape):
        return ""
    rows, columns = shape
    if count in (None, rows) and columns == 1:
        return "they are a column: take labels[:, 0]"
    if rows == 1 and count == columns:
        return "they are a row: take labels[0]"
    return "they look one-hot: take labels.argmax(axis=1)" if count in (None, rows) else ""


def matching(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is `name` apart from capitals, hyphens, underscores and spaces, or None."""
    wanted = _bare(name)
    return next((known for known in names if known == name or _bare(known) == wanted), None)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that begins with `name`, has its letters in another order, or is most like it; None if none is like it."""
    by_bare = {_bare(known): known for known in names}
    wanted = _bare(name)
    if wanted in by_bare:
        return by_bare[wanted]
    begun = [bare for bare in by_bare if wanted and bare.startswith(wanted)]
    turned = [bare for bare in by_bare if sorted(bare) == sorted(wanted)]
    found = begun or turned or difflib.get_close_matches(wanted, by_bare, 1)
    return by_bare[found[0]] if found else None


def known_name(name: str, names: Iterable[str], what: str, others: str = "") -> str:
    """That of `names` which `matching` finds; ArgumentError, which calls it a `what` and suggests the nearest, if none is.

    `others`: what may be given beside names, for the message.
    """
    text = name if isinstance(name, str) else ""
    found = matching(text, names)
    if found is None:
        like = nearest(text, names)
        hint = f"; did you mean {like}?" if like else ""
        raise ArgumentError(f"unknown {what} {value_text(name)}, expected one of {', '.join(names)}{others}{hint}")
    return found


def unknown_name(
    owner: str, name: str, known: Iterable[str], elsewhere: Mapping[str, str] = MappingProxyType({})
) -> UnknownNameError:
    """The error for `owner.name`, which is not there, to be raised by a `__getattr__`.

    `elsewhere` has what goes by the name in another library, and its word here: "LeNet5 has no half; it is astype('float16')". Else the
    message suggests the nearest of the `known` names; they may be a package's `globals()`, whose modules do not count. What begins
    with an underscore is only asked for by programs, which want a quick answer.
    """
    text = f"{owner} has no {printed(name)}"
    if name in elsewhere:
        text += f"; it is {elsewhere[name]}"
    elif not name.startswith("_"):
        modules = (
            [one for one, value in known.items() if isinstance(value, ModuleType)] if isinstance(known, Mapping) else ()
        )
        like = nearest(name, (one for one in known if not one.startswith("_") and one not in modules))
        text += f"; did you mean {like}?" if like else ""
    asking = sys._getframe(2)
    if asking.f_code.co_code[asking.f_lasti] == opmap["IMPORT_FROM"]:
        raise ImportError(text)  # an AttributeError would be lost: Python makes one of its own of it, without the word
    return UnknownNameError(text, name=name)  # without obj, to which Python would add a guess of its own


def check_set_to_none(flag: bool) -> None:
    """ArgumentError unless zero_grad(set_to_none) is True, as PyTorch's is by default."""
    if not as_flag(flag, "zero_grad: set_to_none"):
        raise ArgumentError(
            "zero_grad: set_to_none=False keeps zeros for gradients, which become None here; leave it out"
        )


def check_keywords(made: type, options: Iterable[str], words: Mapping[str, str]) -> None:
    """KeywordError if one of the `options` to make a class with is none of its own, and `words` has what to write instead."""
    for name in words.keys() & set(options):
        begins: Any = made.__init__  # type: ignore[misc]
        own = () if begins is object.__init__ else inspect.signature(begins).parameters.values()
        if not any(one.name == name or one.kind is one.VAR_KEYWORD for one in own):
            raise KeywordError(f"{made.__name__} has no {name}; {words[name]}")


def public_names(namespace: Mapping[str, Any], *others: str) -> list[str]:
    """What a package offers, for its `__all__` and `__dir__`: of its `namespace` what is made in it or below, and `others`."""
    own = namespace["__name__"]
    found = {
        name
        for name, value in namespace.items()
        if not (name.startswith("_") or name == "TYPE_CHECKING" or isinstance(value, ModuleType))
        and f"{getattr(value, '__module__', own)}.".startswith(f"{own}.")
    }
    return sorted(found.union(others))


def _bare(name: str) -> str:
    return "".join(letter for letter in name[:LONGEST_NAME].lower() if letter not in "-_ ")
