"""Operations are done on the GPU where their operands are, whichever is current."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from gpucnn.autograd.tensor import Tensor
from gpucnn.backend import Array, beside, cuda

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def on_their_device(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """`function`, computed on the device of the tensors, or arrays, that it is given, alone or in lists."""

    @functools.wraps(function)
    def computed_there(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        if cuda.loaded() is None:
            return function(*arguments, **options)
        array = _deciding_array([*arguments, *options.values()])
        if array is None:
            return function(*arguments, **options)
        with beside(array):
            return function(*arguments, **options)

    return computed_there


def _deciding_array(values: Iterable[Any]) -> Array | None:
    """The array whose device the others come to (see `as_operands`): of the first tensor that needs a gradient, or else the
    first tensor's, or else the first one of CuPy's.
    """
    found: list[Any] = []
    _collect(values, found)
    tensors = [value for value in found if isinstance(value, Tensor)]
    if tensors:
        return next((tensor for tensor in tensors if tensor.requires_grad), tensors[0]).data
    return found[0] if found else None


def _collect(values: Iterable[Any], found: list[Any]) -> None:
    array = getattr(cuda.loaded(), "ndarray", np.ndarray)
    for value in values:
        if isinstance(value, Tensor | array):
            found.append(value)
        elif isinstance(value, list | tuple):
            _collect(value, found)
