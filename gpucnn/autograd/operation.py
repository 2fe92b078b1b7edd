"""What every public function on tensors has in common."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from gpucnn.autograd.placement import on_their_device
from gpucnn.backend import cuda, memory

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def operation(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, computed on the device of its arrays; OutOfMemoryError, which names it, where memory does not suffice."""
    placed = on_their_device(function)

    @functools.wraps(function)
    def called(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            return function(*args, **options) if cuda.loaded() is None else placed(*args, **options)
        except MemoryError as error:
            raise memory.named(function.__name__, error) from error.__cause__ or error

    return called
