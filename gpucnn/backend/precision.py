"""Precision: in how many bits a thread multiplies, and keeps what lies between a network's images and its loss."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from gpucnn.errors import ArgumentError
from gpucnn.text import value_text

PRECISIONS = ("float32", "tf32", "bf16")


class _Here(threading.local):
    precision = "float32"


_here = _Here()


def precision(name: str) -> AbstractContextManager[None]:
    """`with precision(name)`: inside, this thread computes with float32 arrays as `name` says.

        float32     as it is: the default
        tf32        what convolutions, linear layers and `F.matmul` multiply is rounded to 10 bits of mantissa
        bf16        it is rounded to bfloat16, of 7 bits, and so is all that is made of such products, and its gradients

    Sums are float32 in each, as are parameters with their gradients, statistics, softmax and losses; arrays of other dtypes are
    computed as always. GPUs since Ampere multiply faster by far in both, on tensor cores; older ones in float32, what was rounded
    before: bf16 is the same there, but no faster, and so it is on a CPU. Raises ArgumentError for another name.
    """
    return _precise(as_precision(name))


@contextmanager
def _precise(name: str) -> Iterator[None]:
    before, _here.precision = _here.precision, name
    try:
        yield
    finally:
        _here.precision = before


def as_precision(name: str) -> str:
    """`name`, if it is one of `PRECISIONS`. Raises ArgumentError else."""
    if not isinstance(name, str) or name not in PRECISIONS:
        raise ArgumentError(f'precision must be "float32", "tf32" or "bf16", got {value_text(name)}')
    return name


def chosen_precision() -> str:
    """The `precision` of this thread."""
    return _here.precision
