"""What the bits of a run depend on, beside its configuration, its data and its device."""

import platform

import numpy as np

from gpucnn import __version__
from gpucnn.kernels import jit


def versions() -> dict[str, str]:
    """The versions of gpucnn, NumPy and Python, and how the CPU computes, e.g. in loops compiled for which processor."""
    return {
        "gpucnn": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu": jit.describe(),
    }
