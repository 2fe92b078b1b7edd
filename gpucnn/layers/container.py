"""Layers made of layers."""

from collections.abc import Iterator
from typing import Any

from gpucnn.autograd import Tensor, as_tensor
from gpucnn.errors import ArgumentError
from gpucnn.layers.layer import Layer


class Sequential(Layer):
    """Layers one after the other; each gets the output of the one before. Their paths are "0", "1", and so on.

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
        for layer in self:
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
