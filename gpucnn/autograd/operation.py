"""What every public function on tensors has in common."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from gpucnn.backend import memory

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def operation(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, which raises OutOfMemoryError with its own name where memory does not suffice."""

    @functools.wraps(function)
    def called(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            return function(*args, **options)
        except MemoryError as error:
            raise memory.named(function.__name__, error) from error.__cause__ or error

    return called
