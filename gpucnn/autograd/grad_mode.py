"""Whether operations are recorded for the backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_enabled = ContextVar("grad_enabled", default=True)


def grad_enabled() -> bool:
    """Whether operations of this thread are recorded now."""
    return _enabled.get()


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside `with no_grad():` (or a function decorated with it) nothing is recorded: less memory, no `backward`."""
    with _set(False):
        yield


@contextmanager
def enable_grad() -> Iterator[None]:
    """Inside, operations are recorded, even where it stands within `no_grad`."""
    with _set(True):
        yield


@contextmanager
def _set(enabled: bool) -> Iterator[None]:
    token = _enabled.set(enabled)
    try:
        yield
    finally:
        _enabled.reset(token)
