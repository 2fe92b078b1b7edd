"""What threads make ahead of who consumes it."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from gpucnn.backend.threads import one_thread

Product = TypeVar("Product")

THREAD_NAME = "gpucnn loader"
AHEAD = 2
"""How many products a worker may be ahead: while one is fetched, the next is made."""


def prefetch(make: Callable[[int], Product], numbers: Iterable[int], workers: int) -> Generator[Product, None, None]:
    """make(number) of one number after the other, made by `workers` threads, at most `AHEAD` a worker in advance.

    Without workers each is made when it is asked for. `make` runs in the context of the consumer, e.g. under its
    `numpy.errstate`. What it raises is raised here, in its turn and with its traceback. When the iterator ends, is
    closed or fails, it waits until all its threads have ended.
    """
    return _by_threads(make, numbers, workers) if workers else (make(number) for number in numbers)


def _by_threads(make: Callable[[int], Product], numbers: Iterable[int], workers: int) -> Generator[Product, None, None]:
    def make_alone(number: int) -> Product:
        with one_thread():  # the pool is for who trains
            return make(number)

    waiting = iter(numbers)
    futures: deque[Future[Product]] = deque()
    executor = ThreadPoolExecutor(workers, THREAD_NAME)
    try:
        while True:
            for number in itertools.islice(waiting, workers * AHEAD - len(futures)):
                futures.append(executor.submit(copy_context().run, make_alone, number))
            if not futures:
                return
            yield futures.popleft().result()  # in no variable, so that the consumer alone holds it
    finally:
        # A garbage collection may close an iterator in one of its own threads, which cannot wait for itself.
        in_worker = threading.current_thread().name.startswith(THREAD_NAME)
        executor.shutdown(wait=not in_worker, cancel_futures=True)
