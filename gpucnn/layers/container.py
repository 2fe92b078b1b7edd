"""Layers made of layers."""

from collections.abc import Iterator
from typing import Any

from gpucnn.autograd import Tensor, as_tensor
from gpucnn.errors import ArgumentError
from gpucnn.layers.activation import ReLU
from gpucnn.layers.conv import Conv2d
from gpucnn.layers.layer import Layer
from gpucnn.layers.linear import Linear
from gpucnn.layers.observe import current_observers
from gpucnn.layers.trace import current_calls


class Sequential(Layer):
    """Layers one after the other; each gets the output of the one before. Their paths are "0", "1", and so on.

    A ReLU that follows a Conv2d or Linear is computed with it, in fewer passes over memory; the values are the same.

    Raises ArgumentError if an argument is no layer.
    """

    def __init__(self, *layers: Layer, seed: int | None = None) -> None:
        if seed is not None:
            self.seed = seed
        for position, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise ArgumentError(
                    f"Sequential: argument {position} is no layer but {layer!r}; "
                    f"pass layers one by one (a list as Sequential(*layers)) and functions as layers, e.g. layers.ReLU()"
                )
            setattr(self, str(position), layer)

    def forward(self, x: Any) -> Tensor:
        """The input through all layers in turn."""
        remaining = list(self)
        while remaining:
            layer, *remaining = remaining
            if remaining and _takes_relu(layer, remaining[0]):
                x = layer(x, activation="relu")
                remaining = remaining[1:]
            else:
                x = layer(x)
        return as_tensor(x)

    def __iter__(self) -> Iterator[Layer]:
        for _, member in self._members():
            if isinstance(member, Layer):
                yield member

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, position: int) -> Layer:
        return list(self)[position]


def _takes_relu(layer: Layer, following: Layer) -> bool:
    """Whether both can be computed in one. Not where somebody looks at every layer: in a trace, or with observers."""
    if not isinstance(layer, Conv2d | Linear) or type(following) is not ReLU or layer.activation is not None:
        return False
    own_forward = type(layer).forward in (Conv2d.forward, Linear.forward)
    return own_forward and current_calls.get() is None and not current_observers.get()
