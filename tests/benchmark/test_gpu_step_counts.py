"""What a training step asks of a GPU stays what a person agreed to: no launch, byte or wait comes in by the way."""

from collections.abc import Callable
from typing import Any

import pytest

from gpucnn.backend import Device, cuda
from gpucnn.benchmark.prediction import WARM_UP_STEPS, step_operations
from gpucnn.benchmark.rivals import Rival
from gpucnn.benchmark.training_step import Workload, training_step
from gpucnn.kernels.kernel import Kernel, Variant
from gpucnn.kernels.launch import use_runner
from gpucnn.testing import emulated_gpu
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.emulator import Emulator
from gpucnn.testing.operation_log import Operation
from tests.backends import Backend
from tests.benchmark.gpu_step_counts import AGREED, COMMAND, WORKLOADS, agreed, changes, figures_of


def test_every_net_has_figures() -> None:
    assert sorted(agreed()) == sorted(map(str, WORKLOADS))


@pytest.mark.sample(3)
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_a_step_asks_what_was_agreed(workload: Workload) -> None:
    net = str(workload)
    found = changes({net: agreed()[net]}, {net: figures_of(workload)})
    assert found == [], (
        "a training step asks something else of a GPU than before:\n"
        + "\n".join(found)
        + f"\nif that is meant, say why in the commit, and write it down: {COMMAND}"
    )


def test_changes_name_net_and_figure() -> None:
    before = {"lenet5 64": {"launches": 30, "bytes_read": 1000}, "old 1": {"launches": 1}}
    after = {"lenet5 64": {"launches": 1031, "bytes_read": 1000}, "new 1": {"launches": 2}}
    assert changes(before, after) == [
        "lenet5 64: launches was 30, is 1,031",
        "new 1: launches is new, is 2",
        "old 1: is gone",
    ]
    assert changes(before, before) == []


def test_the_command_writes_the_file() -> None:
    assert COMMAND.endswith(f"> tests/benchmark/{AGREED.name}")


def third_step(cupy: CupyStandIn, workload: Workload) -> list[Operation]:
    step: Callable[[], Any] = training_step(Rival("gpucnn", "cuda"), workload, Device("cuda"))
    for _ in range(WARM_UP_STEPS):
        step()
    with cupy.operation_log.recorded() as operations:
        step()
    return operations


def without_work(operations: list[Operation]) -> list[tuple[object, ...]]:
    return [operation[:3] for operation in operations]


def test_the_emulated_gpu_is_asked_the_same() -> None:
    """LeNet-5, whose kernels and arrays are computed there."""
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    workload = Workload("lenet5", 4)
    with emulated_gpu("fast") as cupy:
        expected = third_step(cupy, workload)
    assert without_work(step_operations(workload)) == without_work(expected)


class NotedLaunches:
    """A runner that notes kernels and runs none."""

    def __init__(self, cupy: CupyStandIn) -> None:
        self.cupy = cupy

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        self.cupy.operation_log.add("launch", kernel.name, (blocks,))


def test_arrays_that_compute_are_asked_the_same() -> None:
    """A net with batch norm and shortcuts."""
    cupy, workload = CupyStandIn(Emulator()), Workload("resnet20", 1)
    with cuda.use_in_place_of_cupy(cupy), use_runner(NotedLaunches(cupy)):
        expected = third_step(cupy, workload)
    assert without_work(step_operations(workload)) == without_work(expected)
    assert len(expected) > 100


def test_every_operation_says_what_it_moves() -> None:
    silent = [one for one in step_operations(Workload("resnet20", 2)) if one.read + one.written == 0]
    assert silent == []
