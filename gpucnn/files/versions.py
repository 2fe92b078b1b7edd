"""What the bits of a run depend on, beside its configuration and its data."""

import importlib.metadata
import platform

import numpy as np

from gpucnn import __version__
from gpucnn.backend import Device
from gpucnn.kernels import ways


def versions() -> dict[str, str]:
    """Of gpucnn, NumPy and Python."""
    return {"gpucnn": __version__, "numpy": np.__version__, "python": platform.python_version()}


def versions_on(device: Device) -> dict[str, str]:
    """These, and what computes on `device`: which GPU and CuPy, or loops compiled by which llvmlite for which processor."""
    if device.kind == "cuda":
        properties = device.xp.cuda.runtime.getDeviceProperties(device.index)
        return {**versions(), "gpu": properties["name"].decode(), "cupy": str(device.xp.__version__)}
    compiler = {"llvmlite": importlib.metadata.version("llvmlite")} if ways.mode() == "jit" else {}
    return {**versions(), "cpu": ways.describe(), **compiler}
