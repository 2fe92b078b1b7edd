"""Dropout, with masks that every device draws alike."""

from gpucnn.autograd import Operand, Tensor, as_tensor, check_float, record
from gpucnn.backend import device_of, random_words, to_device
from gpucnn.checks import as_number


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
    words = random_words(seed, purpose, counter, count=x.size).reshape(x.shape)
    kept = to_device(words >= round(p * (1 << 32)), device_of(x.data))
    factors = kept.astype(x.dtype)
    factors *= 1 / (1 - p)
    return record("dropout", x.data * factors, (x,), lambda gradient: (gradient * factors,))
