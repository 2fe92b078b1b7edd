"""How many threads NumPy's matrix products use."""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, NumPy's matrix products stay on the thread that asks for them; afterwards they are as before.

    A BLAS of two threads keeps the second one spinning for some milliseconds after a product, at the cost of whatever
    else would run. The number is one for the whole process: of threads that are inside at the same time, the first one
    sets it and the last one puts it back. Without threadpoolctl nothing is changed.
    """
    limit = _limit
    limit.enter()
    try:
        yield
    finally:
        limit.leave()


class _Limit:
    """One thread for BLAS as long as anybody is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[int] = []

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = [library.get_num_threads() for library in _libraries()]
                for library in _libraries():
                    library.set_num_threads(1)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._put_back()

    def end_in_child(self) -> None:
        """In a forked child, where the threads that may have been inside, or held the lock, are gone."""
        self._lock = threading.Lock()
        if self._inside:
            self._put_back()

    def _put_back(self) -> None:
        for library, threads in zip(_libraries(), self._before, strict=True):
            library.set_num_threads(threads)


@functools.cache
def _libraries() -> list[Any]:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return []
    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


_limit = _Limit()


def _begin_anew() -> None:
    """In a forked child."""
    global _limit
    _limit.end_in_child()
    _limit = _Limit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
