"""The machine's speeds: measured once, and of a size."""

import pytest

from gpucnn.backend import Device
from gpucnn.benchmark import limit, pytorch
from gpucnn.benchmark.limit import Speeds, Work


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "MATRIX_SIZES", {"cpu": 64, "cuda": 64})
    monkeypatch.setattr(limit, "BYTES_A_PASS", 1 << 20)
    monkeypatch.setattr(limit, "LARGEST_COPY", 1 << 21)
    monkeypatch.setattr(pytorch, "missing", lambda device: "PyTorch is not installed")


def test_speeds_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = Speeds(Device(), 0.001)
    found = speeds.limit(Work(10**6, 10**6))
    assert found.seconds == pytest.approx(10**6 / speeds.peak() + 10**6 / speeds.bandwidth(10**6))
    monkeypatch.setattr(limit, "_least_seconds", lambda *rest: pytest.fail("measured again"))
    assert speeds.limit(Work(10**6, 10**6)) == found
    assert speeds.bandwidth(1) == speeds.bandwidth(1_100_000)


def test_a_copy_moves_as_many_bytes_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "_least_seconds", lambda *rest: 0.5)
    speeds = Speeds(Device(), 1)
    assert speeds.peak() == 64**3 / 0.5
    assert speeds.bandwidth(0) == speeds.bandwidth(1 << 20) == (1 << 20) / 0.5
    assert speeds.bandwidth(1 << 40) == (1 << 21) / 0.5


def test_the_fastest_of_three_calls_counts() -> None:
    times = iter([0.5, 0.25, 0.75])
    calls: list[int] = []
    assert limit._least_seconds(lambda: calls.append(1), lambda run, count: next(times), 0.0) == 0.25
    assert calls == [1]
