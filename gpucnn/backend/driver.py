"""The NVIDIA driver, asked without CuPy: for `gpucnn doctor`, which must know it when CuPy does not work."""

import ctypes
import os
import subprocess
from pathlib import Path

_NVIDIA = "0x10de"


def newest_cuda() -> int:
    """The newest CUDA that the driver runs, e.g. 12040 for 12.4; 0 if its library cannot be loaded."""
    version = ctypes.c_int(0)
    try:
        library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        library.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value


def version() -> str | None:
    """The driver's own version, e.g. 580.159.03, from nvidia-smi; None if that does not answer."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(answer.stdout.split()), None)


def device_on_bus() -> bool:
    """Whether Linux lists a PCI device made by NVIDIA; False where there is no such list."""
    return any(file.read_text().strip() == _NVIDIA for file in Path("/sys/bus/pci/devices").glob("*/vendor"))


def cuda_text(version: int) -> str:
    """12040 as 12.4."""
    return f"{version // 1000}.{version % 1000 // 10}"
