"""Layers and parameters that are kept where no walk over the attributes finds them."""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import FunctionType, MethodType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.geometry import Window
from gpucnn.layers.parameter import Parameter

if TYPE_CHECKING:
    from gpucnn.layers.layer import Layer

HOLD_NOTHING = frozenset((int, float, bool, str, bytes, type(None), Window))
"""Types that are passed over at once."""

NOT_LOOKED_INTO = "_forward_hooks"
"""The attribute with functions that look at a layer, and may know any other."""


class Unregistered(NamedTuple):
    """Something that would not be trained, saved or moved."""

    owner: "Layer"
    name: str
    """The attribute."""
    place: str
    """Where it is, e.g. "self.blocks[0]"."""
    item: "Layer | Parameter"
    container: str
    """The type of what it is in."""


def first_unregistered(layers: "Sequence[Layer]", kind: "type[Layer]") -> Unregistered | None:
    """The first layer or parameter that one of `layers` holds in a list or the like, and none in an attribute.

    `layers` are all of a model, itself the first; `kind` is the class Layer. Looked into are collections of any depth,
    arrays of objects, dataclasses, and functions: what they are bound to, and what they close over. What is frozen may be
    there: it is not to be trained.
    """
    known: set[int] | None = None
    kinds = (kind, Parameter)
    for layer in layers:
        for name, value in vars(layer).items():
            if type(value) in HOLD_NOTHING or name == NOT_LOOKED_INTO or isinstance(value, kinds):
                continue
            if type(value) is tuple and HOLD_NOTHING.issuperset(map(type, value)):  # as (height, width) are
                continue
            for place, item, container in _held(f"self.{name}", value, kind, set()):
                if known is None:
                    known = {id(one) for one in layers}
                    known |= {id(one) for each in layers for one in vars(each).values() if isinstance(one, Parameter)}
                if id(item) not in known and not getattr(item, "is_frozen", False):
                    return Unregistered(layer, name, place, item, container)
    return None


def _held(
    place: str, value: Any, kind: "type[Layer]", seen: set[int]
) -> "Iterator[tuple[str, Layer | Parameter, str]]":
    """(place, layer or parameter, type of what it is in), of all that `value` holds."""
    if id(value) in seen:
        return
    seen.add(id(value))
    for inner_place, inner in _items(place, value):
        if type(inner) in HOLD_NOTHING:
            continue
        if isinstance(inner, kind | Parameter):
            yield inner_place, inner, type(value).__name__
        else:
            yield from _held(inner_place, inner, kind, seen)


def _items(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What `value` holds, with its place."""
    if isinstance(value, str | bytes | Tensor):
        return
    if isinstance(value, Mapping):
        yield from ((f"{place}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, np.ndarray):
        yield from (
            (f"{place}.flat[{n}]", item) for n, item in enumerate(value.flat if value.dtype.kind == "O" else ())
        )
    elif isinstance(value, Collection):
        yield from ((f"{place}[{position}]", item) for position, item in enumerate(value))
    elif isinstance(value, SimpleNamespace) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        names = vars(value) if isinstance(value, SimpleNamespace) else [one.name for one in dataclasses.fields(value)]
        yield from ((f"{place}.{name}", getattr(value, name, None)) for name in names)
    elif isinstance(value, functools.partial):
        yield from _items(place, {"func": value.func, "args": value.args, **value.keywords})
    elif isinstance(value, MethodType):
        yield f"{place}.__self__", value.__self__
    elif isinstance(value, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield f"{place} ({name})", cell.cell_contents
            except ValueError:  # a name without a value yet
                continue
