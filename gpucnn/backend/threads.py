"""One pool of threads, for loops that leave Python's lock.

How many work changes no result: a loop is cut into parts by its sizes alone, and parts share nothing.
"""

import functools
import itertools
import os
import queue
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context

from gpucnn.backend.blas import one_blas_thread
from gpucnn.checks import LARGEST
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text

VARIABLE = "GPUCNN_NUM_THREADS"
SHARE_VARIABLE = "OMP_NUM_THREADS"

MOST_PARTS = 32
FEW_PARTS = 8
"""More than these only if each has LARGE_SHARE times the least work: so few threads get more of them, and parts cost something."""
LARGE_SHARE = 4
LEAST_WORK = 1 << 19
"""Multiply-adds in a part: with fewer it is done before another thread has heard of it. Measured by `gpucnn bench --operations`."""
ELEMENT = 8
"""The multiply-adds that take as long as a pass over one element."""


def thread_count() -> int:
    """How many threads may work: $GPUCNN_NUM_THREADS, or the processor's cores that this process may use.

    Of these no more than $OMP_NUM_THREADS, by which joblib, Slurm and others give each of several processes its share. Raises
    ArgumentError if the first variable is no count; of the second, which is not ours, only a count is heeded.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return min(_usable_cores(), _count(os.environ.get(SHARE_VARIABLE, "").partition(",")[0].strip()) or LARGEST)
    if (count := _count(text)) is None:
        raise ArgumentError(f"{VARIABLE} must be an int >= 1, got {value_text(text)}; unset it to use every core")
    return count


def _count(text: str) -> int | None:
    """A number of threads that is written as digits; None for anything else."""
    count = int(text) if text.isdecimal() and len(text) < 10 else 0
    return count or None


@functools.cache
def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel(task: Callable[[int], object], count: int) -> None:
    """task(0), task(1), ... task(count - 1), by this thread and those of the pool; returns when all are done.

    What a task raises is raised here, the first of them; the other tasks that have begun are finished. A task that calls
    `parallel` itself, and a second thread that calls it at the same time, get their loops done without the pool.
    """
    with one_blas_thread(), pool(min(thread_count(), count) - 1 if count > 1 else 0) as helpers:
        if helpers:
            _share(task, count, helpers)
        else:
            for number in range(count):
                task(number)


@contextmanager
def pool(size: int) -> "Iterator[list[Worker]]":
    """`size` workers for this thread alone; no workers if they are busy for another thread, or if this thread is one of them."""
    if size < 1 or getattr(_here, "working", False) or not _pool.lock.acquire(blocking=False):
        yield []
        return
    lent = _pool
    try:
        yield lent.workers(size)
    finally:
        lent.lock.release()


class Parts(tuple[slice, ...]):
    """The slices that a loop's items are cut into; compiled code reads their `bounds`, where each begins and where it ends."""

    bounds: "array[int]"
    stop: int
    """Below which all items are; -1 if a slice begins below 0, or ends before it begins."""

    def __new__(cls, slices: Iterable[slice]) -> "Parts":
        parts = super().__new__(cls, slices)
        parts.bounds = array("q", [end for part in parts for end in (part.start, part.stop)])
        forwards = all(0 <= part.start <= part.stop for part in parts)
        parts.stop = max((part.stop for part in parts), default=0) if forwards else -1
        return parts


@functools.lru_cache(4096)
def cut(count: int, work: int, most: int = MOST_PARTS, step: int = 1, few: int = FEW_PARTS) -> Parts:
    """`count` items of `work` multiply-adds each, cut into parts of about equal size: one of them where there is little to do.

    There are `most` at most, and more than `few` only where there is much to do. Parts begin at multiples of `step`.
    Neither the machine nor its threads matter, so that sums over parts are always the same.
    """
    steps, least = -(-count // step), count * work // LEAST_WORK
    number = max(1, min(most, steps, max(min(few, least), least // LARGE_SHARE)))
    bounds = [part * steps // number * step for part in range(number)]
    return Parts(map(slice, bounds, [*bounds[1:], count]))


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, `parallel` leaves the pool alone: what this thread does is all that is done."""
    before, _here.working = getattr(_here, "working", False), True
    try:
        yield
    finally:
        _here.working = before


class Worker:
    """A thread that waits for something to call."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="gpucnn worker", daemon=True).start()

    def start(self, call: Callable[[], None]) -> None:
        """Have `call`, which must raise nothing, done by the thread, after what was started before."""
        self._calls.put(call)

    def _run(self) -> None:
        _here.working = True
        while True:
            call = self._calls.get()
            call()
            del call  # and with it the arrays that it holds


class _Job:
    """A loop whose numbers are handed out one by one."""

    def __init__(self, task: Callable[[int], object], count: int) -> None:
        self.task, self.count = task, count
        self.numbers = itertools.count()  # next() of it is atomic
        self.failures: list[BaseException] = []
        self.finished: queue.SimpleQueue[None] = queue.SimpleQueue()

    def work(self) -> None:
        """Do one number after the other, until no number is left or one has failed."""
        try:
            while (number := next(self.numbers)) < self.count and not self.failures:
                self.task(number)
        except BaseException as error:
            self.failures.append(error)

    def help(self) -> None:
        """`work`, with a BLAS of one thread here too, and say so at the end."""
        with one_blas_thread():
            self.work()
        self.finished.put(None)


class _Pool:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._workers: list[Worker] = []

    def workers(self, count: int) -> list[Worker]:
        while len(self._workers) < count:
            self._workers.append(Worker())
        return self._workers[:count]


def _share(task: Callable[[int], object], count: int, helpers: list[Worker]) -> None:
    job = _Job(task, count)
    for tell in call_back_helpers:
        tell()
    for helper in helpers:
        helper.start(functools.partial(copy_context().run, job.help))  # under the caller's `numpy.errstate`, say
    with one_thread():
        job.work()
    for _ in helpers:
        job.finished.get()
    if job.failures:
        raise job.failures[0]


call_back_helpers: list[Callable[[], None]] = []
"""Who must be told that workers shall come back, if they wait for other work outside of Python."""

_here = threading.local()
_pool = _Pool()


def _forget_threads() -> None:
    """In a forked child, where the threads are gone."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
