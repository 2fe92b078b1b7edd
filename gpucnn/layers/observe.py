"""Looking at what comes out of the layers while a model computes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

from gpucnn.autograd import Tensor

if TYPE_CHECKING:
    from gpucnn.layers.layer import Layer

Observer: TypeAlias = "Callable[[Layer, Tensor], None]"

current_observers: ContextVar[tuple[Observer, ...]] = ContextVar("current_observers", default=())
"""Who is told of every innermost layer's output; nobody unless `observe` is at work."""


@contextmanager
def observe(callback: Observer) -> Iterator[None]:
    """Inside, `callback(layer, output)` is called after every forward pass of an innermost layer, in this thread.

    Innermost are the layers that know their shape: convolutions, pooling, and so on, but no container or model of them.
    `output` is the tensor itself, on its device. Where `observe` is nested, the outer callback is called first.
    """
    token = current_observers.set((*current_observers.get(), callback))
    try:
        yield
    finally:
        current_observers.reset(token)


@contextmanager
def unobserved() -> Iterator[None]:
    """Inside, no observer of this thread is told of anything: for a pass that only repeats one they were told of."""
    token = current_observers.set(())
    try:
        yield
    finally:
        current_observers.reset(token)
