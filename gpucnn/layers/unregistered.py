"""Layers and parameters that are kept where no walk over the attributes finds them."""

import functools
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import ItemsView, Iterator, KeysView, Sequence, ValuesView
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.geometry import Window
from gpucnn.layers.parameter import Parameter

HOLD_NOTHING = frozenset((int, float, bool, str, bytes, type(None), Window))
"""Types that are passed over at once."""

LISTS = (list, tuple, set, frozenset, deque, UserList, KeysView, ValuesView, ItemsView)
DICTS = (dict, UserDict, ChainMap, MappingProxyType)
"""What is looked into: other collections may be anything, e.g. a folder whose images are decoded on the way."""

NOT_LOOKED_INTO = ("_hooks", "_changed_by_forward")
"""Attributes of every layer: functions that look at it, and may know any other; and what it notices by itself."""


class Unregistered(NamedTuple):
    """Something that would not be trained, saved or moved."""

    owner: Any
    """The layer."""
    name: str
    """The attribute."""
    place: str
    """Where it is, e.g. "self.blocks[0]"."""
    item: Any
    container: str
    """What it is in, e.g. "in a plain list"."""

    def message(self) -> str:
        """What is wrong, and the fix."""
        fix = f"put each in an attribute of its own, e.g. with setattr(self, f'{self.name}_{{number}}', ...)"
        held = vars(self.owner).get(self.name)
        if isinstance(held, LISTS) and isinstance(self.item, Parameter):
            fix = f"make it self.{self.name} = layers.ParameterList(parameters), which has append and indices, or {fix}"
        elif isinstance(held, LISTS):
            fix = f"make it self.{self.name} = layers.LayerList(*layers), which has append and indices, or {fix}"
        elif isinstance(held, DICTS) and not isinstance(self.item, Parameter):
            fix = f"make it self.{self.name} = layers.LayerDict(layers), or {fix}"
        if self.name not in vars(self.owner):
            fix = f"assign self.{self.name} in __init__"
        return (
            f"{self.owner.label}: {self.place} is a {type(self.item).__name__} {self.container}, which would not be trained, "
            f"saved or moved; {fix}"
        )


def first_unregistered(layers: Sequence[Any], kind: type) -> Unregistered | None:
    """The first layer or parameter that one of `layers` holds in a list or the like, and none in an attribute.

    `layers` are all of a model, itself the first; `kind` is the class of layers. Looked into are lists and dicts of any depth,
    arrays of objects, objects that are not layers, functions (what they are bound to, and what they close over), and the
    classes themselves. What is frozen may be there: it is not to be trained.
    """
    known: set[int] | None = None
    for layer in layers:
        for found in _held_by(layer, kind):
            if known is None:
                known = {id(one) for one in layers}
                known |= {id(one) for each in layers for one in vars(each).values() if isinstance(one, Parameter)}
            if id(found.item) not in known and not getattr(found.item, "is_frozen", False):
                return found
    return None


def _held_by(layer: Any, kind: type) -> Iterator[Unregistered]:
    """What the layer itself holds in no attribute of its own."""
    kinds = (kind, Parameter)
    for name, value in vars(layer).items():
        if type(value) in HOLD_NOTHING or name in NOT_LOOKED_INTO or isinstance(value, kinds):
            continue
        if type(value) is tuple and HOLD_NOTHING.issuperset(map(type, value)):  # as (height, width) are
            continue
        for place, item, container in _held(f"self.{name}", value, kinds, set(), True):
            yield Unregistered(layer, name, place, item, f"in a plain {container}")
    for cls in type(layer).__mro__:
        if _is_ours(cls):
            continue
        for name, value in vars(cls).items():
            if isinstance(value, kinds) and name not in vars(layer):
                yield Unregistered(layer, name, f"self.{name}", value, f"of the class {cls.__name__} itself")


def _held(
    place: str, value: Any, kinds: tuple[type, ...], seen: set[int], into_objects: bool
) -> Iterator[tuple[str, Any, str]]:
    """(place, layer or parameter, type of what it is in), of all that `value` holds."""
    if id(value) in seen:
        return
    seen.add(id(value))
    for inner_place, inner in _items(place, value, into_objects):
        if type(inner) in HOLD_NOTHING:
            continue
        if isinstance(inner, kinds):
            yield inner_place, inner, type(value).__name__
        else:  # an object within an object is far away
            yield from _held(inner_place, inner, kinds, seen, into_objects and not _is_plain_object(value))


def _items(place: str, value: Any, into_objects: bool) -> Iterator[tuple[str, Any]]:
    """What `value` holds, with its place."""
    if isinstance(value, DICTS):
        yield from ((f"{place}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, LISTS):
        yield from ((f"{place}[{position}]", item) for position, item in enumerate(value))
    elif isinstance(value, np.ndarray):
        yield from ((f"{place}.flat[{n}]", item) for n, item in enumerate(value.flat if value.dtype == object else ()))
    elif isinstance(value, functools.partial):
        yield from _items(place, {"func": value.func, "args": value.args, **value.keywords}, into_objects)
    elif isinstance(value, MethodType):
        yield f"{place}.__self__", value.__self__
    elif isinstance(value, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield f"{place} ({name})", cell.cell_contents
            except ValueError:  # a name without a value yet
                continue
    elif into_objects and _is_plain_object(value):
        yield from ((f"{place}.{name}", item) for name, item in vars(value).items())


def _is_plain_object(value: Any) -> bool:
    """Whether `value` has attributes, and is not of gpucnn: our own objects know models that they do not hold."""
    return (
        hasattr(value, "__dict__") and not isinstance(value, type | ModuleType | Tensor) and not _is_ours(type(value))
    )


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith(("gpucnn.", "builtins"))
