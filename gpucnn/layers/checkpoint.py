"""Activation checkpointing: less memory for one more forward pass."""

from contextlib import nullcontext
from typing import Any

from gpucnn.autograd import Tensor, enable_grad, grad_enabled, gradients_of, no_grad, record
from gpucnn.backend import Array, chosen_precision, precision
from gpucnn.errors import ArgumentError
from gpucnn.layers.forward_state import ForwardState
from gpucnn.layers.layer import Layer
from gpucnn.layers.trace import current_calls
from gpucnn.layers.undeclared import telling_of_undeclared_state
from gpucnn.text import value_text


class Checkpoint(Layer):
    """A layer that keeps only its input for the backward pass, and computes the block anew there.

    - `block`: any layer of one or more inputs. Its path is "block".

    Values and gradients are those of the block alone, bit for bit: the second pass draws the same dropout masks and leaves
    running statistics, `calls` and any other `forward_state` as they are. Forward hooks within are called in both passes.
    What needs a gradient must be an input, or a parameter of the block: to what a function or hook within has from elsewhere
    the gradient may not lead.
    Raises ArgumentError if `block` is not a layer.
    Source: Chen et al., "Training deep nets with sublinear memory cost", arXiv:1604.06174.
    """

    _looked_at_state = False

    def __init__(self, block: Layer) -> None:
        if not isinstance(block, Layer):
            raise ArgumentError(
                f"Checkpoint: block must be a layer, got {value_text(block)}; wrap several in layers.Sequential"
            )
        self.block = block

    def forward(self, *inputs: Any) -> Tensor:
        """The block's output."""
        if not grad_enabled() or current_calls.get() is not None:
            return self.block(*inputs)
        before = ForwardState(self.block)
        with no_grad(), nullcontext() if self._looked_at_state else telling_of_undeclared_state(self.block):
            output = self.block(*inputs)
        object.__setattr__(self, "_looked_at_state", True)
        needed, parameters = [x.requires_grad for x in inputs], list(self.block.parameters())
        rounded, name = [x.is_bf16 for x in inputs], chosen_precision()
        # All that the second pass needs as it was: the tape sees to that.
        arrays = [x.array for x in (*inputs, *parameters)]

        def backward(gradient: Array) -> tuple[Array | None, ...]:
            leaves = [Tensor(array, need) for array, need in zip(arrays, needed, strict=False)]
            for leaf, is_bf16 in zip(leaves, rounded, strict=True):
                leaf.is_bf16 = is_bf16
            now = ForwardState(self.block)
            try:
                before.restore()
                with enable_grad(), precision(name):
                    again = self.block(*leaves)
                learning = [one for one in (*leaves, *parameters) if one.requires_grad] if again.requires_grad else []
                found = (
                    dict(zip(learning, gradients_of([again], learning, [gradient]), strict=True)) if learning else {}
                )
            finally:
                now.restore()
            return tuple(found.get(one) for one in (*leaves, *parameters))

        return record("checkpoint", output.array, (*inputs, *parameters), backward, is_bf16=output.is_bf16)
