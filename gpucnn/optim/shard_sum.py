r"""The sum over the shards of a batch, in the order of one fixed binary tree, whichever process computed them.

    shards   0   1   2   3   4          (0 + 1) + (2 + 3)       + 4
              \ /     \ /    |
               +       +     |          What a process has of the tree it adds up by itself; the rest is added
                \     /      |          in slices, of which each process has one, and all get all of them.
                   +         |
                    \       /
                        +

Floating-point sums depend on their order. Here it depends on the number of shards alone, so that any number of processes
gives the same bits.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array, Device, current
from gpucnn.backend.group import Exchange, Group
from gpucnn.kernels.tree_sum import tree_sum


class Node(NamedTuple):
    """The sum of the shards `first`, ..., `stop` - 1."""

    first: int
    stop: int

    def halves(self) -> "tuple[Node, Node]":
        """The two sums that it is made of: the left one of the largest power of two of shards that leaves some."""
        half = 1 << (self.stop - self.first - 1).bit_length() - 1
        return Node(self.first, self.first + half), Node(self.first + half, self.stop)


def shards_of(rank: int, size: int, shards: int) -> range:
    """Which shards a rank of `size` computes: neighbours, as many as the other ranks, or one more."""
    return range(rank * shards // size, (rank + 1) * shards // size)


def nodes_within(own: range, node: Node) -> list[Node]:
    """The largest parts of the tree below `node` whose shards are all among `own`."""
    if own.start <= node.first and node.stop <= own.stop:
        return [node]
    if node.stop <= own.start or own.stop <= node.first:
        return []
    return [part for half in node.halves() for part in nodes_within(own, half)]


def merges(node: Node, given: Sequence[Node]) -> list[int]:
    """How the `given` sums, in their order, come to that of `node`: after each how often the latest is added to the one before."""
    if node in given:
        return [0]
    left, right = (merges(half, given) for half in node.halves())
    return [*left, *right[:-1], right[-1] + 1]


class ShardSum:
    """Adds up an array of each shard of a batch, over all processes of a group; those after the first batch in the same memory.

    A process writes its shards' arrays one after the other: `place` says where, `add` that some of it is there. It keeps as
    many sums as the tree has levels.

    - `group`: of at most `shards` processes. `length`, `dtype`, `device`: of the arrays.
    """

    def __init__(self, group: Group, shards: int, length: int, dtype: np.dtype, device: Device) -> None:
        self.group, self.length, self.device = group, length, device
        self.own = shards_of(group.rank, group.size, shards)
        root = Node(0, shards)
        self._blocks = [nodes_within(shards_of(rank, group.size, shards), root) for rank in range(group.size)]
        self._first_row = [sum(map(len, self._blocks[:rank])) for rank in range(group.size)]
        nodes = [node for block in self._blocks for node in block]
        self._merges = self._there(merges(root, nodes))
        self._climbs, slots = _climbs(self.own, self._blocks[group.rank])
        self._climb_merges = {n: self._there([0] * n + [n]) for _, n in self._climbs.values()}
        self._dtype = dtype
        self._slots = self._empty((slots, length))
        self._rows: dict[tuple[int, int], Array] = {}
        self._sent: list[tuple[int, int, Array, list[Exchange]]] = []
        self._returning: list[Exchange] = []
        self._total = self._slots[0] if group.size == 1 else self._empty((length,))

    def place(self, shard: int) -> Array:
        """Where the array (length,) of one of the process's own shards is to be written. They come in their order."""
        return self._slots[self._climbs[shard][0]]

    def add(self, shard: int, start: int = 0, stop: int | None = None) -> None:
        """Add what stands in the `place` of the shard from `start` to `stop`; of the last one it is then under way."""
        stop = self.length if stop is None else stop
        slot, times = self._climbs[shard]
        with current(self.device):
            tree_sum(self._slots[slot - times : slot + 1], self._climb_merges[times], slice(start, stop))
            if shard == self.own[-1] and self.group.size > 1:
                self._begin(start, stop)

    def total(self) -> Array:
        """The sum (length,) over all shards, on every process; holds until the next batch."""
        with current(self.device):
            self._return()
            for one in self._returning:
                one.wait()
        self._returning = []
        return self._total

    def advance(self) -> None:
        """See that what is under way gets on."""
        for one in (*self._returning, *(exchange for *_, exchanges in self._sent for exchange in exchanges)):
            one.advance()

    def _return(self) -> None:
        """Add this process's slices of what has been sent so far, and give the sums to all."""
        for start, stop, rows, exchanges in self._sent:
            for one in exchanges:
                one.wait()
            own = tree_sum(rows, self._merges, slice(0, rows.shape[1]))
            parts = [self._total[a:b] for a, b in itertools.pairwise(self._ends(start, stop))]
            self._returning.append(self.group.exchange([own] * self.group.size, parts))
        self._sent = []

    def _begin(self, start: int, stop: int) -> None:
        """Send each rank its slice of this process's sums from `start` to `stop`.

        First those of the slice before are returned: that too is hidden then, and all processes do it at the same place in
        the order of their exchanges.
        """
        self._return()
        ends, rank = self._ends(start, stop), self.group.rank
        if (start, stop) not in self._rows:
            self._rows[start, stop] = self._empty((len(self._merges), ends[rank + 1] - ends[rank]))
        rows = self._rows[start, stop]
        nothing = rows[:0].reshape(-1)
        exchanges: list[Exchange] = []
        for turn in range(max(map(len, self._blocks))):
            own = self._slots[turn] if turn < len(self._blocks[rank]) else nothing
            received = [
                rows[self._first_row[other] + turn] if turn < len(block) else nothing
                for other, block in enumerate(self._blocks)
            ]
            exchanges.append(self.group.exchange([own[a:b] for a, b in itertools.pairwise(ends)], received))
        self._sent.append((start, stop, rows, exchanges))

    def _ends(self, start: int, stop: int) -> list[int]:
        """Where each rank's slice of the elements from `start` to `stop` begins and ends."""
        return [start + rank * (stop - start) // self.group.size for rank in range(self.group.size + 1)]

    def _empty(self, shape: tuple[int, ...]) -> Array:
        with current(self.device):
            return self.device.xp.empty(shape, self._dtype)

    def _there(self, counts: Sequence[int]) -> Array:
        with current(self.device):
            return self.device.xp.asarray(np.array(counts, np.uint8))


def _climbs(own: range, nodes: Sequence[Node]) -> tuple[dict[int, tuple[int, int]], int]:
    """Of each own shard the slot that its array goes to, and how often it is then added to the slot before; how many slots.

    The slots are a stack: in the end there is a sum of each node in them.
    """
    found: dict[int, tuple[int, int]] = {}
    times = [n for node in nodes for n in merges(node, [Node(one, one + 1) for one in range(node.first, node.stop)])]
    top = slots = 0
    for shard, merged in zip(own, times, strict=True):
        found[shard] = top, merged
        slots = max(slots, top + 1)
        top += 1 - merged
    return found, slots
