"""One pool of threads, for loops that leave Python's lock.

How many work changes no result: a loop is cut into parts by its sizes alone, and parts share nothing.
"""

import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gpucnn.backend.blas import one_blas_thread
from gpucnn.errors import ArgumentError

VARIABLE = "GPUCNN_NUM_THREADS"

MOST_PARTS = 8
LEAST_WORK = 1 << 19
"""Multiply-adds in a part: with fewer it is done before another thread has heard of it."""
ELEMENT = 8
"""The multiply-adds that take as long as a pass over one element."""


def thread_count() -> int:
    """How many threads may work: $GPUCNN_NUM_THREADS, or the processor's cores that this process may use.

    Raises ArgumentError if the variable is no count.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentError(f"{VARIABLE} must be an int >= 1, got {text!r}; unset it to use every core")
    return int(text)


def parallel(task: Callable[[int], object], count: int) -> None:
    """task(0), task(1), ... task(count - 1), by this thread and those of the pool; returns when all are done.

    What a task raises is raised here, the first of them; the other tasks that have begun are finished. A task that calls
    `parallel` itself, and a second thread that calls it at the same time, get their loops done without the pool.
    """
    with one_blas_thread():
        _divide(task, count)


def _divide(task: Callable[[int], object], count: int) -> None:
    if count > 1 and not getattr(_here, "working", False) and _pool.lock.acquire(blocking=False):
        try:
            helpers = _pool.workers(min(thread_count(), count) - 1)
            if helpers:
                _share(task, count, helpers)
                return
        finally:
            _pool.lock.release()
    for number in range(count):
        task(number)


def cut(count: int, work: int, most: int = MOST_PARTS) -> list[slice]:
    """`count` items, each of so much `work`, cut into parts of about equal size: one of them where there is little to do.

    Neither the machine nor its threads matter, so that sums over parts are always the same.
    """
    number = max(1, min(most, count, count * work // LEAST_WORK))
    return [slice(part * count // number, (part + 1) * count // number) for part in range(number)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, `parallel` leaves the pool alone: what this thread does is all that is done."""
    before, _here.working = getattr(_here, "working", False), True
    try:
        yield
    finally:
        _here.working = before


class _Job:
    """A loop whose numbers are handed out one by one."""

    def __init__(self, task: Callable[[int], object], count: int) -> None:
        self.task, self.count = task, count
        self.numbers = itertools.count()  # next() of it is atomic
        self.failures: list[BaseException] = []
        self.finished: queue.SimpleQueue[None] = queue.SimpleQueue()

    def work(self) -> None:
        _here.working = True
        try:
            while (number := next(self.numbers)) < self.count and not self.failures:
                self.task(number)
        except BaseException as error:
            self.failures.append(error)
        finally:
            _here.working = False


class _Worker:
    """A thread that waits for jobs."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="gpucnn worker", daemon=True).start()

    def _run(self) -> None:
        while True:
            job = self.jobs.get()
            job.work()
            job.finished.put(None)
            del job  # and with it the arrays that its task holds


class _Pool:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._workers: list[_Worker] = []

    def workers(self, count: int) -> list[_Worker]:
        while len(self._workers) < count:
            self._workers.append(_Worker())
        return self._workers[:count]


def _share(task: Callable[[int], object], count: int, helpers: list[_Worker]) -> None:
    job = _Job(task, count)
    for helper in helpers:
        helper.jobs.put(job)
    job.work()
    for _ in helpers:
        job.finished.get()
    if job.failures:
        raise job.failures[0]


_here = threading.local()
_pool = _Pool()


def _begin_anew() -> None:
    """In a forked child, where the threads are gone."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
