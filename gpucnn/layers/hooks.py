"""Hooks: functions that are called after a layer's forward pass."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from gpucnn.autograd import Tensor

if TYPE_CHECKING:
    from gpucnn.layers.layer import Layer

ForwardHook: TypeAlias = "Callable[[Layer, tuple[Tensor, ...], Tensor], Tensor | None]"
"""From a layer, its inputs and its output to None, or to a tensor that takes the output's place."""


class HookHandle:
    """What `register_forward_hook` returns: `remove()` takes the hook away; once more does nothing."""

    def __init__(self, hooks: dict["HookHandle", ForwardHook]) -> None:
        self._hooks = hooks

    def remove(self) -> None:
        """Call the hook no more."""
        self._hooks.pop(self, None)
