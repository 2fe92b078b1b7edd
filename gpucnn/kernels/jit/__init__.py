"""Compiled loops for the CPU, in float32: what the extra `fast` brings, through llvmlite.

The modules here import llvmlite, so they load at first use; `accepts` says whether to use them.
"""

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import NamespaceLoader
from typing import Any

import numpy as np

from gpucnn.backend import Array
from gpucnn.errors import ArgumentError

VARIABLE, MODES = "GPUCNN_CPU", ("numpy", "jit")
_MODULES = (
    "addition",
    "batch_norm",
    "builder",
    "compiler",
    "convolution",
    "cross_entropy",
    "exponential",
    "host",
    "kernel",
    "linear",
    "lockstep",
    "max_pool",
    "padded",
    "phases",
    "relu",
    "updates",
)
_FLOAT = np.dtype(np.float32)
_chosen: str | None = None


def accepts(*arrays: Array | None) -> bool:
    """Whether compiled loops work on these arrays: NumPy's, of float32, where they are in use. None does no harm."""
    for array in arrays:
        if array is not None and (type(array) is not np.ndarray or array.dtype != _FLOAT):
            return False
    return mode() == "jit"


def mode() -> str:
    """How this process computes on the CPU: "numpy" or "jit", as the environment variable GPUCNN_CPU says.

    Without it "jit" where llvmlite is installed and knows the processor. Raises ArgumentError if the variable is neither of
    both, or says "jit" where that does not work, with the reason.
    """
    global _chosen
    if _chosen is None:
        wanted = os.environ.get(VARIABLE, "")
        if wanted not in ("", *MODES):
            raise ArgumentError(f'{VARIABLE} must be "numpy" or "jit", got {wanted!r}; unset it to use what there is')
        problem = "" if wanted == "numpy" else missing()
        if wanted == "jit" and problem:
            raise ArgumentError(f"{VARIABLE}=jit, but {problem}")
        _chosen = wanted or ("numpy" if problem else "jit")
    return _chosen


def missing() -> str:
    """Why loops cannot be compiled here, and what helps; empty where they can."""
    spec = importlib.util.find_spec("llvmlite")
    if (
        spec is None or spec.loader is None or isinstance(spec.loader, NamespaceLoader)
    ):  # that of a folder of that name without a module
        return 'llvmlite is not installed: pip install "gpucnn[fast]"'
    try:
        known: Any = importlib.import_module("gpucnn.kernels.jit.host").host()
    except Exception as error:  # a broken llvmlite raises what it likes
        return f"llvmlite does not work ({error}): pip install --force-reinstall llvmlite"
    return "" if known is not None else "this processor has neither AVX-512, AVX2 with FMA nor NEON"


def describe() -> str:
    """What computes on the CPU, and why, in a few words."""
    if mode() == "numpy":
        reason = f"{VARIABLE}=numpy" if os.environ.get(VARIABLE) == "numpy" else missing()
        return f"NumPy ({reason})"
    known = importlib.import_module("gpucnn.kernels.jit.host").host()
    return f"compiled by llvmlite for {known.processor}, {known.lanes} floats at a time"


@contextmanager
def use(name: str) -> Iterator[None]:
    """Inside, compute on the CPU as `name` says, "numpy" or "jit"."""
    global _chosen
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
