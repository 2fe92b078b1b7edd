"""Small changes to what several processes share: sums would still come, and depend on the number of processes."""

from pathlib import Path

from tests.mutation import Mutant, Table

NCCL, STAND_IN = "tests/backend/test_nccl.py", "tests/testing/test_nccl_stand_in.py"
TESTS_OF = {
    "optim/shard_sum.py": ["tests/optim/test_shard_sum.py"],
    "backend/mpi.py": ["tests/backend/test_mpi.py"],
    "backend/nccl.py": [NCCL],
    "testing/nccl_stand_in.py": [STAND_IN, NCCL],
}
MUTANTS = [
    # The order of the tree.
    Mutant("optim/shard_sum.py", "(self.stop - self.first - 1).bit_length() - 1", "0"),
    Mutant("optim/shard_sum.py", "1 << (self.stop - self.first - 1).bit_length() - 1", "(self.stop - self.first) // 2"),
    Mutant("optim/shard_sum.py", "[*left, *right[:-1], right[-1] + 1]", "[*left[:-1], left[-1] + 1, *right]"),
    Mutant("optim/shard_sum.py", "range(rank * shards // size, (rank + 1) * shards // size)", "range(rank, shards, size)"),
    Mutant("optim/shard_sum.py", "node.stop <= own.start or own.stop <= node.first", "node.stop < own.start"),
    # What a process adds up by itself.
    Mutant("optim/shard_sum.py", "top += 1 - merged", "top += 1"),
    Mutant("optim/shard_sum.py", "slot - times : slot + 1", "slot - times : slot"),
    Mutant("optim/shard_sum.py", "self._climb_merges[times], slice(start, stop)", "self._climb_merges[times], slice(0, stop)"),
    Mutant("optim/shard_sum.py", "if shard == self.own[-1] and", "if shard == self.own[0] and"),
    # What is exchanged.
    Mutant("optim/shard_sum.py", "self._slots[turn] if turn", "self._slots[0] if turn"),
    Mutant("optim/shard_sum.py", "self._first_row[other] + turn", "self._first_row[other]"),
    Mutant("optim/shard_sum.py", "range(max(map(len, self._blocks)))", "range(len(self._blocks[rank]))"),
    Mutant("optim/shard_sum.py", "if (start, stop) not in self._rows:", "if not self._rows:"),
    Mutant("optim/shard_sum.py", "for one in exchanges:\n                    one.wait()", "pass"),
    Mutant("optim/shard_sum.py", "for one in finished:\n                one.wait()", "pass"),
    Mutant("optim/shard_sum.py", "        self._under_way = []\n        return", "        return"),
    Mutant("optim/shard_sum.py", "return [start + rank *", "return [rank *"),
    # MPI.
    Mutant("backend/mpi.py", "        place.unlink(missing_ok=True)\n", "        pass\n"),
    Mutant("backend/mpi.py", "time.sleep(0 if looks < SPINS else NAP)", "time.sleep(0)"),
    Mutant("backend/mpi.py", "while not MPI.Request.Testall(requests):", "while False:"),
    Mutant("backend/mpi.py", "        places[self.rank][...] = out[self.rank]\n", ""),
    Mutant("backend/mpi.py", "value if other == self.rank else pickle.loads(part)", "value"),
    Mutant("backend/mpi.py", "array.size\n        ]\n        places", "False\n        ]\n        places"),
    Mutant("backend/mpi.py", "self._own.Abort(status)", "self._own.Abort(1)"),
    # NCCL.
    Mutant("backend/nccl.py", "self._stream.wait_event(self._cupy.cuda.get_current_stream().record(self._event()))", "pass"),
    Mutant("backend/nccl.py", "            self._cupy.cuda.get_current_stream().wait_event(event)\n", ""),
    Mutant("backend/nccl.py", "            self._communicator.check_async_error()\n", ""),
    Mutant("backend/nccl.py", "Stream(non_blocking=True)", "get_current_stream()"),
    Mutant("backend/nccl.py", "                        if out.size:", "                        if True:"),
    Mutant("backend/nccl.py", "                        if into.size:", "                        if True:"),
    Mutant("backend/nccl.py", "array.data.ptr, array.nbytes", "array.data.ptr, array.size"),
    Mutant("backend/nccl.py", "if any(device_of(array) != self._device for array in (*sent, *received)):", "if False:"),
    Mutant("backend/nccl.py", "identity = group.gather(identity)[0]", "identity = group.gather(identity)[-1]"),
    Mutant("backend/nccl.py", "            _refuse(found)\n", ""),
    Mutant("backend/nccl.py", "if other[1:] == gpu[1:]", "if other == gpu and False"),
    Mutant("backend/nccl.py", "if str(error).startswith(word)", "if True"),
    # Its stand-in.
    Mutant("testing/nccl_stand_in.py", "if len(came) != call.count:", "if False:"),
    Mutant("testing/nccl_stand_in.py", "block is None or address + count > block.end", "block is None"),
    Mutant("testing/nccl_stand_in.py", "if block.device != self._device:", "if False:"),
    Mutant("testing/nccl_stand_in.py", "datatype != NCCL_UINT8 or ", ""),
    Mutant("testing/nccl_stand_in.py", " or not 0 <= peer < self._size", ""),
    Mutant("testing/nccl_stand_in.py", "if len(set(self._room.devices.values())) < ndev:", "if False:"),
    Mutant("testing/nccl_stand_in.py", "[self._rank, call.peer].put", "[call.peer, self._rank].put"),
]  # fmt: skip

TABLE = Table("groups", Path(), MUTANTS, TESTS_OF, sample=4)
