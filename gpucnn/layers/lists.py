"""Layers, or parameters, in lists and dicts, for a `forward` that goes through them as it likes."""

import itertools
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self, overload

from gpucnn.autograd import Tensor
from gpucnn.checks import is_int, nearest
from gpucnn.errors import ArgumentError
from gpucnn.layers.layer import Layer
from gpucnn.layers.parameter import Buffer, Parameter
from gpucnn.layers.torch_names import checked_name
from gpucnn.text import value_text


class Items(Layer):
    """What LayerList and ParameterList have in common: items under the names "0", "1", and so on, in their order."""

    kind: type = Layer
    """Of its items."""
    instead: str = "call its layers one by one, or take layers.Sequential"
    """What to do with them."""

    def forward(self, *inputs: Any) -> Tensor:
        """TypeError: in which order is for the model around it to say."""
        raise TypeError(f"{self.label}: a {type(self).__name__} has no order to compute in; {self.instead}")

    def append(self, item: Any) -> Self:
        """Put one at the end, under the first number that is free. Returns the list."""
        numbers = map(str, itertools.count(len(self)))
        name = next(number for number in numbers if number not in vars(self))
        setattr(self, name, self._checked(f"argument {name}", item))
        return self

    def extend(self, items: Iterable[Any]) -> Self:
        """Put several at the end. Returns the list."""
        for item in list(items):
            self.append(item)
        return self

    def insert(self, position: int, item: Any) -> Self:
        """Put one before that at `position`, as Python's lists do. Returns the list."""
        entries = self._entries()
        entries.insert(position, ("0", self._checked(f"argument {position}", item)))
        return self._renewed(entries)

    def pop(self, position: int = -1) -> Any:
        """Take the one at `position` out, and return it."""
        _, item = self._at(position)
        del self[position]
        return item

    def __setitem__(self, position: int, item: Any) -> None:
        name, _ = self._at(position)
        setattr(self, name, self._checked(f"item {position}", item))

    def __delitem__(self, position: int | slice) -> None:
        entries = self._entries()
        if not isinstance(position, slice):
            self._at(position)  # refuses what is no position
        del entries[position]
        self._renewed(entries)

    def __len__(self) -> int:
        return len(self._entries())

    def _entries(self) -> list[tuple[str, Any]]:
        """(name, item) of all, in order."""
        return [(name, member) for name, member in self._members() if isinstance(member, self.kind)]

    def _at(self, position: Any) -> tuple[str, Any]:
        """(name, item) at `position`; ArgumentError if it is no int, IndexError if there is none."""
        if not is_int(position):
            raise ArgumentError(
                f"{self.label}: a position is an int, got {value_text(position)}; by its name an item is an attribute"
            )
        entries = self._entries()
        if not -len(entries) <= position < len(entries):
            raise IndexError(f"{self.label}: there is no item {position} of {len(entries)}")
        name, item = entries[position]
        return name, item

    def _renewed(self, entries: Iterable[tuple[str, Any]]) -> Self:
        """With these items alone, in this order; those that go by a number are counted anew."""
        for name, _ in self._entries():
            delattr(self, name)
        for position, (name, item) in enumerate(entries):
            setattr(self, str(position) if name.isdecimal() else name, item)
        return self

    def _as_part(self, part: Any, position: slice) -> Any:
        """`part`, an empty list, with the items at `position`, which go by their names here, and keep their paths."""
        for name in ("path", "seed", "_training", "_frozen"):
            object.__setattr__(part, name, getattr(self, name))
        for name, item in self._entries()[position]:
            object.__setattr__(part, name, item)
        return part

    def _checked(self, place: str, item: Any) -> Any:
        """`item`, if it may be one; ArgumentError, which calls it `place`, if not."""
        return checked_layer(type(self).__name__, place, item)


class LayerList(Items):
    """Layers in a list, for a `forward` that calls them as it likes. Their paths are "0", "1", and so on.

    It is made of layers one by one, or of one list of them, or empty. `append`, `extend` and `insert` put layers in, indices
    and `del` work as with lists, a slice is a LayerList of the same layers, and `for` goes through all. Raises ArgumentError
    for anything but a layer. PyTorch's ModuleList.
    """

    def __init__(self, *layers: Layer | Iterable[Layer]) -> None:
        self.extend(_unpacked(layers))

    def __iter__(self) -> Iterator[Layer]:
        for _, member in self._members():
            if isinstance(member, Layer):
                yield member

    @overload
    def __getitem__(self, position: int) -> Layer: ...

    @overload
    def __getitem__(self, position: slice) -> "LayerList": ...

    def __getitem__(self, position: int | slice) -> "Layer | LayerList":
        if isinstance(position, slice):
            part: LayerList = self._as_part(LayerList(), position)
            return part
        found: Layer = self._at(position)[1]
        return found


class ParameterList(Items):
    """Parameters in a list; what is no parameter becomes one, by its values. Their paths are "0", "1", and so on.

    Made, filled and read as a `LayerList`. Raises ArgumentError or DTypeError for what are no values, and for a buffer, which
    is not learned.
    """

    kind = Parameter
    instead = "use its parameters in the forward of the layer around it"

    def __init__(self, *parameters: Any) -> None:
        self.extend(_unpacked(parameters))

    def __iter__(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self._entries())

    @overload
    def __getitem__(self, position: int) -> Parameter: ...

    @overload
    def __getitem__(self, position: slice) -> "ParameterList": ...

    def __getitem__(self, position: int | slice) -> "Parameter | ParameterList":
        if isinstance(position, slice):
            part: ParameterList = self._as_part(ParameterList(), position)
            return part
        found: Parameter = self._at(position)[1]
        return found

    def _checked(self, place: str, item: Any) -> Parameter:
        if isinstance(item, Layer | Buffer):
            raise ArgumentError(f"ParameterList: {place} must be a parameter, got {value_text(item)}")
        return item if isinstance(item, Parameter) else Parameter(item)

    def describe(self) -> str:
        return f"{len(self)} parameters"


class LayerDict(Layer):
    """Layers by name, for a `forward` that calls them as it likes: LayerDict({"conv": conv, "pool": pool}). Their paths are
    their names.

    Made of a dict, or pairs (name, layer). `layers["conv"]` reads, puts in or, after `del`, takes out; `for` goes through the
    names, in the order in which they came. Raises ArgumentError for anything but a layer, for names that are no texts
    without dots, or that stand for something else in it, such as "path", and for one that is not there. PyTorch's ModuleDict.
    """

    def __init__(self, layers: Mapping[str, Layer] | Iterable[tuple[str, Layer]] = ()) -> None:
        self.update(layers)

    def forward(self, *inputs: Any) -> Tensor:
        """TypeError: in which order is for the model around it to say."""
        raise TypeError(f"{self.label}: a LayerDict has no order to compute in; call its layers by name")

    def update(self, layers: Mapping[str, Layer] | Iterable[tuple[str, Layer]]) -> None:
        """Put in all of a dict, or of pairs (name, layer)."""
        for name, layer in layers_by_name(self, layers):
            setattr(self, name, layer)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._layers_by_name().keys()

    def values(self) -> ValuesView[Layer]:
        """The layers."""
        return self._layers_by_name().values()

    def items(self) -> ItemsView[str, Layer]:
        """(name, layer) of all."""
        return self._layers_by_name().items()

    def __getitem__(self, name: str) -> Layer:
        layers = self._layers_by_name()
        if name not in layers:
            like = nearest(name, layers) if isinstance(name, str) else None
            raise ArgumentError(
                f"{self.label}: there is no layer {value_text(name)}{f'; did you mean {like}?' if like else ''}"
            )
        return layers[name]

    def pop(self, name: str) -> Layer:
        """Take the layer called `name` out, and return it."""
        layer = self[name]
        del self[name]
        return layer

    def __setitem__(self, name: str, layer: Layer) -> None:
        self.update({name: layer})

    def __delitem__(self, name: str) -> None:
        self[name]  # refuses one that is not there
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._layers_by_name()

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers_by_name())

    def __len__(self) -> int:
        return len(self._layers_by_name())

    def _layers_by_name(self) -> dict[str, Layer]:
        return {name: member for name, member in self._members() if isinstance(member, Layer)}


def checked_layer(owner: str, place: str, layer: Any) -> Layer:
    """`layer`, if it is one; ArgumentError, which calls it `place` of `owner`, if not."""
    if not isinstance(layer, Layer):
        raise ArgumentError(
            f"{owner}: {place} must be a layer, got {value_text(layer)}; pass layers one by one (a list as {owner}(*layers)) and "
            f"functions as layers, e.g. layers.ReLU() or layers.Lambda(function)"
        )
    return layer


def layers_by_name(owner: Layer, layers: Any) -> list[tuple[str, Layer]]:
    """The (name, layer) of a dict, or of pairs, for attributes of `owner`. ArgumentError if they are something else."""
    kind = type(owner).__name__
    try:
        pairs = [
            (name, layer) for name, layer in (layers.items() if isinstance(layers, Mapping | LayerDict) else layers)
        ]
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{kind}: expected a dict of layers by name, or pairs (name, layer), got {value_text(layers)}"
        ) from None
    return [(checked_name(owner, name), checked_layer(kind, f"{name!r}", layer)) for name, layer in pairs]


def _unpacked(items: tuple[Any, ...]) -> Iterable[Any]:
    """Items that were given one by one, or in one list or the like."""
    one = items[0] if len(items) == 1 else None
    is_list = isinstance(one, list | tuple | Iterator | Items)
    return one if is_list and one is not None else items
