"""The recorded step that a benchmark measures is the eager one, and its time beside the loops can be told."""

import pytest

from gpucnn.backend import Device
from gpucnn.benchmark.recorded_step import recorded_step, seconds_outside_of_loops
from gpucnn.benchmark.rivals import GPUCNN, Rival
from gpucnn.benchmark.training_step import Workload, training_step
from gpucnn.errors import CaptureError
from gpucnn.kernels import ways

pytestmark = pytest.mark.skipif(ways.missing() != "", reason=ways.missing())


@pytest.mark.parametrize("name", ["lenet5", "simplecnn"])
def test_a_replay_is_the_step_of_the_benchmark(name: str) -> None:
    workload = Workload(name, 5)
    eager, (calls, loss) = training_step(Rival(GPUCNN, "jit"), workload, Device()), recorded_step(workload)
    for _ in range(3):
        expected = eager()
        calls.replay()
        assert loss.item() == expected.item()


def test_the_time_beside_the_loops_is_part_of_a_replay() -> None:
    calls, loss = recorded_step(Workload("simplecnn", 64))
    calls.replay()
    before = loss.item()
    whole, outside = seconds_outside_of_loops(calls, 3)
    assert 0 < outside < whole
    assert loss.item() < before


def test_a_model_that_is_more_than_loops_is_refused() -> None:
    with pytest.raises(
        CaptureError, match=r"classifier.2 \(BatchNorm1d\): batch_norm is computed in the numpy way here"
    ):
        recorded_step(Workload("vgg_mini", 2))
