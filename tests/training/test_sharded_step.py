"""What processes that train together tell each other beside the sums of their shards."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.backend.group import Group
from gpucnn.errors import TrainingError
from gpucnn.runs.failure_file import FailureRecorder
from gpucnn.training import Callback, RunConfig, RunFolder, Trainer, prepare, replay, sharded_step
from tests.backend.thread_group import on_ranks
from tests.runs.tiny_run import TINY, tiny_names
from tests.training.test_sharding import trainer


class Drift(Callback):
    """One process changes a bit of a parameter, as a memory that errs does."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_batch_end(self, one: Trainer) -> None:
        if one.sharding.group.rank == self.rank and one.step == self.step:
            array = next(one.model.parameters()).array
            array.reshape(-1).view("u4")[0] ^= 1 << 20


@pytest.mark.parametrize(("drifts", "found_after"), [(3, 4), (5, 6)])
def test_a_process_whose_parameters_drift_is_named_by_all(
    drifts: int, found_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many steps, and after an epoch of three."""
    monkeypatch.setattr(sharded_step, "CHECKED_EVERY", 4)

    def found(group: Group) -> tuple[int, str]:
        one = trainer(group, callbacks=[Drift(1, drifts)])
        with pytest.raises(TrainingError) as raised:
            one.fit(4)
        return one.step, str(raised.value)

    told = (
        f"after step {found_after} the parameters of rank 1 are not those of rank 0: one of their machines computes wrongly, or other "
        "processors or versions; go on from the last checkpoint without it"
    )
    assert on_ranks(3, found) == [(found_after, told)] * 3


def test_processes_that_agree_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded_step, "CHECKED_EVERY", 1)
    assert on_ranks(2, lambda group: len(trainer(group).fit(2))) == [2, 2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_an_evaluation_stops_all_after_the_epoch(number: int) -> None:
    """No step comes before the next savepoint to tell the others."""

    class Asked(Callback):
        def on_epoch_end(self, one: Trainer) -> None:
            if one.sharding.group.rank == 1:
                one.sharding.signal = number

        def on_savepoint(self, one: Trainer) -> None:
            if one.sharding.stop_signal is not None:
                raise KeyboardInterrupt(one.step, one.sharding.stop_signal)

    def found(group: Group) -> Any:
        with pytest.raises(KeyboardInterrupt) as raised:
            trainer(group, callbacks=[Asked()]).fit(2)
        return raised.value.args

    assert on_ranks(3, found) == [(3, number)] * 3


def test_a_shard_that_failed_is_replayed_with_its_masks(tmp_path: Path) -> None:
    """The second of two, by its labels alone, so that what follows dropout shows the masks."""
    draw = np.random.default_rng(0)
    pixels, labels = draw.standard_normal((7, 1, 8, 8)).astype(np.float32), np.full((7, 10), 0.1, np.float32)
    labels[5] = np.nan
    with tiny_names():
        ready = prepare(RunConfig(**TINY, shards=2))
        one = ready.trainer()
        with pytest.raises(TrainingError) as raised:
            one.train_step(pixels, labels)
        one.error = raised.value
        for callback in ready.callbacks(RunFolder(tmp_path / "run")):
            if isinstance(callback, FailureRecorder):
                callback.on_failure(one)
        (path,) = (tmp_path / "run").glob("failure-step-*.safetensors")
        again = replay(path)
    assert one.failed_step is not None
    assert one.failed_step.first == 4
    assert again.indices.tolist() == [4, 5, 6]
    assert again.checked.table() == one.failed_step.checked.table()
