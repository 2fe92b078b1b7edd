"""What a forward pass changes in a layer beside its buffers: numbers and texts, declared or noticed."""

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from gpucnn.errors import StateError
from gpucnn.layers.parameter import Parameter

PLAIN = (int, float, str, np.integer, np.floating, np.bool_, type(None))
"""What an attribute must be for its value to be saved by itself; a bool is an int."""


def is_plain(value: Any) -> bool:
    """Whether a value can be saved by itself: one of PLAIN, or a tuple of such."""
    return isinstance(value, PLAIN) or (isinstance(value, tuple) and all(map(is_plain, value)))


def as_json(value: Any) -> Any:
    """A plain value as JSON has it: tuples as lists."""
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def from_json(value: Any) -> Any:
    """What `as_json` was given, but for the types of NumPy's numbers."""
    return tuple(map(from_json, value)) if isinstance(value, list) else value


OWN_ATTRIBUTES = ("path", "seed", "training")
"""Attributes of every layer that do not belong to its forward state."""

BASE = f"{__package__}.layer"
"""The module of Layer itself: classes of one's own come before it."""


class PlainState:
    """The part of a layer that knows what its forward pass changes."""

    _changed_by_forward: Mapping[str, Any] = MappingProxyType({})
    """What each attribute was before a forward pass first assigned it; ... if it was not there."""

    feeds_forward_state: bool = False
    """Whether what `forward_state` gives is fed to a step that is recorded, so that each replay counts it up, see `backend.fed`."""

    @property
    def label(self) -> str:
        """How messages name this layer."""
        return type(self).__name__

    def forward_state(self) -> dict[str, Any]:
        """What a forward pass changes in this layer itself, beside its buffers: JSON values by name, e.g. {"calls": 3}.

        `Checkpoint`, a step that is made again, `replay` and saved trainers hold it, and give it to `set_forward_state`.
        A layer that counts its draws, as `Dropout` does, declares its counter here. Without that it is the numbers, truth
        values and texts that `forward` was seen to assign to attributes, but for those that are as before the first pass. What
        changes otherwise (the elements of a list, the state of a generator) is known only where it is declared; arrays belong
        in a `Buffer`.
        """
        found = {}
        for name, first in self._changed_by_forward.items():
            value = vars(self).get(name, ...)
            if is_plain(value) and not (type(value) is type(first) and value == first):
                found[name] = as_json(value)
        return found

    @property
    def declares_forward_state(self) -> bool:
        """Whether the class has a `forward_state` of its own."""
        return type(self).forward_state is not PlainState.forward_state

    def set_forward_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `forward_state` gave: the next forward pass is then the one that came next there.

        What it gives of a layer that has not computed yet is an empty one. Raises StateError for the state of another layer.
        """
        for name, first in self._changed_by_forward.items():
            if name not in state and first is not ...:
                object.__setattr__(self, name, first)
            elif name not in state:
                vars(self).pop(name, None)
        for name, value in state.items():
            own, value = getattr(self, name, ...), from_json(value)
            known = is_plain(own) or (self._names_in_its_code(name) and not isinstance(own, PlainState | Parameter))
            fits = is_plain(value) and (own is None or own is ... or isinstance(own, tuple) == isinstance(value, tuple))
            if name in OWN_ATTRIBUTES or callable(own) or not known or not fits:
                raise StateError(
                    f"{self.label}: there is no number or text self.{name} that could take {value!r}; build the layer as it "
                    f"was when the state was saved"
                )
            self._note_change(name)
            object.__setattr__(self, name, type(own)(value) if isinstance(own, np.generic) else value)

    def _names_in_its_code(self, name: str) -> bool:
        """Whether a method of this layer's class names the attribute, which its forward pass may then be the first to make."""
        own = itertools.takewhile(lambda kind: kind.__module__ != BASE, type(self).__mro__)
        codes = (getattr(method, "__code__", None) for kind in own for method in vars(kind).values())
        return any(name in getattr(code, "co_names", ()) for code in codes)

    def _note_change(self, name: str) -> None:
        """Remember that a forward pass changes the attribute called `name`, and what it is before that."""
        if name not in self._changed_by_forward and name not in OWN_ATTRIBUTES:
            first = vars(self).get(name, ...)
            object.__setattr__(self, "_changed_by_forward", {**self._changed_by_forward, name: first})
