"""Dropout, with masks that every device draws alike."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_float_tensor, as_tensor, check_float, operation, record
from gpucnn.backend import Array, fed, random_stream
from gpucnn.checks import Shape, as_flag, as_number
from gpucnn.errors import ShapeError
from gpucnn.kernels.dropout import dropout as drop
from gpucnn.kernels.dropout import dropout_factors
from gpucnn.text import shape_text

Counter: TypeAlias = int | Callable[[], int]
"""A number, or a function that gives it: in a step that is recorded, anew before each replay."""


_part: ContextVar[tuple[int, int] | None] = ContextVar("part of a batch", default=None)


@contextmanager
def part_of_batch(first: int, images: int) -> Iterator[None]:
    """Inside, what passes through a model are the `images` from number `first` on of a larger batch: masks are parts of its masks."""
    token = _part.set((first, images))
    try:
        yield
    finally:
        _part.reset(token)


@operation
def dropout(
    x: Operand, p: float = 0.5, training: bool = True, *, seed: int = 0, purpose: str = "dropout", counter: Counter = 0
) -> Tensor:
    """Set each element to zero with probability `p` and scale the others by 1 / (1 - p); nothing if not `training`.

    The mask is a function of (`seed`, `purpose`, `counter`) alone: element i is dropped if the i-th 32-bit word of that
    Philox stream is below p * 2^32. Count `counter` up to draw anew; a function that gives it is called once, and, where a
    step is recorded, before each replay. Raises ArgumentError unless 0 <= p < 1.
    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
    """
    p = as_number(p, "dropout: p, the share of elements to drop,", below=1)
    x = as_float_tensor("dropout", x)
    if not as_flag(training, "dropout: training") or p == 0:
        return x

    stream = _stream(x, x.size, seed, purpose, counter)
    return record("dropout", drop(x.array, p, stream), (x,), lambda gradient: (drop(gradient, p, stream),))


@operation
def dropout2d(
    x: Operand, p: float = 0.5, training: bool = True, *, seed: int = 0, purpose: str = "dropout", counter: Counter = 0
) -> Tensor:
    """Dropout of whole channels: of input (N, C, ...) each (sample, channel) is kept or set to zero as one.

    The mask is that of `dropout` for an array (N, C), with the same arguments. Raises ArgumentError unless 0 <= p < 1,
    ShapeError for input without channels. Source: Tompson et al., "Efficient object localization using convolutional
    networks", CVPR 2015.
    """
    p = as_number(p, "dropout2d: p, the share of channels to drop,", below=1)
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"dropout2d: expected input (N, C, ...), got {shape_text(x.shape)}")
    p = p if as_flag(training, "dropout2d: training") else 0
    return _drop_as_one("dropout2d", x, x.shape[:2], p, seed, purpose, counter)


@operation
def stochastic_depth(
    x: Operand, p: float = 0.5, training: bool = True, *, seed: int = 0, purpose: str = "dropout", counter: Counter = 0
) -> Tensor:
    """Dropout of whole samples: of input (N, ...) each sample is kept, and scaled by 1 / (1 - p), or set to zero as one.

    The mask is that of `dropout` for an array (N,), with the same arguments. For a residual branch, which is so skipped
    for some of the samples; torchvision.ops has it under this name, with mode "row". Raises ArgumentError unless
    0 <= p < 1, ShapeError for a scalar. Source: Huang et al., "Deep networks with stochastic depth", ECCV 2016.
    """
    p = as_number(p, "stochastic_depth: p, the share of samples to drop,", below=1)
    x = as_tensor(x)
    if x.ndim < 1:
        raise ShapeError("stochastic_depth: expected input (N, ...), got ()")
    p = p if as_flag(training, "stochastic_depth: training") else 0
    return _drop_as_one("stochastic_depth", x, x.shape[:1], p, seed, purpose, counter)


def _drop_as_one(name: str, x: Tensor, leading: Shape, p: float, seed: int, purpose: str, counter: Counter) -> Tensor:
    """Dropout with one draw for all elements that share their place on the first axes, of the sizes `leading`."""
    check_float(name, x)
    if p == 0:
        return x
    factors = dropout_factors(x.array, leading, p, _stream(x, math.prod(leading), seed, purpose, counter))
    factors = factors.reshape(*leading, *[1] * (x.ndim - len(leading)))
    return record(name, x.array * factors, (x,), lambda gradient: (gradient * factors,))


def _stream(x: Tensor, words: int, seed: int, purpose: str, counter: Counter) -> Array:
    """Where the `words` of a mask start, on the device of `x`, for the way there and back."""

    def start() -> np.ndarray:
        first, images = _part.get() or (0, 1)
        each, rest = divmod(words, images)  # with a rest x has no axis of images, and all parts have one mask
        skip = 0 if rest else first * each
        return random_stream(seed, purpose, counter() if callable(counter) else counter, skip=skip)

    return fed(start, x.device)
