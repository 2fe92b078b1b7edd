"""Processes that train one model together: what each can ask of the others."""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from gpucnn.backend.arrays import Array
from gpucnn.errors import ArgumentError, GpucnnError
from gpucnn.text import value_text

T = TypeVar("T")


class Exchange(Protocol):
    """Arrays under way."""

    def advance(self) -> None:
        """See that they get on, and return at once. Some engines move bytes only while they are called."""

    def wait(self) -> None:
        """Return when all that was to be received has come, and what was sent may be written over."""


class Group(Protocol):
    """The processes of a run, of which this is one.

    They only move bytes: every sum is computed here, in an order that no number of processes changes.
    """

    rank: int
    """Which of them this is, from 0."""
    size: int
    """How many there are."""

    def exchange(self, sent: Sequence[Array], received: Sequence[Array]) -> Exchange:
        """Begin to send `sent[r]` to rank r, and to receive what that sends into `received[r]`; all ranks call it.

        Arrays are contiguous, one a rank, and may be empty. They must not be touched until `wait`.
        """

    def gather(self, value: Any) -> list[Any]:
        """What each rank has given, by rank; all ranks call it, and wait. Values are small, and can be pickled."""

    def abort(self, status: int) -> NoReturn:
        """End all processes at once with this exit status."""


def of_first(group: Group, compute: Callable[[], T]) -> T:
    """What `compute` gives on rank 0, where alone it is called, on all ranks; an error that is expected is raised on all."""
    if group.size == 1:
        return compute()
    result: tuple[Any, Exception | None] = None, None
    if group.rank == 0:
        try:
            result = compute(), None
        except (GpucnnError, OSError) as error:
            result = None, error
    value, failure = group.gather(result)[0]
    if failure is not None:
        raise failure
    found: T = value
    return found


def as_group(group: Group, owner: str) -> Group:
    """`group` itself; ArgumentError, which names the `owner` of the argument, for what is none."""
    if not all(hasattr(group, name) for name in ("rank", "size", "exchange", "gather")):
        raise ArgumentError(
            f"{owner}: group must be a group of processes or None, got {value_text(group)}; give that of backend.mpi.world()"
        )
    return group


class _Done:
    """Nothing is under way."""

    def advance(self) -> None:
        """Nothing gets on."""

    def wait(self) -> None:
        """Return at once."""


class SingleProcess:
    """The group of a process that trains alone."""

    rank, size = 0, 1

    def exchange(self, sent: Sequence[Array], received: Sequence[Array]) -> Exchange:
        """Copy what it sends to itself."""
        received[0][...] = sent[0]
        return _Done()

    def gather(self, value: Any) -> list[Any]:
        """A list of its own value."""
        return [value]

    def abort(self, status: int) -> NoReturn:
        """End this process."""
        raise SystemExit(status)
