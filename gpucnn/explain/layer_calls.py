"""What the layers of a model make of images: one forward pass in evaluation mode, after which the model is as it was."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from gpucnn.autograd import Tensor
from gpucnn.errors import ArgumentError
from gpucnn.layers import Layer
from gpucnn.text import shape_text


class NotedCall(NamedTuple):
    """One call of a layer."""

    layer: Layer
    inputs: tuple[Tensor, ...]
    output: Tensor


@contextmanager
def noting_layers(layers: Iterable[Layer]) -> Iterator[list[NotedCall]]:
    """A list that fills with the calls of these layers as they end: of layers that stand within others, those first."""
    calls: list[NotedCall] = []

    def note(layer: Layer, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append(NotedCall(layer, inputs, output))

    each = {id(layer): layer for layer in layers}.values()
    handles = [layer.register_forward_hook(note) for layer in each]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def innermost(model: Layer) -> list[Layer]:
    """The layers of `model` that have no others within; itself, if need be."""
    return [layer for _, layer in model.named_layers() if len([*layer._layers("")]) == 1]


def is_map(output: Any) -> bool:
    """Whether it has feature maps (N, C, H, W) larger than 1x1; layers within may give tuples, too."""
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:] != (1, 1)


def maps_of(owner: str, layer: Layer, calls: Sequence[NotedCall]) -> Tensor:
    """What came out of the last of the `calls`, those of `layer`; ArgumentError, which names `owner`, for no feature maps."""
    if not calls:
        raise ArgumentError(f"{owner}: {layer.label} is not called by the model in evaluation mode; give another layer")
    output: Any = calls[-1].output
    if not isinstance(output, Tensor) or output.ndim != 4:
        what = shape_text(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ArgumentError(
            f"{owner}: {layer.label} gives {what}, and no feature maps (N, C, H, W); give an earlier layer"
        )
    return output
