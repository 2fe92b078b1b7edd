"""What every operation of a model costs, in arithmetic and in memory."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.autograd.saved import operations, saved_bytes
from gpucnn.autograd.tape import Node
from gpucnn.backend.host_memory import unpooled
from gpucnn.backend.threads import one_thread
from gpucnn.checks import Shape
from gpucnn.layers.parameter import Parameter
from gpucnn.layers.trace import Trace

BATCHES = (2, 3)
"""Two small batches, of which the difference is one image. Not 1: batch norm cannot learn from a single value."""


class Counted(Protocol):
    """What is looked at of a layer; `Layer` itself knows its costs, and so comes later."""

    @property
    def label(self) -> str:
        """How messages name it."""

    def __call__(self, *inputs: Any, **options: Any) -> Tensor: ...

    def train(self, mode: bool = True) -> Self: ...

    def parameters(self) -> Iterator[Parameter]: ...

    def named_buffers(self) -> Iterator[tuple[str, Parameter]]: ...

    def named_layers(self) -> Iterator[tuple[str, Any]]: ...

    def trace(self, *input_shapes: Shape) -> Trace: ...


Model = TypeVar("Model", bound=Counted)


class Cost(NamedTuple):
    """One call of an innermost layer, or of a function by the layer around; for one image."""

    path: str
    """The layer's path, or its class if it is the model itself."""
    kind: str
    """The layer's class, or the function's name."""
    output_shape: Shape
    parameters: int
    """Those that no earlier operation has used."""
    multiply_adds: int
    activation_bytes: int
    """Of the arrays that are kept for the backward pass on its account; what an earlier one keeps is not counted again."""
    im2col_bytes: int
    """What the columns of a convolution would take if they were made at once, and not tile by tile."""


def costs(create: Callable[[], Counted], input_shape: Shape) -> list[Cost]:
    """The costs of all operations of a model for an image of `input_shape` (C, H, W), in their order, on the CPU.

    `create` makes the model, a new one at every call: it runs in training mode on a few images, and what its tape then
    holds is counted, parameters and images excluded. Raises ShapeError if the images do not fit the model.
    """
    model = zero_model(create)
    layers = {layer.path: layer for _, layer in model.named_layers()}
    _, fewer = _saved(model, input_shape, BATCHES[0])
    nodes, more = _saved(model, input_shape, BATCHES[1])
    remaining = [(node, size - before) for node, size, before in zip(nodes, more, fewer, strict=True)]
    counted: set[int] = set()
    rows: list[Cost] = []
    for call in model.trace((1, *input_shape)).calls:
        layer, saved = layers[call.path], 0
        if any(node.owner == layer.label for node, _ in remaining):
            while remaining[0][0].owner != layer.label:
                rows.append(_function_cost(*remaining.pop(0), counted))
            while remaining and remaining[0][0].owner == layer.label:
                saved += remaining.pop(0)[1]
        parameters = _new_parameters(layer.parameters(), counted)
        columns = layer.im2col_bytes((1, *call.input_shape[1:]))
        path = call.path or layer.label
        rows.append(Cost(path, call.kind, call.output_shape, parameters, call.multiply_adds, saved, columns))
    return rows + [_function_cost(node, size, counted) for node, size in remaining]


@contextmanager
def plainly_allocated() -> Iterator[None]:
    """Inside, one thread computes, and each array has memory of its own: who counts allocations counts arrays."""
    with one_thread(), unpooled():
        yield


def zero_model(create: Callable[[], Model]) -> Model:
    """A model that `create` makes, in training mode, all parameters zeros: they cost no draws, and no memory until written to."""
    model = create().train()
    for parameter in model.parameters():
        parameter.data = np.zeros(parameter.shape, parameter.dtype)
    return model


def zero_images(model: Counted, batch: int, input_shape: Shape) -> np.ndarray:
    """`batch` images of `input_shape` (C, H, W), all zeros, in the model's dtype."""
    return np.zeros((batch, *input_shape), next((one.dtype for one in model.parameters()), np.dtype(np.float32)))


def _saved(model: Counted, input_shape: Shape, batch: int) -> tuple[list[Node], list[int]]:
    """The operations of a forward pass, and the bytes that each keeps alive."""
    images = zero_images(model, batch, input_shape)
    with np.errstate(all="ignore"), plainly_allocated():  # zeros may be divided by zeros
        nodes = operations(model(Tensor(images)))
    known = [
        images,
        *(parameter.array for parameter in model.parameters()),
        *(one.array for _, one in model.named_buffers()),
    ]
    return nodes, saved_bytes(nodes, known)


def _function_cost(node: Node, saved: int, counted: set[int]) -> Cost:
    leaves = [source.backward for source in node.inputs if source is not None and not source.inputs]
    parameters = [getattr(leaf, "__self__", None) for leaf in leaves]
    count = _new_parameters([one for one in parameters if isinstance(one, Parameter)], counted)
    return Cost(node.owner.partition(" (")[0], node.name, (1, *node.shape[1:]), count, 0, saved, 0)


def _new_parameters(parameters: Iterable[Parameter], counted: set[int]) -> int:
    """How many numbers are in those parameters that were not `counted` before; now they are."""
    fresh = {id(one): one.size for one in parameters if id(one) not in counted}
    counted.update(fresh)
    return sum(fresh.values())
