"""What a forward pass goes by, beside its inputs: layers, their settings and modes, and where arrays live."""

from typing import Any

import numpy as np

from gpucnn.layers.members import Members
from gpucnn.layers.parameter import Parameter
from gpucnn.layers.plain_state import PLAIN

BOOKKEEPING = ("_changed_by_forward", "_hooks", "_looked_at_bytes", "_looked_at_lists", "_told_of_state")
"""Attributes of a layer that a forward pass does not go by; hooks are looked at by themselves."""


class Structure:
    """A model's layers with all that was assigned to them, and its parameters and buffers, as they are now.

    Values within arrays do not count, nor what a forward pass itself assigns, such as a counter of draws. Of hooks it counts
    whether there are any.

    - `hooked`: the first layer that has hooks, or None.
    """

    def __init__(self, model: Members) -> None:
        layers = [layer for _, layer in model._layers("")]
        self.hooked = next((layer for layer in layers if layer._hooks), None)
        self._layers = [
            (layer, {name: value for name, value in vars(layer).items() if name not in BOOKKEEPING}) for layer in layers
        ]
        self._within: list[tuple[Members, str, Any]] = []
        self._members = [(member, *_place(member)) for _, member in model._named_state()]

    def look_within(self) -> None:
        """From now on what stands in lists, dicts and sets counts, too, but for what a layer declares to change itself."""
        self._within = [
            (layer, name, inner_copy(value))
            for layer, before in self._layers
            if not layer.declares_forward_state
            for name, value in before.items()
            if isinstance(value, list | dict | set) and name not in layer._changed_by_forward
        ]

    def is_unchanged(self) -> bool:
        """Whether each layer has the very attributes that it had, and each parameter the very arrays, and learns or does not."""
        if self.hooked is not None and not self.hooked._hooks:
            return False
        for layer, before in self._layers:
            if self.hooked is None and layer._hooks:
                return False
            now, passing = vars(layer), layer._changed_by_forward
            for name, value in now.items():
                then = before[name] if name in before else getattr(type(layer), name, ...)
                if then is not value and name not in passing and name not in BOOKKEEPING:
                    return False
            if len(now) < len(before) and any(name not in now for name in before):
                return False
        if not all(alike(vars(layer)[name], then) for layer, name, then in self._within):
            return False
        return self.has_its_arrays() and all(member.requires_grad == learns for member, *_, learns in self._members)

    def has_its_arrays(self) -> bool:
        """Whether parameters and buffers live where they lived; if not, those places are left for good."""
        return all(
            member._data is data and member._gradient_place is gradient for member, data, gradient, _ in self._members
        )


def inner_copy(value: Any) -> Any:
    """`value` with lists, dicts, sets and arrays of the host in it copied; other objects are themselves."""
    if isinstance(value, list | tuple):
        return [inner_copy(one) for one in value]
    if isinstance(value, dict):
        return {key: inner_copy(one) for key, one in value.items()}
    return value.copy() if isinstance(value, set | np.ndarray) else value


def alike(now: Any, then: Any) -> bool:
    """Whether `now` holds what `then`, an `inner_copy`, does."""
    if isinstance(now, list | tuple):
        return isinstance(then, list) and len(now) == len(then) and all(map(alike, now, then))
    if isinstance(now, dict):
        return isinstance(then, dict) and now.keys() == then.keys() and all(alike(now[key], then[key]) for key in now)
    if isinstance(now, np.ndarray):
        return isinstance(then, np.ndarray) and now.dtype == then.dtype and np.array_equal(now, then)
    return now is then or (type(now) is type(then) and isinstance(now, (set, *PLAIN)) and now == then)


def _place(member: Parameter) -> tuple[Any, Any, bool]:
    """The array, the place of its gradient, and whether it learns."""
    return member.array, member._gradient_place, member.requires_grad
