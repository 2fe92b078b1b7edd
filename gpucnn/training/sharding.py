"""Sharding: how a batch is cut, and which processes compute the parts."""

import signal

from gpucnn.backend.group import Group, SingleProcess, as_group
from gpucnn.checks import as_count
from gpucnn.errors import ArgumentError
from gpucnn.optim.shard_sum import shards_of


class Sharding:
    """Each batch is cut into `shards`, which the processes of a `group` share; with one shard, as by default, all is as ever.

    What comes of a training depends on the number of shards, as batch norms see a shard's images alone and sums have another
    order; it does not depend on the number of processes, to the bit. Raises ArgumentError for fewer shards than processes, and
    for what is no group.
    """

    def __init__(self, shards: int = 1, group: Group | None = None) -> None:
        self.shards = as_count(shards, "shards")
        self.group: Group = SingleProcess() if group is None else as_group(group, "Sharding")
        if self.shards < self.group.size:
            raise ArgumentError(
                f"shards={shards} for {self.group.size} processes: each computes at least one shard of a batch; use shards="
                f"{self.group.size} or more, or start fewer processes"
            )
        self.signal: int | None = None
        """By which this process was asked to stop; set by who handles signals."""
        self.agreed: int | None = None
        """What all processes know, since the last step, of their signals."""

    @property
    def own(self) -> range:
        """The shards that this process computes."""
        return shards_of(self.group.rank, self.group.size, self.shards)

    @property
    def stop_signal(self) -> int | None:
        """SIGTERM or SIGINT, if training is to end after the running step: the same on all processes."""
        return self.signal if self.shards == 1 else self.agreed

    def agree(self, terminated: bool, interrupted: bool) -> None:
        """Take over what came of all processes' signals."""
        self.agreed = signal.SIGTERM if terminated else signal.SIGINT if interrupted else None

    def agree_after_epoch(self) -> None:
        """Have all processes know of each other's signals where no step tells of them: one may have come in the evaluation."""
        if self.shards > 1:
            signals = self.group.gather(self.signal)
            self.agree(signal.SIGTERM in signals, signal.SIGINT in signals)
