"""The BLAS of NumPy's matrix products: on how many threads, and with which warnings.

threadpoolctl finds the libraries; their numbers are set here, by the libraries' own functions: threadpoolctl 3.8 obeys
only the thread that set a limit first, and in any other does nothing, without a word.
"""

import ctypes
import functools
import os
import threading
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

_FUNCTIONS = {
    "openblas": [
        (f"{prefix}openblas_get_num_threads{suffix}", f"{prefix}openblas_set_num_threads{suffix}")
        for prefix in ("", "scipy_")
        for suffix in ("", "64_", "_64")
    ],
    "openmp": [("omp_get_max_threads", "omp_set_num_threads")],
    "mkl": [("MKL_Get_Max_Threads", "MKL_Set_Num_Threads")],
    "blis": [("bli_thread_get_num_threads", "bli_thread_set_num_threads")],
    "flexiblas": [("flexiblas_get_num_threads", "flexiblas_set_num_threads")],
}
"""The functions that read and set the number of threads, by threadpoolctl's name of the library."""


def one_blas_thread() -> AbstractContextManager[None]:
    """Inside, NumPy's matrix products stay on the thread that asks for them; afterwards they are as before.

    A BLAS of two threads keeps the second one spinning for some milliseconds after a product, at the cost of whatever
    else would run. Where the number is one for the whole process, the first thread that is inside sets it and the last
    one puts it back; where each thread has its own, each does so for itself. A number that somebody else sets meanwhile
    stays. Without threadpoolctl, or with a library that has no such number (Apple's Accelerate), nothing is changed.
    """
    return _limit


@functools.cache
def has_false_alarms() -> bool:
    """Whether NumPy's products warn of what did not happen: Accelerate leaves flags of exceptions behind."""
    return blas_name() == "accelerate"


@functools.cache
def blas_name() -> str:
    """The BLAS that NumPy was built for, in lower case, e.g. "scipy-openblas"; "" if it does not tell."""
    try:
        configuration: Any = np.show_config(mode="dicts")
        return str(configuration["Build Dependencies"]["blas"]["name"]).lower()
    except (KeyError, TypeError):
        return ""


class _Library:
    """A BLAS of this process, by two of its functions, which are too short to let other threads of Python run meanwhile."""

    def __init__(self, get: Any, set: Any) -> None:
        self.get_num_threads, self.set_num_threads = get, set


class _Here(threading.local):
    """What a thread knows of itself."""

    def __init__(self) -> None:
        self.depth = 0
        self.before: dict[_Library, int] = {}


class _Limit(AbstractContextManager[None]):
    """One thread for BLAS as long as anybody is inside."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._here = _Here()
        self._inside = 0
        self._before: dict[_Library, int] = {}

    def __enter__(self) -> None:
        here = self._here
        if here.depth == 0:
            with self.lock:
                for library in _libraries():
                    threads = library.get_num_threads()
                    if threads > 1:
                        shared = _is_shared[library] if library in _is_shared else _find_out_if_shared(library)
                        library.set_num_threads(1)
                        (self._before if shared else here.before)[library] = threads
                self._inside += 1
        here.depth += 1

    def __exit__(self, *_: object) -> None:
        here = self._here
        here.depth -= 1
        if here.depth == 0:
            with self.lock:
                self._inside -= 1
                _put_back(here.before)
                if self._inside == 0:
                    _put_back(self._before)

    def end_in_child(self) -> None:
        """In a forked child, which has none of the threads that were inside but the one that forked."""
        _put_back(self._here.before)
        _put_back(self._before)


def _find_out_if_shared(library: _Library) -> bool:
    """Whether the number of threads, which is above one, goes for the whole process.

    A second thread sets it to one: if this thread then has one, too, they share the number.
    """
    try:
        second = threading.Thread(target=library.set_num_threads, args=(1,), daemon=True)
        second.start()
        second.join()
    except RuntimeError:  # no more threads: the interpreter is about to end
        return True
    _is_shared[library] = library.get_num_threads() == 1
    return _is_shared[library]


def _put_back(numbers: dict[_Library, int]) -> None:
    for library, threads in numbers.items():
        if library.get_num_threads() == 1:
            library.set_num_threads(threads)
    numbers.clear()


@functools.cache
def _libraries() -> list[_Library]:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    found = [_functions_of(information) for information in threadpool_info() if information["user_api"] == "blas"]
    return [library for library in found if library is not None]


def _functions_of(information: dict[str, Any]) -> _Library | None:
    """The library that threadpoolctl describes so; None if it has no functions that are known here."""
    by_openmp = information["internal_api"] == "openblas" and information.get("threading_layer") == "openmp"
    names = _FUNCTIONS.get("openmp" if by_openmp else information["internal_api"], [])
    try:
        library = ctypes.PyDLL(information["filepath"], getattr(os, "RTLD_NOLOAD", ctypes.DEFAULT_MODE))
    except OSError:
        return None
    for get, set in names:
        if hasattr(library, get) and hasattr(library, set):
            return _Library(getattr(library, get), getattr(library, set))
    return None


_is_shared: dict[_Library, bool] = {}
_limit = _Limit()


def _new_limit_in_child() -> None:
    """In a forked child."""
    global _limit
    ended, _limit = _limit, _Limit()
    ended.end_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _limit.lock.acquire(),  # a child would never see the end of what is half-way through then
        after_in_parent=lambda: _limit.lock.release(),
        after_in_child=_new_limit_in_child,
    )
