"""Threads of one process as the processes of a group, so that few tests need MPI."""

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, NoReturn, TypeVar

import numpy as np

from gpucnn.backend import Array, overwrite, to_host

T = TypeVar("T")
PATIENCE = 600
"""Seconds after which ranks that all wait are told so; one that has ended is noticed at once, however slow the machine is."""


class Wires:
    """A queue from each rank to each other one; what it carries has the number of the call that sent it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.queues: list[list[SimpleQueue[Any]]] = [[SimpleQueue() for _ in range(size)] for _ in range(size)]
        self.early: list[list[dict[int, Any]]] = [[{} for _ in range(size)] for _ in range(size)]
        self.is_cut = threading.Event()
        self.ended: set[int] = set()

    def get(self, source: int, rank: int, number: int) -> Any:
        early = self.early[source][rank]
        while number not in early:
            came, value = self.next(source, rank)
            early[came] = value
        return early.pop(number)

    def next(self, source: int, rank: int) -> Any:
        for _ in range(PATIENCE * 20):
            has_ended = source in self.ended  # looked at before: what it has sent is then there
            try:
                return self.queues[source][rank].get(timeout=0.05)
            except Exception as error:
                if self.is_cut.is_set():
                    raise RuntimeError("another rank has failed") from error
                if has_ended:
                    break
        raise AssertionError(f"rank {rank} waited for rank {source} in vain")


class Transfers:
    def __init__(self, group: "ThreadGroup", received: Sequence[Array]) -> None:
        self.group, self.received, self.number = group, received, group.number

    def advance(self) -> None:
        pass

    def wait(self) -> None:
        for source, place in enumerate(self.received):
            if place.size:
                overwrite(place, self.group.wires.get(source, self.group.rank, self.number))


class ThreadGroup:
    """A rank. What it sends is copied at `exchange`, and the copy spoilt arrays are sent from shows who touches them early."""

    def __init__(self, wires: Wires, rank: int) -> None:
        self.wires, self.rank, self.size, self.number = wires, rank, wires.size, 0

    def exchange(self, sent: Sequence[Array], received: Sequence[Array]) -> Transfers:
        assert len(sent) == len(received) == self.size
        self.number += 1
        for target, array in enumerate(sent):
            assert array.flags.c_contiguous
            if array.size:
                self.wires.queues[self.rank][target].put((self.number, np.array(to_host(array))))
        for place in received:
            place[...] = 0  # what is used before it has come is wrong
        return Transfers(self, received)

    def gather(self, value: Any) -> list[Any]:
        self.number += 1
        for target in range(self.size):
            self.wires.queues[self.rank][target].put((self.number, copy.deepcopy(value)))
        return [self.wires.get(source, self.rank, self.number) for source in range(self.size)]

    def abort(self, status: int) -> NoReturn:
        self.wires.is_cut.set()
        raise SystemExit(status)


def on_ranks(size: int, work: Callable[[ThreadGroup], T]) -> list[T]:
    """What `work` gives on each rank of a group of `size`; what it raises first is raised here."""
    wires = Wires(size)

    def one(rank: int) -> T:
        try:
            return work(ThreadGroup(wires, rank))
        except BaseException:
            wires.is_cut.set()
            raise
        finally:
            wires.ended.add(rank)

    with ThreadPoolExecutor(size) as threads:
        futures = [threads.submit(copy_context().run, one, rank) for rank in range(size)]
    errors = [future.exception() for future in futures]
    for error in sorted((one for one in errors if one is not None), key=lambda one: "another rank" in str(one)):
        raise error
    return [future.result() for future in futures]
