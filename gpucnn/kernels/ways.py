"""How an operation computes, and the one place where that is chosen.

    FUSED         kernels in CUDA C that do in one launch what takes several else, where sizes are small
    DEPTHWISE     kernels in CUDA C for convolution whose channels have filters of their own, plane by plane
    FEW_CHANNELS  the same of images with up to 4 channels, as first layers have
    TENSOR_CORES  as IMPLICIT, in TF32 or bf16 on tensor cores, where that `backend.precision` is chosen and the GPU has them
    IMPLICIT      kernels in CUDA C that gather what they multiply while they do, where sizes favour it over columns
    CUDA          our kernels in CUDA C, on CuPy's arrays of float32, float64 and, as BF16 has it, bfloat16
    COMPILED      loops that are compiled at first use, on NumPy's arrays of float32: the extra `fast`
    NUMPY         NumPy on all threads
    PLAIN         the text to read, on any array module: what the other ways must equal

Each operation has a folder, with a file for each of its ways, and for each of its functions a table from way to function.
All functions in a table have the same parameters. A way may decline a task that it does badly: then the next one is asked.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from importlib.machinery import NamespaceLoader
from typing import Any, TypeAlias

import numpy as np

from gpucnn.backend import Array, chosen_precision
from gpucnn.backend.cuda import has_tensor_cores
from gpucnn.errors import ArgumentError, CaptureError
from gpucnn.kernels.compiler.processor import supported_processor
from gpucnn.kernels.compiler.recording import recorder
from gpucnn.kernels.kernel import ARITHMETIC

VARIABLE, MODES = "GPUCNN_CPU", ("plain", "numpy", "jit")


class Way(Enum):
    """How an operation computes."""

    FUSED = "fused"
    DEPTHWISE = "depthwise"
    FEW_CHANNELS = "few channels"
    TENSOR_CORES = "tensor cores"
    IMPLICIT = "implicit"
    CUDA = "cuda"
    COMPILED = "compiled"
    NUMPY = "numpy"
    PLAIN = "plain"

    __hash__ = object.__hash__  # Enum's own is written in Python, and is called five times for an operation


WITHOUT_COLUMNS = (Way.DEPTHWISE, Way.FEW_CHANNELS, Way.TENSOR_CORES, Way.IMPLICIT)
"""Those of convolution on a GPU alone."""

ASKED_IN_TURN = {
    Way.TENSOR_CORES: (Way.FUSED, Way.DEPTHWISE, Way.FEW_CHANNELS, Way.TENSOR_CORES, Way.CUDA, Way.PLAIN),
    Way.CUDA: (Way.FUSED, Way.DEPTHWISE, Way.FEW_CHANNELS, Way.IMPLICIT, Way.CUDA, Way.PLAIN),
    Way.COMPILED: (Way.COMPILED, Way.NUMPY, Way.PLAIN),
    Way.NUMPY: (Way.NUMPY, Way.PLAIN),
    Way.PLAIN: (Way.PLAIN,),
}
"""The ways to try on arrays for which each would be the fastest."""

Suits: TypeAlias = Mapping[Way, Callable[[Any], bool]]
"""Of each way that may decline a task whether it does it well."""

_FLOAT32 = np.dtype(np.float32)
_chosen: str | None = None
_left_out: tuple[Way, ...] = ()


def way_of(*arrays: Array | None) -> Way:
    """The fastest way that works on these arrays; None among them does no harm. NumPy's and CuPy's do not mix."""
    found = Way.COMPILED
    for array in arrays:
        if array is None or (type(array) is np.ndarray and array.dtype == _FLOAT32):  # the usual case, at once
            continue
        if not isinstance(array, np.ndarray | np.generic):
            return _way_on_gpu(array)
        found = Way.NUMPY
    wanted = _chosen or mode()
    return Way.PLAIN if wanted == "plain" else Way.NUMPY if wanted == "numpy" else found


def _way_on_gpu(array: Array) -> Way:
    if array.dtype not in ARITHMETIC:
        return Way.PLAIN
    rounds = array.dtype == _FLOAT32 and chosen_precision() != "float32"
    return Way.TENSOR_CORES if rounds and has_tensor_cores(array.data.device_id) else Way.CUDA


def rounds_to_tf32(array: Array) -> int:
    """Whether a kernel on a GPU rounds what it multiplies to TF32, as it is told: 1 or 0. GPUs without tensor cores do not."""
    wanted = array.dtype == _FLOAT32 and chosen_precision() == "tf32"
    return int(wanted and has_tensor_cores(array.data.device_id))


def choose(ways: Mapping[Way, Any], *arrays: Array | None, task: Any = None, suits: Suits | None = None) -> Way:
    """The first way in the table that works on these arrays and does not decline the task."""
    for way in ASKED_IN_TURN[way_of(*arrays)]:
        if way in ways and way not in _left_out and (suits is None or way not in suits or suits[way](task)):
            if way is not Way.COMPILED and recorder() is not None:
                raise CaptureError(
                    f"{_operation(ways[way])} is computed in the {way.value} way here, not by compiled loops; leave such "
                    f"steps as they are: graph=False (--no-graph)"
                )
            return way
    raise AssertionError("every operation has a plain way")


def _operation(function: Callable[..., Any]) -> str:
    """The operation that a function of a table belongs to: the name of its folder, or file."""
    return function.__module__.removeprefix("gpucnn.kernels.").partition(".")[0]


def mode() -> str:
    """How this process computes on the CPU: "plain", "numpy" or "jit", as the environment variable GPUCNN_CPU says.

    Without it "jit" where llvmlite is installed and knows the processor, else "numpy". Raises ArgumentError if the variable
    is something else, or says "jit" where that does not work, with the reason.
    """
    global _chosen
    if _chosen is None:
        wanted = os.environ.get(VARIABLE, "")
        if wanted not in ("", *MODES):
            raise ArgumentError(
                f'{VARIABLE} must be "plain", "numpy" or "jit", got {wanted!r}; unset it to use the fastest there is'
            )
        problem = "" if wanted in ("plain", "numpy") else missing()
        if wanted == "jit" and problem:
            raise ArgumentError(f"{VARIABLE}=jit, but {problem}")
        _chosen = wanted or ("numpy" if problem else "jit")
    return _chosen


def missing() -> str:
    """Why loops cannot be compiled here, and what helps; empty where they can."""
    spec = importlib.util.find_spec("llvmlite")
    loader = None if spec is None else spec.loader
    if loader is None or isinstance(loader, NamespaceLoader):  # that of a folder of that name without a module
        return 'llvmlite is not installed: pip install "gpucnn[fast]"'
    try:
        known = supported_processor()
    except Exception as error:  # a broken llvmlite raises what it likes
        return f"llvmlite does not work ({error}): pip install --force-reinstall llvmlite"
    return "" if known is not None else "this processor has neither AVX-512, AVX2 with FMA nor NEON"


def describe() -> str:
    """What computes on the CPU, and why, in a few words."""
    if mode() == "plain":
        return f"NumPy, the plain way ({VARIABLE}=plain)"
    if mode() == "numpy":
        reason = f"{VARIABLE}=numpy" if os.environ.get(VARIABLE) == "numpy" else missing()
        return f"NumPy ({reason})"
    known = supported_processor()
    assert known is not None
    return f"compiled by llvmlite for {known.processor}, {known.lanes} floats at a time"


@contextmanager
def leave_out(*ways: Way) -> Iterator[None]:
    """Inside, no operation is computed in these ways: to compare them with the one that is asked next."""
    global _left_out
    before, _left_out = _left_out, ways
    try:
        yield
    finally:
        _left_out = before


@contextmanager
def use(name: str) -> Iterator[None]:
    """Inside, compute on the CPU as `name` says: "plain", "numpy" or "jit"."""
    global _chosen
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before
