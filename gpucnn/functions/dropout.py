"""Dropout, with masks that every device draws alike."""

from gpucnn.autograd import Operand, Tensor, as_tensor, check_float, record
from gpucnn.backend import Array
from gpucnn.checks import as_number
from gpucnn.kernels.dropout import dropout as drop


def dropout(
    x: Operand, p: float = 0.5, training: bool = True, *, seed: int = 0, purpose: str = "dropout", counter: int = 0
) -> Tensor:
    """Set each element to zero with probability `p` and scale the others by 1 / (1 - p); nothing if not `training`.

    The mask is a function of (`seed`, `purpose`, `counter`) alone: element i is dropped if the i-th 32-bit word of that
    Philox stream is below p * 2^32. Count `counter` up to draw anew. Raises ArgumentError unless 0 <= p < 1.
    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
    """
    p = as_number(p, "dropout: p, the share of elements to drop,", below=1)
    x = as_tensor(x)
    check_float("dropout", x)
    if not training or p == 0:
        return x

    def backward(gradient: Array) -> tuple[Array]:
        return (drop(gradient, p, seed, purpose, counter),)

    return record("dropout", drop(x.data, p, seed, purpose, counter), (x,), backward)
