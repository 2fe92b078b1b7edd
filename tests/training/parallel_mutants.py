"""Small changes to what several processes share: a run would still learn, and its bits would depend on their number, or be wrong."""

from pathlib import Path

from tests.mutation import Mutant, Table, mutants_of

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
    "training/shard_payload.py": [*PARALLEL, SHARDING],
    "training/sharded_step.py": [*PARALLEL, STEP, SHARDING],
    "training/evaluate.py": [*PARALLEL, SHARDING],
    "data/loader.py": [*PARALLEL, SHARDING],
    "training/sharding.py": [STEP],
    "training/training_step.py": ["tests/backend/test_device_path.py::test_of_a_shard_the_batch_size_of_all_fits"],
    "training/finite_guard.py": [STEP],
    "runs/failure_file.py": [STEP],
    "functions/dropout.py": [SHARDING],
}
MUTANTS = [
    *mutants_of(
        "training/shard_payload.py",
        # A shard without images.
        ("(buffer.filled() if self._images else ())", "buffer.filled()"),
        ("place[at + within.start : at + within.stop] = 0  #", "pass  #"),
        # Statistics and gradients without their weight.
        ("moved * key.type(self._images) if self._images else 0", "moved * key.type(3) if self._images else 0"),
        ("buffer.dtype.type(self._images), out=part", "buffer.dtype.type(3), out=part"),
        ("            self._bring_statistics_home()\n", ""),
        # Counts beyond what float32 has.
        ("COUNT_BASE = 1 << 12", "COUNT_BASE = 1 << 40"),
        # Whose parameters are trained.
        ("        self._model, self._optimizer = model, optimizer\n        self._optimizer.gather()", "        self._optimizer.gather()"),
    ),
    *mutants_of(
        "training/sharded_step.py",
        # A process without images counts as the others do.
        ("if sizes[-1] or sharding.group.size == 1:", "if True:"),
        # The place of a step that failed.
        ("return self._looked_at(place, loss, batch, images.first(shard))", "return self._looked_at(place, loss, batch)"),
        # Which shard is blamed, and what processes tell each other.
        ("key=lambda one: (not one[0], one[1])", "key=lambda one: one[1]"),
        ("self._sharding.agree(bool(sums.terminated), bool(sums.interrupted))", "pass"),
        ("            self._compare()\n", ""),
        # A batch size that fits.
        ("with part_of_batch(images.first(shard), len(own)):", "with part_of_batch(0, len(own)):"),
        # Each shard begins where the step does.
        ("        before.restore()\n        self._payload.begin", "        self._payload.begin"),
    ),
    # The offset of masks, and that of a step that failed.
    *mutants_of(
        "functions/dropout.py",
        ("skip = 0 if rest else first * each", "skip = 0"),
        ("skip = 0 if rest else first * each", "skip = first * each"),
    ),
    Mutant("training/finite_guard.py", "with part_of_batch(first, len(images)):", "with part_of_batch(0, len(images)):"),
    Mutant("runs/failure_file.py", "with part_of_batch(first, len(images)),", "with part_of_batch(0, len(images)),"),
    # What processes tell each other, and a batch size that fits.
    Mutant("training/sharding.py", "self.agree(signal.SIGTERM in signals, signal.SIGINT in signals)", "pass"),
    Mutant("training/training_step.py", "trainer.device, trainer.sharding.shards)", "trainer.device)"),
    *mutants_of(
        # The order of what is measured.
        "training/evaluate.py",
        ("for pair in told[: len(loader) - first]:", "for pair in told[: len(loader) - first][::-1]:"),
        ("loader.batches(0, group.rank, group.size)", "loader.batches(0, 0, group.size)"),
    ),
    *mutants_of(
        # Which samples and partners a shard has.
        "data/loader.py",
        ("np.cumsum([0, *sizes]) + places.start", "np.cumsum([0, *sizes])"),
        ("for shard in own if sizes[shard]}", "for shard in range(len(own)) if sizes[shard]}"),
    ),
]  # fmt: skip
TABLE = Table("several processes", Path(), MUTANTS, TESTS_OF, options=("--backend", "numpy"), sample=4)
