"""What a forward pass goes by, beside its inputs: layers, their settings and modes, and where arrays live."""

from typing import Any

from gpucnn.layers.members import Members
from gpucnn.layers.parameter import Parameter

BOOKKEEPING = ("_changed_by_forward", "_forward_hooks", "_looked_at_bytes", "_looked_at_lists", "_told_of_state")
"""Attributes of a layer that a forward pass does not go by; hooks are looked at by themselves."""


class Structure:
    """A model's layers with all that was assigned to them, and its parameters and buffers, as they are now.

    Values within arrays do not count, nor what a forward pass itself assigns, such as a counter of draws. Of hooks it counts
    whether there are any.

    - `hooked`: the first layer that has forward hooks, or None.
    """

    def __init__(self, model: Members) -> None:
        layers = [layer for _, layer in model._layers("")]
        self.hooked = next((layer for layer in layers if layer._forward_hooks), None)
        self._layers = [
            (layer, {name: value for name, value in vars(layer).items() if name not in BOOKKEEPING}) for layer in layers
        ]
        self._members = [(member, *_place(member)) for _, member in model._named_state()]

    def is_unchanged(self) -> bool:
        """Whether each layer has the very attributes that it had, and each parameter the very arrays, and learns or does not."""
        if self.hooked is not None and not self.hooked._forward_hooks:
            return False
        for layer, before in self._layers:
            if self.hooked is None and layer._forward_hooks:
                return False
            now, passing = vars(layer), layer._changed_by_forward
            for name, value in now.items():
                then = before[name] if name in before else getattr(type(layer), name, ...)
                if then is not value and name not in passing and name not in BOOKKEEPING:
                    return False
            if len(now) < len(before) and any(name not in now for name in before):
                return False
        return self.has_its_arrays() and all(member.requires_grad == learns for member, *_, learns in self._members)

    def has_its_arrays(self) -> bool:
        """Whether parameters and buffers live where they lived; if not, those places are left for good."""
        return all(
            member._data is data and member._gradient_place is gradient for member, data, gradient, _ in self._members
        )


def _place(member: Parameter) -> tuple[Any, Any, bool]:
    """The array, the place of its gradient, and whether it learns."""
    return member.data, member._gradient_place, member.requires_grad
