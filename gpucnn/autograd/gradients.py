"""Gradients of some tensors with respect to others, as values: nothing is added to anybody's `grad`."""

import functools
from collections.abc import Sequence
from typing import Any

from gpucnn.autograd.tape import run_backward
from gpucnn.autograd.tensor import Tensor, refuse_higher_order
from gpucnn.backend import Array, beside
from gpucnn.checks import as_flag
from gpucnn.errors import ArgumentError, GradientError
from gpucnn.text import shape_text, value_text


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of `outputs` with respect to each of `inputs`: tensors without history, in a tuple.

    - `outputs`, `inputs`: a tensor or several. Inputs may be leaves, or what operations made.
    - `grad_outputs`: the gradients of the outputs, one each; None for outputs of a single element, where it is 1.
    - `retain_graph`: keep the tape for another backward pass. `allow_unused`: None for inputs that the outputs do not depend on.

    Raises GradientError where an input has no gradient, or the outputs do not depend on it, and for `create_graph`: gradients
    have no gradients here. ArgumentError for what are no tensors, ShapeError for gradients that do not fit.
    """
    refuse_higher_order("autograd.grad", create_graph)
    outputs, inputs = _tensors("outputs", outputs), _tensors("inputs", inputs)
    seeds = [None] * len(outputs) if grad_outputs is None else _items(grad_outputs)
    if len(seeds) != len(outputs):
        raise ArgumentError(f"autograd.grad: expected {len(outputs)} grad_outputs, one an output, got {len(seeds)}")
    allow_unused = as_flag(allow_unused, "autograd.grad: allow_unused")
    found = gradients_of(outputs, inputs, seeds, as_flag(retain_graph, "autograd.grad: retain_graph"))
    for position, (tensor, gradient) in enumerate(zip(inputs, found, strict=True)):
        if gradient is None and not allow_unused:
            raise GradientError(
                f"autograd.grad: the outputs do not depend on input {position}, a tensor {shape_text(tensor.shape)}; leave it "
                f"out, or give allow_unused=True, which has None for it"
            )
    return tuple(None if one is None else _copied(one) for one in found)


def gradients_of(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], seeds: Sequence[Any], keep: bool = False
) -> list[Array | None]:
    """The gradient array of each input, which others may have, too; None for those that the outputs do not depend on."""
    leaves: dict[Tensor, Array | None] = {}
    made: dict[Tensor, Array] = {}
    hooks = []
    for position, tensor in enumerate(inputs):
        if not tensor.requires_grad:
            raise GradientError(
                f"autograd.grad: input {position} has no gradient; compute the outputs from it with requires_grad=True"
            )
        if tensor.node is None:
            leaves[tensor] = None
        else:
            hooks.append(tensor.register_hook(functools.partial(made.__setitem__, tensor)))
    starts: dict[Any, Array] = {}
    for output, seed in zip(outputs, seeds, strict=True):
        node, gradient = output.start_node(), output.start_gradient(seed)
        starts[node] = starts[node] + gradient if node in starts else gradient
    try:
        run_backward(starts, keep, leaves)
    finally:
        for hook in hooks:
            hook.remove()
    return [(leaves if tensor.node is None else made).get(tensor) for tensor in inputs]


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _tensors(name: str, value: Any) -> list[Tensor]:
    found = _items(value)
    for one in found:
        if not isinstance(one, Tensor):
            raise ArgumentError(f"autograd.grad: {name} must be a tensor or several, got {value_text(one)}")
    return found


def _copied(gradient: Array) -> Tensor:
    with beside(gradient):
        return Tensor(gradient.copy())
