"""Layers made of layers, or of functions."""

from collections.abc import Callable, Mapping
from typing import Any, overload

from gpucnn import functions as F
from gpucnn.autograd import Tensor, as_tensor
from gpucnn.autograd.calls import calls_noted
from gpucnn.checks import Shape
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.kernels.convolution import PooledConvolution
from gpucnn.layers.activation import ReLU
from gpucnn.layers.conv import Conv2d
from gpucnn.layers.layer import Layer
from gpucnn.layers.linear import Linear
from gpucnn.layers.lists import LayerList, checked_layer, layers_by_name
from gpucnn.layers.normalization import BatchNorm2d
from gpucnn.layers.pooling import MaxPool2d
from gpucnn.layers.trace import current_calls
from gpucnn.text import shape_text, value_text

TAKE_RELU = (Conv2d.forward, Linear.forward, BatchNorm2d.forward)
"""The forward methods that compute a ReLU along with their own, if they are given activation="relu"."""


def in_turn(x: Any, *layers: Layer) -> Tensor:
    """`x` through some layers one after the other; two or three of them at once where that takes fewer passes over memory.

    That is a ReLU with what gives its input, see `TAKE_RELU`, and on a GPU max pooling with a small convolution. Not where
    somebody looks at each layer: by a hook, in a trace, or at the calls of functions.
    """
    remaining = list(layers)
    while remaining:
        layer, *remaining = remaining
        options: dict[str, Any] = {}
        if remaining and _takes_relu(layer, remaining[0]):
            options["activation"] = "relu"
            remaining = remaining[1:]
        if remaining and (pooled := _pooled(layer, remaining[0], x, options.get("activation"))) is not None:
            options["pooled"] = pooled
            remaining = remaining[1:]
        x = layer(x, **options)
    return as_tensor(x)


class Sequential(LayerList):
    """Layers one after the other; each gets the output of the one before. Their paths are "0", "1", and so on.

    One argument may be a dict: Sequential({"conv": conv, "relu": relu}), whose names are the paths then. It is also filled
    and read as a `LayerList`; a slice is a Sequential of the same layers, which keep their names and paths.

    A ReLU that follows a Conv2d, Linear or batch norm is computed with it, and on a GPU max pooling with a small convolution, in fewer
    passes over memory; the values are the same. See `in_turn`.

    Raises ArgumentError if an argument is not a layer, and for names as `LayerDict` does.
    """

    def __init__(self, *layers: Layer | Mapping[str, Layer], seed: int | None = None) -> None:
        if seed is not None:
            self.seed = seed
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            for name, layer in layers_by_name(self, layers[0]):
                setattr(self, name, layer)
        else:
            self.extend(layers)

    def forward(self, x: Any, residual: Any = None) -> Tensor:
        """The input through all layers in turn, to which `residual` is added: by a batch norm at the end, in one pass over memory."""
        layers = list(self)
        if residual is None:
            return in_turn(x, *layers)
        if layers and _takes_residual(layers[-1]):
            return layers[-1](in_turn(x, *layers[:-1]), residual=residual)
        return F.add(in_turn(x, *layers), residual)

    @overload
    def __getitem__(self, position: int) -> Layer: ...

    @overload
    def __getitem__(self, position: slice) -> "Sequential": ...

    def __getitem__(self, position: int | slice) -> "Layer | Sequential":
        if isinstance(position, slice):
            part: Sequential = self._as_part(Sequential(), position)
            return part
        return super().__getitem__(position)


class Residual(Layer):
    """What comes in, added to what the block makes of it: block(x) + x, or block(x) + shortcut(x).

    - `block`: a layer. `shortcut`: None, or a layer that brings x to the shape of the block's output, e.g. a 1x1
      convolution. Their paths are "block" and "shortcut".

    Raises ArgumentError if an argument is not a layer, ShapeError if the two shapes differ: nothing is broadcast.
    Source: He et al., "Deep residual learning for image recognition", CVPR 2016.
    """

    def __init__(self, block: Layer, shortcut: Layer | None = None) -> None:
        self.block = checked_layer("Residual", "block", block)
        self.shortcut = None if shortcut is None else checked_layer("Residual", "shortcut", shortcut)

    def forward(self, x: Any) -> Tensor:
        """Input to the sum, of the block's output shape."""
        x = as_tensor(x)
        output, kept = self.block(x), x if self.shortcut is None else self.shortcut(x)
        if output.shape != kept.shape:
            raise ShapeError(
                f"{self.label}: the block gives {shape_text(output.shape)}, the shortcut {shape_text(kept.shape)}; "
                f"give a shortcut that makes the same change of shape, e.g. a 1x1 Conv2d with the block's stride"
            )
        return output + kept


class Branches(LayerList):
    """Layers side by side: each gets the same input, and their outputs are concatenated along the channels.

    Their paths are "0", "1", and so on. Raises ArgumentError without layers, or for an argument that is not one, ShapeError if the
    outputs differ in more than their channels. Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015.
    """

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ArgumentError("Branches: got no layers; pass them one by one, a list as Branches(*layers)")
        self.extend(layers)

    def forward(self, x: Any) -> Tensor:
        """Input (N, C, ...) to (N, sum of the branches' channels, ...)."""
        x = as_tensor(x)
        outputs = [layer(x) for layer in self]
        shapes = [output.shape for output in outputs]
        if any(len(shape) < 2 or (shape[0], *shape[2:]) != (shapes[0][0], *shapes[0][2:]) for shape in shapes):
            raise ShapeError(
                f"{self.label}: expected outputs (N, channels, ...) that differ in their channels alone, got "
                f"{', '.join(map(shape_text, shapes))}; choose strides and padding that keep their sizes alike"
            )
        return F.concatenate(outputs, axis=1)


class Identity(Layer):
    """What comes in goes out: for a place where another model has a layer, e.g. `model.fc = layers.Identity()`."""

    def forward(self, x: Any) -> Tensor:
        """The input."""
        return as_tensor(x)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return input_shapes[0]


class Lambda(Layer):
    """A function as a layer, without parameters: Lambda(lambda x: x[:, :, ::2, ::2]).

    `function` takes the input as a tensor and returns a tensor. Raises ArgumentError if it cannot be called or returns
    anything else: an array would have lost its gradient.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        if not callable(function) or isinstance(function, Layer):
            raise ArgumentError(f"Lambda: expected a function of one tensor, got {value_text(function)}")
        self.function = function

    def forward(self, x: Any) -> Tensor:
        """The function's result."""
        output = self.function(as_tensor(x))
        if not isinstance(output, Tensor):
            raise ArgumentError(f"{self.label}: the function must return a tensor, got {type(output).__name__}")
        return output

    def describe(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


def _takes_relu(layer: Layer, following: Layer) -> bool:
    """Whether both can be computed in one. Not where somebody looks at each layer: in a trace, or by a hook."""
    if type(layer).forward not in TAKE_RELU or type(following) is not ReLU:
        return False
    if vars(layer).get("activation") is not None or layer.has_hooks or following.has_hooks:
        return False
    return current_calls.get() is None


def _pooled(layer: Layer, following: Layer, x: Any, activation: str | None) -> PooledConvolution | None:
    """How to compute a convolution and the max pooling that follows in one; None unless that can be, and pays."""
    if type(layer).forward is not Conv2d.forward or type(following).forward is not MaxPool2d.forward:
        return None
    if layer.has_hooks or following.has_hooks or current_calls.get() is not None or calls_noted.get() is not None:
        return None
    assert isinstance(layer, Conv2d)
    assert isinstance(following, MaxPool2d)
    return layer.pooled_with(following.window, x, activation) if isinstance(x, Tensor) else None


def _takes_residual(layer: Layer) -> bool:
    """Whether the layer adds a residual along with its own work. Not where somebody looks at what it gives."""
    return type(layer).forward is BatchNorm2d.forward and not layer.has_hooks and current_calls.get() is None
