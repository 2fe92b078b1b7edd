"""Freed memory that is kept, in a process of its own, as it cannot be given back."""

import ctypes
import platform
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from gpucnn.benchmark.machine import keep_freed_memory
from gpucnn.errors import ArgumentError

CODE = """
import numpy as np
from gpucnn.benchmark.machine import keep_freed_memory
from gpucnn.benchmark.timing import Surroundings

def faults():
    before = Surroundings().page_faults()
    for _ in range(4):
        np.ones(1 << 24, np.float32)
    return Surroundings().page_faults() - before

default = faults()
keep_freed_memory()
np.ones(1 << 24, np.float32)
print(default, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_new_arrays_cost_no_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    default, kept = map(int, done.stdout.split())
    assert kept < 100
    assert default > 10 * max(kept, 1)


def no_library(name: str) -> object:
    """What `ctypes.CDLL(None)` does on Windows."""
    raise TypeError("LoadLibrary() argument 1 must be str, not None")


@pytest.mark.parametrize(
    "load", [lambda name: SimpleNamespace(), lambda name: SimpleNamespace(mallopt=lambda name, value: 0), no_library]
)
def test_other_libraries_are_refused(load: Callable[[str], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", load)
    with pytest.raises(ArgumentError) as raised:
        keep_freed_memory()
    assert str(raised.value) == "freed memory can only be kept with glibc (Linux); measure without --keep-memory"
