"""What is said of the machine."""

import functools
import os
import platform
import sys

import numpy as np
import pytest

from gpucnn import __version__
from gpucnn.backend import Device
from gpucnn.benchmark import machine, pytorch
from gpucnn.errors import BenchmarkError
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import processor


def test_all_that_matters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCNN_NUM_THREADS", "3")
    monkeypatch.setattr(pytorch, "missing", lambda device: "PyTorch is not installed: pip install torch")
    monkeypatch.setattr(ways, "missing", lambda: "llvmlite is not installed")
    found = machine.describe(Device())
    assert list(found) == ["processor", "system", "Python", "NumPy", "gpucnn", "PyTorch"]
    assert found["processor"].endswith(", 3 threads")
    assert found["Python"] == platform.python_version()
    assert found["NumPy"].startswith(f"{np.__version__} with ")
    assert found["gpucnn"] == f"{__version__}, numpy only: llvmlite is not installed"
    assert found["PyTorch"] == "PyTorch is not installed: pip install torch"


NAMES = ("avx2", "fma", "avx512f", "avx512vl", "avx512bw")


def on_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has AVX-512, which nobody has looked at yet."""
    binding = pytest.importorskip("llvmlite.binding", reason="needs llvmlite")
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: binding.FeatureMap(dict.fromkeys(NAMES, True)))
    monkeypatch.setattr(binding, "get_host_cpu_name", lambda: "skylake-avx512")
    monkeypatch.setattr(binding, "get_process_triple", lambda: "x86_64-unknown-linux-gnu")
    monkeypatch.setattr(processor, "supported_processor", functools.cache(processor.supported_processor.__wrapped__))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in machine.WITHOUT_AVX512:
        monkeypatch.setenv(name, "")  # so that it will be as it was
        monkeypatch.delenv(name)


def test_avx512_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, PyTorch's, and that of the processes which measure memory; the code on disk has another name."""
    on_avx512(monkeypatch)
    widest = processor.supported_processor.__wrapped__()
    machine.without_avx512()
    known = processor.processor()
    assert (widest.lanes, known.lanes, known.processor) == (16, 8, "skylake-avx512")
    assert known.features.split(",") == ["+avx2", "-avx512bw", "-avx512f", "-avx512vl", "+fma"]
    assert machine.describe(Device())["gpucnn"].endswith(", 8 floats at a time")
    assert {name: os.environ[name] for name in machine.WITHOUT_AVX512} == machine.WITHOUT_AVX512
    assert repr(known) != repr(widest)  # what a file in the cache is called after


def test_it_is_refused_once_the_processor_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    on_avx512(monkeypatch)
    assert processor.processor().lanes == 16
    with pytest.raises(BenchmarkError, match="^--avx2 comes too late for gpucnn: ask for it in a new process$"):
        machine.without_avx512()


def test_it_is_refused_once_pytorch_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    on_avx512(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch", sys)
    with pytest.raises(BenchmarkError, match="^--avx2 comes too late for PyTorch: ask for it in a new process$"):
        machine.without_avx512()
