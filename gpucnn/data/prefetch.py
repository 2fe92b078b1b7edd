"""What threads make ahead of who consumes it."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from gpucnn.backend.threads import one_thread

Product = TypeVar("Product")

THREAD_NAME = "gpucnn loader"
AHEAD = 2
"""How many products a worker may be ahead: while one is fetched, the next is made."""


def prefetch(make: Callable[[int], Product], numbers: Iterable[int], workers: int) -> Iterator[Product]:
    """make(number) of one number after the other, made by so many threads, at most `AHEAD` a worker in advance.

    `make` runs in the context of the consumer, e.g. under its `numpy.errstate`. What it raises is raised here, in its
    turn and with its traceback. When the iterator ends, is closed or fails, it waits until all its threads have ended.
    """

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
        executor.shutdown(cancel_futures=True)
