"""How many threads NumPy's matrix products use."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, NumPy's matrix products stay on the thread that asks for them; afterwards they are as before.

    A BLAS of two threads keeps the second one spinning for some milliseconds after a product, at the cost of whatever
    else would run. Without threadpoolctl nothing is changed.
    """
    libraries = _libraries()
    before = [library.get_num_threads() for library in libraries]
    for library in libraries:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, threads in zip(libraries, before, strict=True):
            library.set_num_threads(threads)


@functools.cache
def _libraries() -> list[Any]:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return []
    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]
