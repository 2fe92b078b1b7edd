"""What is installed for a GPU, asked without CuPy: NVIDIA's driver, which CuPy, and the commands that mend it; for `gpucnn doctor`."""

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import re
import subprocess
from pathlib import Path

_NVIDIA = "0x10de"
_DISTRIBUTION = re.compile(r"cupy|cupy-cuda(\d\d)\w*|cupy-rocm[\w-]*|amd-cupy")


class Installation:
    """What is installed, and the commands that mend it."""

    @functools.cached_property
    def driver_cuda(self) -> int:
        """See `newest_cuda`."""
        return newest_cuda()

    @functools.cached_property
    def distributions(self) -> dict[str, str]:
        """The version of every installed distribution that brings a package cupy."""
        complete = [item for item in importlib.metadata.distributions() if item.metadata and item.metadata["Name"]]
        versions = {re.sub(r"[-_.]+", "-", item.metadata["Name"]).lower(): item.version for item in complete}
        return {name: versions[name] for name in sorted(versions) if _DISTRIBUTION.fullmatch(name)}

    @functools.cached_property
    def has_cupy(self) -> bool:
        if self.distributions:
            return True
        spec = importlib.util.find_spec("cupy")
        return spec is not None and spec.origin is not None  # a folder of that name without a module has none

    @property
    def wheel_cuda(self) -> int:
        """The CUDA major version that the only distribution was built for; 0 if its name tells none."""
        match = _DISTRIBUTION.fullmatch(next(iter(self.distributions))) if len(self.distributions) == 1 else None
        return int(match[1] or 0) if match else 0

    @property
    def install(self) -> str:
        """What installs CuPy for the driver there is."""
        return f'pip install "gpucnn[{"cuda12" if self.driver_cuda // 1000 == 12 else "cuda13"}]"'

    @property
    def reinstall(self) -> str:
        """What puts the right CuPy in place of all there is."""
        return f"pip uninstall -y {' '.join(self.distributions or ['cupy'])}, then {self.install}"

    @property
    def add_libraries(self) -> str:
        """What brings the CUDA libraries that the installed CuPy needs."""
        if len(self.distributions) > 1:
            return self.reinstall
        if not self.wheel_cuda:
            return "install the CUDA toolkit that this CuPy was built for"
        return f'pip install "{next(iter(self.distributions))}[ctk]"'


def newest_cuda() -> int:
    """The newest CUDA that the driver runs, e.g. 12040 for 12.4; 0 if its library cannot be loaded."""
    version = ctypes.c_int(0)
    try:
        library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        library.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value


def driver_version() -> str | None:
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
