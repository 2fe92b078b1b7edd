"""What a forward pass needs and changes, beside inputs and parameters."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gpucnn.backend import beside
from gpucnn.backend.joined import copied, is_stretch, joined, side_by_side
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
        # A forward pass writes into its buffers. They are copied all at once, as far as they lie side by side.
        buffers = {id(one): one for member in inner for _, one in member._members() if isinstance(one, Buffer)}
        lay_side_by_side(buffers.values())
        self._buffers = [(buffer, buffer.array) for buffer in buffers.values()]
        self._arrays = [array for (array,) in joined(buffer.array for buffer in buffers.values())]
        self._values = copied(self._arrays)

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
        for buffer, array in self._buffers:
            if buffer.array is not array:
                buffer.data = array
        for array, values in zip(self._arrays, self._values, strict=True):
            with beside(array):
                array[...] = values


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


def lay_side_by_side(buffers: Iterable[Buffer]) -> None:
    """Have the buffers live in few flat arrays from now on. Those that do so already stay where they are."""
    buffers = list(buffers)
    loose = {id(buffer.array): buffer.array for buffer in buffers if not is_stretch(buffer.array)}
    places = dict(zip(loose, side_by_side(loose.values()), strict=True))
    for buffer in buffers:
        if id(buffer.array) in places:
            buffer.data = places[id(buffer.array)]
