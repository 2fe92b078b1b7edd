"""Memory in a process of its own."""

import sys

import pytest

from gpucnn.backend import Device
from gpucnn.benchmark import peak_memory
from gpucnn.benchmark.peak_memory import peak_bytes
from gpucnn.benchmark.training_step import Workload
from gpucnn.errors import BenchmarkError
from tests.benchmark.results import NUMPY

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells the peak of a part of a process's life"
)


def test_it_grows_with_the_batch_and_not_with_this_process() -> None:
    ballast = bytearray(b"x") * (1 << 28)
    small, large = (peak_bytes(NUMPY, Workload("lenet5", batch), Device()) for batch in (4, 512))
    assert small is not None
    assert large is not None
    images, maps = 512 * 32 * 32 * 4, 512 * 6 * 28 * 28 * 4
    assert small < images + maps < large < len(ballast)


def test_a_process_that_fails_is_quoted() -> None:
    with pytest.raises(BenchmarkError) as raised:
        peak_bytes(NUMPY, Workload("lenet6", 2), Device())
    assert str(raised.value).startswith(
        "the memory of gpucnn numpy on lenet6 2 could not be measured: gpucnn.errors.ArgumentError: unknown model 'lenet6'"
    )


def test_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(peak_memory, "STATUS", peak_memory.STATUS.parent / "no such file")
    assert peak_bytes(NUMPY, Workload("lenet5", 2), Device()) is None
