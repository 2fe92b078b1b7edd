"""What a forward pass needs and changes, beside inputs and parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import Array, current
from gpucnn.layers.buffer import Buffer

if TYPE_CHECKING:
    from gpucnn.layers.layer import Layer

PLAIN = (int, float, str, np.integer, np.floating, np.bool_, type(None))
"""What an attribute must be for its value to be saved by itself; a bool is an int."""


class ForwardState:
    """A layer's modes, what it declares in `forward_state`, and its buffers, as they are now, of all within, too."""

    def __init__(self, layer: "Layer") -> None:
        inner = [member for _, member in layer._layers("")]
        # Which attributes a forward pass assigns is known after the first one: all are kept, by reference.
        self._attributes = [(member, vars(member).copy()) for member in inner]
        self._modes = [(member, member._training) for member in inner]
        self._declared = [(member, state) for member in inner if (state := member.forward_state())]
        self._buffers = [
            (member, _kept(owner, member))
            for owner in inner
            for _, member in owner._members()
            if isinstance(member, Buffer)
        ]

    def restore(self) -> None:
        """Make the layer as it was: the same input then gives the same output, to the bit."""
        for member, attributes in self._attributes:
            for name in member._changed_by_forward:
                if name in attributes:
                    object.__setattr__(member, name, attributes[name])
                else:  # the first pass made it; a class may have one of that name
                    vars(member).pop(name, None)
        for member, training in self._modes:
            member.training = training
        for member, state in self._declared:
            member.set_forward_state(state)
        for buffer, data in self._buffers:
            buffer.data = data


@contextmanager
def evaluating(layer: "Layer") -> Iterator[None]:
    """Inside, the layer is in evaluation mode; after it all within are in the modes that they had."""
    modes = [(member, member._training) for _, member in layer._layers("")]
    layer.eval()
    try:
        yield
    finally:
        for member, training in modes:
            member.training = training


def _kept(owner: "Layer", buffer: Buffer) -> Array:
    """The buffer's array, or a copy where a forward pass may write into it."""
    if owner.replaces_buffers:
        return buffer.data
    with current(buffer.device):
        return buffer.data.copy()
