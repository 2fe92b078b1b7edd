"""The machine that was measured, the software on it, and the terms on which both compute."""

import ctypes
import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn import __version__
from gpucnn.backend import Device
from gpucnn.backend.threads import thread_count
from gpucnn.benchmark import pytorch
from gpucnn.errors import ArgumentError, BenchmarkError
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import processor

WITHOUT_AVX512 = {
    "GPUCNN_AVX2": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""Environment variables: ours, and those of PyTorch and the libraries that it computes with."""

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""glibc's names of two of its settings, see `man mallopt`."""


def describe(device: Device) -> dict[str, str]:
    """What a reader needs to know of the machine, by name."""
    found = {
        "processor": f"{_processor()}, {thread_count()} threads",
        "system": platform.platform(),
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} with {_blas()}",
        "gpucnn": f"{__version__}, {_jit()}" if device.kind == "cpu" else __version__,
        "PyTorch": pytorch.missing(device) or _pytorch(device),
    }
    if device.kind == "cuda":
        found |= {"GPU": _gpu(device), "CuPy": str(device.xp.__version__)}
    return found


def without_avx512() -> None:
    """From here on compute as if the processor had no AVX-512: our compiled loops, and PyTorch, also in new processes.

    Raises BenchmarkError if one of both has looked at the processor already.
    """
    early = [] if "torch" not in sys.modules else ["PyTorch"]
    os.environ.update(WITHOUT_AVX512)
    if not ways.missing() and processor.processor().lanes > processor.LANES["fma"]:
        early.append("gpucnn")
    if early:
        raise BenchmarkError(f"--avx2 comes too late for {' and '.join(early)}: ask for it in a new process")


def keep_freed_memory() -> None:
    """From now on freed memory stays with this process: new arrays, whoever makes them, cost no page faults.

    What a program then takes is arithmetic alone, where by default it may mostly be the system's making of pages. It cannot
    be taken back: set once, glibc no longer adapts by itself. Raises ArgumentError where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS; musl has one that does nothing; Windows wants a name
        mallopt = None
    if mallopt is None or not (mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, 2**31 - 1)):
        raise ArgumentError("freed memory can only be kept with glibc (Linux); measure without --keep-memory")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _blas() -> str:
    configuration: Any = np.show_config(mode="dicts")
    blas = configuration.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'an unknown BLAS')} {blas.get('version', '')}".strip()


def _jit() -> str:
    if problem := ways.missing():
        return f"numpy only: {problem}"
    lanes = processor.processor().lanes
    return f"numpy, and jit with llvmlite {importlib.metadata.version('llvmlite')}, {lanes} floats at a time"


def _pytorch(device: Device) -> str:
    torch = pytorch.torch()
    if device.kind == "cpu":
        return f"{torch.__version__}, {torch.get_num_threads()} threads"
    return f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, no TF32"


def _gpu(device: Device) -> str:
    properties = device.xp.cuda.runtime.getDeviceProperties(device.index)
    return f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 1e9:.0f} GB"
