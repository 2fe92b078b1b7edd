"""What is said of the machine."""

import platform

import numpy as np
import pytest

from gpucnn import __version__
from gpucnn.backend import Device
from gpucnn.benchmark import machine, pytorch
from gpucnn.kernels import jit


def test_all_that_matters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCNN_NUM_THREADS", "3")
    monkeypatch.setattr(pytorch, "missing", lambda device: "PyTorch is not installed: pip install torch")
    monkeypatch.setattr(jit, "missing", lambda: "llvmlite is not installed")
    found = machine.describe(Device())
    assert list(found) == ["processor", "system", "Python", "NumPy", "gpucnn", "PyTorch"]
    assert found["processor"].endswith(", 3 threads")
    assert found["Python"] == platform.python_version()
    assert found["NumPy"].startswith(f"{np.__version__} with ")
    assert found["gpucnn"] == f"{__version__}, numpy only: llvmlite is not installed"
    assert found["PyTorch"] == "PyTorch is not installed: pip install torch"
