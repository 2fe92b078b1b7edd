"""What a forward pass needs and changes, beside inputs and parameters."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from gpucnn.backend import Array, current
from gpucnn.layers.members import Members
from gpucnn.layers.parameter import Buffer


class ForwardState:
    """A layer's modes, what it declares in `forward_state`, and its buffers, as they are now, of all within, too."""

    def __init__(self, layer: Members) -> None:
        inner = [member for _, member in layer._layers("")]
        # Which attributes a forward pass assigns is known after the first one: all are kept, by reference.
        self._attributes = [(member, vars(member).copy()) for member in inner]
        self._modes = [(member, member._training, member._frozen) for member in inner]
        # Copies, as a layer may give the very list or dict that it goes on to change.
        self._declared = [(member, copy.deepcopy(state)) for member in inner if (state := member.forward_state())]
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
        for member, training, frozen in self._modes:
            member.training = training
            object.__setattr__(member, "_frozen", frozen)
        for member, state in self._declared:
            member.set_forward_state(copy.deepcopy(state))
        for buffer, data in self._buffers:
            buffer.data = data


@contextmanager
def evaluating(layer: Members) -> Iterator[None]:
    """Inside, the layer is in evaluation mode; after it all within are in the modes that they had."""
    modes = [(member, member._training) for _, member in layer._layers("")]
    layer.eval()
    try:
        yield
    finally:
        for member, training in modes:
            member.training = training


def _kept(owner: Members, buffer: Buffer) -> Array:
    """The buffer's array, or a copy where a forward pass may write into it."""
    if owner.replaces_buffers:
        return buffer.data
    with current(buffer.device):
        return buffer.data.copy()
