"""Who asks is told of every call of a public function: what a forward pass computes, call by call."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, ParamSpec, TypeVar

from gpucnn.autograd.tape import current_owner

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class FunctionCall(NamedTuple):
    """One call of a public function, from outside of any other."""

    name: str
    arguments: dict[str, Any]
    """By name, in the function's order, defaults among them."""
    output: Any
    """A tensor; several in a list or tuple from the few functions that give them."""
    owner: str
    """The innermost layer that called it, as messages name it; empty outside of layers."""


calls_noted: "ContextVar[list[FunctionCall] | None]" = ContextVar("calls_noted", default=None)
"""Where calls are noted; None where nobody asks, and inside of a call that is noted as a whole."""


@contextmanager
def noting_calls() -> "Iterator[list[FunctionCall]]":
    """A list that fills with the calls of this thread, operators and methods among them, as they end.

    A function that another one calls is part of that, and not noted. Calls that raise an error are not, either.
    """
    calls: list[FunctionCall] = []
    token = calls_noted.set(calls)
    try:
        yield calls
    finally:
        calls_noted.reset(token)


def noted(function: Callable[..., Result], args: Sequence[Any], options: Mapping[str, Any]) -> Result:
    """What `function` gives, whose call is noted where somebody asked."""
    calls, token = calls_noted.get(), calls_noted.set(None)
    try:
        result = function(*args, **options)
    finally:
        calls_noted.reset(token)
    if calls is not None:
        bound = _signature(function).bind(*args, **options)
        bound.apply_defaults()
        calls.append(FunctionCall(function.__name__, dict(bound.arguments), result, current_owner.get()))
    return result


_signature = functools.cache(inspect.signature)
