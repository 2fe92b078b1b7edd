"""The tape: one `Node` per recorded operation, and the walk back over them.

A node knows the nodes that its inputs came from, not the inputs themselves, so an array lives on only where a backward
function needs it. Nodes are numbered as they are made; an operation is always younger than its inputs, so going back
from the youngest to the oldest is a topological order.
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TypeAlias

from gpucnn.backend import Array, beside, memory
from gpucnn.checks import Shape
from gpucnn.errors import GradientError
from gpucnn.kernels.elementwise.addition import add

BackwardFunction: TypeAlias = Callable[[Array], Sequence[Array | None]]
"""From the gradient of an operation's output to those of its inputs, in order; None for one that needs none."""

current_owner: ContextVar[str] = ContextVar("current_owner", default="")
"""The innermost layer that computes now, as messages name it; empty outside of layers."""

_numbers = itertools.count()
_backward = itertools.count(1)
_current_backward = 0


def backward_number() -> int:
    """The number of the backward pass that runs, or ran last: what belongs to one can so be told from another's."""
    return _current_backward


class Node:
    """One recorded operation, or a leaf: a node without inputs, whose backward function keeps the gradient."""

    __slots__ = ("backward", "inputs", "name", "number", "owner", "shape")

    def __init__(
        self, name: str, inputs: "Sequence[Node | None]", backward: BackwardFunction, shape: Shape = ()
    ) -> None:
        self.name = name
        self.owner = current_owner.get()
        """The layer that made it, as messages name it; empty if none did."""
        self.shape = shape
        """The output's."""
        self.number = next(_numbers)
        self.inputs = inputs
        self.backward: BackwardFunction | None = backward

    def release(self) -> None:
        """Let go of the saved arrays."""
        self.backward = None
        self.inputs = ()


def run_backward(start: Node, gradient: Array) -> None:
    """Carry `gradient` of what `start` made back to the leaves, and release every node on the way.

    Raises GradientError at a node that an earlier backward pass has released.
    """
    global _current_backward
    _current_backward = next(_backward)
    gradients: dict[Node, Array] = {start: gradient}
    queue = [(-start.number, start)]
    while queue:
        _, node = heapq.heappop(queue)
        if node.backward is None:
            raise GradientError(
                f"backward() reached {node.name}, whose saved arrays an earlier backward() has released; "
                f"run the forward pass again before each backward()"
            )
        try:
            with beside(gradients[node]):
                input_gradients = node.backward(gradients.pop(node))
        except Exception as error:
            failure: Exception = (
                memory.named(f"gradient of {node.name}", error) if isinstance(error, MemoryError) else error
            )
            if memory.is_out_of_memory(failure):
                failure.add_note(f"in the gradient of {node.owner or node.name}")
            if failure is error:
                raise
            raise failure from error
        for source, input_gradient in zip(node.inputs, input_gradients, strict=True):
            if source is None or input_gradient is None:
                continue
            if source in gradients:
                with beside(input_gradient):
                    gradients[source] = add(gradients[source], input_gradient)
            else:
                gradients[source] = input_gradient
                heapq.heappush(queue, (-source.number, source))
        node.release()
