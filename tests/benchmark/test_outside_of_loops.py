"""The recorded step that a benchmark measures is the eager one, and its time beside the loops can be told."""

import pytest

from gpucnn.backend import Device
from gpucnn.benchmark.outside_of_loops import seconds_outside_of_loops
from gpucnn.benchmark.rivals import GPUCNN, RECORDED, Rival
from gpucnn.benchmark.training_step import Recorded, Workload, training_step
from gpucnn.kernels import ways

pytestmark = pytest.mark.skipif(ways.missing() != "", reason=ways.missing())


@pytest.mark.parametrize("name", ["lenet5", "simplecnn"])
def test_a_replay_is_the_step_of_the_benchmark(name: str) -> None:
    steps = [training_step(Rival(GPUCNN, variant), Workload(name, 5), Device()) for variant in ("jit", RECORDED["jit"])]
    for _ in range(6):
        eager, recorded = (step().item() for step in steps)
        assert eager == recorded


def test_the_time_beside_the_loops_is_told() -> None:
    recorded = Recorded(Workload("simplecnn", 64), Device())
    assert 0 < (seconds_outside_of_loops(recorded, 3) or 0) < 1
    with ways.use("jit"):
        assert recorded().item() == recorded().item(), "no loop does anything now"


@pytest.mark.filterwarnings("ignore:steps are computed as they are, not recorded")
def test_of_a_model_that_is_more_than_loops_there_is_none() -> None:
    with ways.use("jit"):
        assert seconds_outside_of_loops(Recorded(Workload("vgg_mini", 2), Device())) is None
