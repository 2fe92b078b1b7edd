"""Small changes to what several processes share: a run would still learn, and its bits would depend on their number, or be wrong."""

from pathlib import Path

from tests.mutation import Mutant, Table

SUM = "tests/optim/test_shard_sum.py"
SHARDING = "tests/training/test_sharding.py"
STEP = "tests/training/test_sharded_step.py"
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
    "training/sharded_step.py": [*PARALLEL, STEP, SHARDING],
    "training/evaluate.py": [*PARALLEL, SHARDING],
    "data/loader.py": [*PARALLEL, SHARDING],
    "training/sharding.py": [STEP],
    "training/training_step.py": [STEP],
    "training/finite_guard.py": [STEP],
    "runs/failure_file.py": [STEP],
    "functions/dropout.py": [SHARDING],
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
    Mutant("training/shard_payload.py", "            self._bring_statistics_home()\n", ""),
    # Counts beyond what float32 has.
    Mutant("training/shard_payload.py", "COUNT_BASE = 1 << 12", "COUNT_BASE = 1 << 40"),
    # A process without images counts as the others do.
    Mutant("training/sharded_step.py", "if sizes[-1] or sharding.group.size == 1:", "if True:"),
    # The offset of masks, and that of a step that failed.
    Mutant("functions/dropout.py", "skip = 0 if rest else first * each", "skip = 0"),
    Mutant("functions/dropout.py", "skip = 0 if rest else first * each", "skip = first * each"),
    Mutant("training/sharded_step.py", "return self._looked_at(place, loss, batch, images.first(shard))", "return self._looked_at(place, loss, batch)"),
    Mutant("training/finite_guard.py", "with part_of_batch(first, len(images)):", "with part_of_batch(0, len(images)):"),
    Mutant("runs/failure_file.py", "with part_of_batch(first, len(images)):", "with part_of_batch(0, len(images)):"),
    # Which shard is blamed, whose parameters are trained, and what processes tell each other.
    Mutant("training/sharded_step.py", "key=lambda one: (not one[0], one[1])", "key=lambda one: one[1]"),
    Mutant("training/shard_payload.py", "        self._model, self._optimizer = model, optimizer\n        self._optimizer.gather()", "        self._optimizer.gather()"),
    Mutant("training/sharded_step.py", "self._sharding.agree(bool(sums.terminated), bool(sums.interrupted))", "pass"),
    Mutant("training/sharding.py", "self.agree(signal.SIGTERM in signals, signal.SIGINT in signals)", "pass"),
    Mutant("training/sharded_step.py", "            self._compare()\n", ""),
    # A batch size that fits.
    Mutant("training/training_step.py", "trainer.device, trainer.sharding.shards)", "trainer.device)"),
    Mutant("training/sharded_step.py", "with part_of_batch(images.first(shard), len(own)):", "with part_of_batch(0, len(own)):"),
    # Each shard begins where the step does.
    Mutant("training/sharded_step.py", "        before.restore()\n        self._payload.begin", "        self._payload.begin"),
    # The order of what is measured.
    Mutant("training/evaluate.py", "for pair in told[: len(loader) - first]:", "for pair in told[: len(loader) - first][::-1]:"),
    Mutant("training/evaluate.py", "loader.batches(0, group.rank, group.size)", "loader.batches(0, 0, group.size)"),
    # Which samples and partners a shard has.
    Mutant("data/loader.py", "epoch, order, samples[part], slice(places.start + part.start, places.start + part.stop)", "epoch, order, samples[part], slice(places.start, places.start + part.stop - part.start)"),
    Mutant("data/loader.py", "for shard in own if sizes[shard]}", "for shard in range(len(own)) if sizes[shard]}"),
]  # fmt: skip
TABLE = Table("several processes", Path(), MUTANTS, TESTS_OF, options=("--backend", "numpy"), sample=4)
