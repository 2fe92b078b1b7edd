"""Small changes to what several processes share: sums would still come, and depend on the number of processes."""

from pathlib import Path

from tests.mutation import Table, mutants_of

NCCL, STAND_IN = "tests/backend/test_nccl.py", "tests/testing/test_nccl_stand_in.py"
TESTS_OF = {
    "optim/shard_sum.py": ["tests/optim/test_shard_sum.py"],
    "backend/mpi.py": ["tests/backend/test_mpi.py"],
    "backend/nccl.py": [NCCL],
    "testing/nccl_stand_in.py": [STAND_IN, NCCL],
}
MUTANTS = [
    *mutants_of(
        "optim/shard_sum.py",
        # The order of the tree.
        ("(self.stop - self.first - 1).bit_length() - 1", "0"),
        ("1 << (self.stop - self.first - 1).bit_length() - 1", "(self.stop - self.first) // 2"),
        ("[*left, *right[:-1], right[-1] + 1]", "[*left[:-1], left[-1] + 1, *right]"),
        ("range(rank * shards // size, (rank + 1) * shards // size)", "range(rank, shards, size)"),
        ("node.stop <= own.start or own.stop <= node.first", "node.stop < own.start"),
        # What a process adds up by itself.
        ("top += 1 - merged", "top += 1"),
        ("slot - times : slot + 1", "slot - times : slot"),
        ("self._climb_merges[times], slice(start, stop)", "self._climb_merges[times], slice(0, stop)"),
        ("if shard == self.own[-1] and", "if shard == self.own[0] and"),
        # What is exchanged.
        ("self._slots[turn] if turn", "self._slots[0] if turn"),
        ("self._first_row[other] + turn", "self._first_row[other]"),
        ("range(max(map(len, self._blocks)))", "range(len(self._blocks[rank]))"),
        ("if (start, stop) not in self._rows:", "if not self._rows:"),
        ("for one in exchanges:\n                one.wait()", "pass"),
        ("for one in self._returning:\n                one.wait()", "pass"),
        ("        self._sent = []\n\n", "\n"),
        ("        self._returning = []\n        return", "        return"),
        ("return [start + rank *", "return [rank *"),
    ),
    *mutants_of(
        "backend/mpi.py",
        ("        place.unlink(missing_ok=True)\n", "        pass\n"),
        ("time.sleep(0 if looks < YIELDS else NAP)", "time.sleep(0)"),
        ("while not MPI.Request.Testall(requests):", "while False:"),
        ("        places[self.rank][...] = out[self.rank]\n", ""),
        ("value if other == self.rank else pickle.loads(part)", "value"),
        ("array.size\n        ]\n        places", "False\n        ]\n        places"),
        ("self._own.Abort(status)", "self._own.Abort(1)"),
    ),
    *mutants_of(
        "backend/nccl.py",
        ("self._stream.wait_event(self._cupy.cuda.get_current_stream().record(self._event()))", "pass"),
        ("            self._cupy.cuda.get_current_stream().wait_event(event)\n", ""),
        ("            self._communicator.check_async_error()\n", ""),
        ("Stream(non_blocking=True)", "get_current_stream()"),
        ("                        if out.size:", "                        if True:"),
        ("                        if into.size:", "                        if True:"),
        ("array.data.ptr, array.nbytes", "array.data.ptr, array.size"),
        ("if any(device_of(array) != self._device for array in (*sent, *received)):", "if False:"),
        ("identity = group.gather(identity)[0]", "identity = group.gather(identity)[-1]"),
        ("            _refuse(found)\n", ""),
        ("if other[1:] == gpu[1:]", "if other == gpu and False"),
        ("if str(error).startswith(word)", "if True"),
    ),
    *mutants_of(
        "testing/nccl_stand_in.py",
        ("if len(came) != call.nbytes:", "if False:"),
        ("block is None or address + count > block.end", "block is None"),
        ("if block.device != self._device:", "if False:"),
        ("datatype != NCCL_UINT8 or ", ""),
        (" or not 0 <= peer < self._size", ""),
        ("if len(set(self._room.devices.values())) < ndev:", "if False:"),
        ("[self._rank, call.peer].put", "[call.peer, self._rank].put"),
    ),
]  # fmt: skip

TABLE = Table("groups", Path(), MUTANTS, TESTS_OF, sample=4)
