"""The benchmark's GPU path, on whatever seems to be a GPU."""

import pytest

from gpucnn.backend import choose_device
from gpucnn.benchmark import limit, pytorch
from gpucnn.benchmark.limit import Speeds
from gpucnn.benchmark.machine import describe
from gpucnn.benchmark.operations import operations, prepare
from gpucnn.benchmark.peak_memory import growth
from gpucnn.benchmark.rivals import Rival, rivals
from gpucnn.benchmark.stopwatch import stopwatch
from gpucnn.benchmark.suite import largest_difference, losses
from gpucnn.benchmark.training_step import Workload, training_step
from tests.backends import Backend
from tests.benchmark.results import NUMPY

CUDA, GRAPH = Rival("gpucnn", "cuda"), Rival("gpucnn", "cuda graph")
WORKLOAD = Workload("simplecnn", 2)


@pytest.fixture(autouse=True)
def without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "missing", lambda device: "PyTorch is not installed")


def test_steps_agree_and_are_timed(backend: Backend, gpu: Backend) -> None:
    device = choose_device("cuda").device
    assert rivals(device) == [CUDA, GRAPH]
    step, replayed = (training_step(rival, WORKLOAD, device) for rival in (CUDA, GRAPH))
    on_cpu = losses(training_step(NUMPY, WORKLOAD, choose_device("cpu").device))
    found = losses(step)
    assert largest_difference("simplecnn", {NUMPY: on_cpu, CUDA: found}) <= 1e-4
    assert losses(replayed) == found
    assert 0 < stopwatch(CUDA, device)(step, 1) < 60


def test_operations(backend: Backend, gpu: Backend) -> None:
    device = choose_device("cuda").device
    chosen = [one for one in operations(2) if one.name.startswith(("conv 1>8", "cross-entropy"))]
    for operation in chosen:
        found = prepare(CUDA, operation, device)
        expected = prepare(NUMPY, operation, choose_device("cpu").device)
        assert largest_difference(operation.name, {NUMPY: expected.results, CUDA: found.results}) <= 1e-4


def test_memory_is_the_pool_s(backend: Backend, gpu: Backend) -> None:
    assert growth(CUDA, WORKLOAD, choose_device("cuda").device) > 2 * 28 * 28 * 4


def test_speeds(backend: Backend, gpu: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "MATRIX_SIZES", {"cuda": 64})
    monkeypatch.setattr(limit, "BYTES_A_PASS", 1 << 20)
    speeds = Speeds(choose_device("cuda").device, 0.001)
    assert speeds.peak() > 0
    assert speeds.bandwidth(1000) > 0


def test_the_gpu_is_named(backend: Backend, gpu: Backend) -> None:
    assert {"GPU", "CuPy"} <= set(describe(choose_device("cuda").device))
