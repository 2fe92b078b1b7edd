"""Put an operation on the tape."""

from collections.abc import Sequence

from gpucnn.autograd.grad_mode import grad_enabled
from gpucnn.autograd.tape import BackwardFunction, Node
from gpucnn.autograd.tensor import Tensor
from gpucnn.backend import Array


def record(name: str, output: Array, inputs: Sequence[Tensor], backward: BackwardFunction) -> Tensor:
    """The tensor of an operation's `output`, on the tape if gradients are enabled and an input needs one.

    `backward` gets the gradient of `output` and returns one per input. It should hold no more arrays than it needs:
    they stay alive until the backward pass has used them.
    """
    result = Tensor(output)
    if grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        result.requires_grad = True
        result.node = Node(name, [tensor.origin() for tensor in inputs], backward, output.shape)
    return result
