"""Small changes to what several processes share: a run would still learn, and its bits would depend on their number, or be wrong."""

from pathlib import Path

from tests.mutation import Mutant, Table

SUM = "tests/optim/test_shard_sum.py"
SHARDING = "tests/training/test_sharding.py"
PARALLEL = [
    f"tests/training/test_parallel.py::{name}"
    for name in (
        "test_threads_as_processes_leave_the_bytes_of_one",
        "test_shards_change_roundings_alone_where_no_batch_norm_follows_another_layer",
    )
]
TESTS_OF = {
    "optim/shard_sum.py": [SUM],
    "training/shard_payload.py": [*PARALLEL, SHARDING],
    "training/sharded_step.py": [*PARALLEL, SHARDING],
    "training/evaluate.py": [*PARALLEL, SHARDING],
    "data/loader.py": [*PARALLEL, SHARDING],
}
MUTANTS = [
    # The order of the tree.
    Mutant("optim/shard_sum.py", "half = 1 << (self.stop - self.first - 1).bit_length() - 1", "half = (self.stop - self.first) // 2"),
    Mutant("optim/shard_sum.py", "half = 1 << (self.stop - self.first - 1).bit_length() - 1", "half = 1"),
    # A shard without images.
    Mutant("training/shard_payload.py", "(buffer.filled() if self._images else ())", "buffer.filled()"),
    Mutant("training/shard_payload.py", "place[at + within.start : at + within.stop] = 0  #", "pass  #"),
    # Statistics and gradients without their weight.
    Mutant("training/shard_payload.py", "moved * key.type(self._images) if self._images else 0", "moved * key.type(3) if self._images else 0"),
    Mutant("training/shard_payload.py", "buffer.dtype.type(self._images), out=part", "buffer.dtype.type(3), out=part"),
    # The offset of masks.
    Mutant("training/sharded_step.py", "with part_of_batch(sum(images.sizes[:shard]), len(own)):", "with part_of_batch(0, len(own)):"),
    # Each shard begins where the step does.
    Mutant("training/sharded_step.py", "        before.restore()\n        self._payload.begin", "        self._payload.begin"),
    # The order of what is measured.
    Mutant("training/evaluate.py", "for pair in told[: len(loader) - first]:", "for pair in told[: len(loader) - first][::-1]:"),
    Mutant("training/evaluate.py", "loader.batches(0, group.rank, group.size)", "loader.batches(0, 0, group.size)"),
    # Which samples and partners a shard has.
    Mutant("data/loader.py", "epoch, order, samples[part], slice(places.start + part.start, places.start + part.stop)", "epoch, order, samples[part], slice(places.start, places.start + part.stop - part.start)"),
    Mutant("data/loader.py", "for shard in own if sizes[shard]}", "for shard in range(len(own)) if sizes[shard]}"),
]  # fmt: skip
TABLE = Table("several processes", Path(), MUTANTS, TESTS_OF, options=("--backend", "numpy"))
