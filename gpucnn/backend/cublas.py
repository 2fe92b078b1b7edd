"""NVIDIA's matrix products, cuBLAS: the library that CuPy has loaded, asked directly, through handles of our own.

CuPy asks it for no product while a stream is captured, and its handle takes the workspace away with every change of
the stream; a product that is captured without one allocates memory in every replay. Sizes and layouts are cuBLAS's here,
column by column; `gpucnn.kernels.gemm` has the arrays.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend.arrays import loaded
from gpucnn.backend.precision import chosen_precision
from gpucnn.errors import CaptureError, DeviceError

WORKSPACE_BYTES = 32 << 20
"""What NVIDIA recommends for Hopper; older GPUs use less of it."""

TYPES = {np.dtype(np.float16): 2, np.dtype(np.float32): 0, np.dtype(np.float64): 1}
"""The dtypes that are multiplied, by cuBLAS's numbers for them (`cudaDataType_t`)."""

_FLOAT32 = np.dtype(np.float32)
_COMPUTES = {2: 68, 0: 68, 1: 70}
"""What each of them is computed in (`cublasComputeType_t`)."""
_COMPUTE_ROUNDED = {"tf32": 77, "bf16": 75}
"""In which float32 is multiplied as a `precision` has it: by tensor cores, where the GPU has any, and added up in float32."""
_DEFAULT_ALGORITHM = -1
_STATUS = {
    1: "NOT_INITIALIZED", 3: "ALLOC_FAILED", 7: "INVALID_VALUE", 8: "ARCH_MISMATCH", 11: "MAPPING_ERROR",
    13: "EXECUTION_FAILED", 14: "INTERNAL_ERROR", 15: "NOT_SUPPORTED", 16: "LICENSE_ERROR",
}  # fmt: skip

_OUT_OF_MEMORY = 3
_FIXES = {
    1: "the GPU's memory may be full; make the batch or the model smaller, or end what else uses the GPU",
    13: "an earlier kernel may have failed; run with CUDA_LAUNCH_BLOCKING=1 to see which",
}


class Matrix(NamedTuple):
    """A batch of matrices in memory, as cuBLAS is told of them."""

    array: int
    """Its place among the arrays of a product."""
    offset: int
    """In bytes, from the array's address to the first matrix."""
    transposed: bool
    leading: int
    """The elements from one column to the next."""
    distance: int
    """The elements from one matrix to the next; 0 for one that serves for all."""


class Product(NamedTuple):
    """One call of cuBLAS: `batch` products of (m, k) and (k, n), column by column."""

    first: Matrix
    second: Matrix
    result: Matrix
    batch: int
    m: int
    n: int
    k: int


_ONE, _ZERO = (ctypes.c_float(1), ctypes.c_double(1)), (ctypes.c_float(0), ctypes.c_double(0))
_SCALARS = {dtype: tuple(ctypes.addressof(number[dtype == np.float64]) for number in (_ONE, _ZERO)) for dtype in TYPES}
"""Where 1 and 0 stand in the type in which arrays of a dtype are computed."""


class _Here(threading.local):
    """What a thread has: handles are not for two at a time."""

    def __init__(self) -> None:
        self.cupy: ModuleType | None = None
        self.handles: dict[int, Handle] = {}


class Handle:
    """One thread's access to cuBLAS on one device.

    Each stream has a workspace, since products of two streams may run at the same time, and keeps it: a captured graph has
    its address. It is of no pool, as what cuBLAS takes for itself would be. Whoever captures keeps the handle as long as the graph.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy, self._library = cupy, library(cupy)
        self._stream: int | None = None
        self._workspaces: dict[int, tuple[Any, Any]] = {}
        """By the address of its stream: the stream, so that no other gets that address, and the workspace."""
        self._multiply = self._library.cublasGemmStridedBatchedEx
        pointer = ctypes.c_void_p()
        _check(self._library.cublasCreate_v2(ctypes.addressof(pointer)), "a handle could not be made")
        self._pointer: int | None = pointer.value

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is not None and not sys.is_finalizing():
            self._library.cublasDestroy_v2(self._pointer)

    def multiply(self, product: Product, addresses: Sequence[int], dtype: np.dtype) -> None:
        """Make a product of arrays of `dtype`, whose addresses are given, on the current stream.

        Raises DeviceError, with cuBLAS's own word, if it refuses, and MemoryError if it has none.
        """
        self.take_current_stream()
        one, zero = _SCALARS[dtype]
        kind = TYPES[dtype]
        compute = _COMPUTES[kind]
        if kind == TYPES[_FLOAT32]:
            compute = _COMPUTE_ROUNDED.get(chosen_precision(), compute)
        first, second, result, batch, m, n, k = product
        status = self._multiply(
            self._pointer, first.transposed, second.transposed, m, n, k,
            one, addresses[first.array] + first.offset, kind, first.leading, first.distance,
            addresses[second.array] + second.offset, kind, second.leading, second.distance,
            zero, addresses[result.array] + result.offset, kind, result.leading, result.distance,
            batch, compute, _DEFAULT_ALGORITHM,
        )  # fmt: skip
        if status:
            _check(status, f"{batch} product(s) of {dtype}, m={m}, n={n}, k={k}, failed")

    def take_current_stream(self) -> None:
        """From now on work on the current stream, with its workspace. Raises CaptureError for a new one that is captured."""
        stream = self._cupy.cuda.get_current_stream()
        address = int(stream.ptr)
        if address == self._stream:
            return
        if address not in self._workspaces:
            _refuse_in_capture(stream)
            self._workspaces[address] = stream, self._cupy.cuda.Memory(WORKSPACE_BYTES)
        workspace = self._workspaces[address][1]
        self._stream = None  # if one of the two fails, both come again
        _check(self._library.cublasSetStream_v2(self._pointer, address), "a stream could not be set")
        _check(  # after the stream, which takes the workspace away
            self._library.cublasSetWorkspace_v2(self._pointer, workspace.ptr, WORKSPACE_BYTES),
            "a workspace could not be set",
        )
        self._stream = address


_here = _Here()


def prepare() -> Handle:
    """Make what a product on the current device and its current stream needs, so that one can be captured.

    To be kept as long as what was captured. Raises CaptureError if a capture has begun.
    """
    handle = handle_here()
    handle.take_current_stream()
    return handle


def handle_here() -> Handle:
    """This thread's handle of the current device."""
    cupy = loaded()
    assert cupy is not None, "there is a device"
    if cupy is not _here.cupy:  # a stand-in has taken CuPy's place, or left it
        _here.cupy, _here.handles = cupy, {}
    device = cupy.cuda.runtime.getDevice()
    handle = _here.handles.get(device)
    if handle is None:
        _refuse_in_capture(cupy.cuda.get_current_stream())
        handle = _here.handles[device] = Handle(cupy)
    return handle


def library(cupy: Any) -> Any:
    """The functions of cuBLAS by their names in C; those of a stand-in are its `cublas_library`.

    Raises DeviceError if CuPy has loaded none.
    """
    own = getattr(cupy, "cublas_library", None)
    return _loaded_library(cupy) if own is None else own


def _loaded_library(cupy: Any) -> ctypes.CDLL:
    try:
        cupy.cuda.cublas  # noqa: B018  loads it
        name = _file_name(cupy.cuda.runtime.runtimeGetVersion() // 1000)
        # The one of that name that is in memory, wherever CuPy has found it: never another.
        found = ctypes.CDLL(name) if os.name == "nt" else ctypes.CDLL(name, os.RTLD_NOW | os.RTLD_NOLOAD)
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"cuBLAS, which multiplies matrices, cannot be used ({' '.join(str(error).split())}); fix: "
            f'pip install "cupy-cuda13x[ctk]" (or "cupy-cuda12x[ctk]"), which brings it'
        ) from error
    address, number, distance = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
    matrix = [address, number, number, distance]
    for function, arguments in {
        "cublasCreate_v2": [address],
        "cublasDestroy_v2": [address],
        "cublasSetStream_v2": [address, address],
        "cublasSetWorkspace_v2": [address, address, ctypes.c_size_t],
        "cublasGemmStridedBatchedEx": [
            address, *[number] * 5, address, *matrix, *matrix, address, *matrix, number, number, number,
        ],
    }.items():  # fmt: skip
        getattr(found, function).argtypes = arguments
    return found


def _file_name(major: int) -> str:
    """What the library of a CUDA version is called, here."""
    return f"cublas64_{major}.dll" if os.name == "nt" else f"libcublas.so.{major}"


def _refuse_in_capture(stream: Any) -> None:
    if stream.is_capturing():
        raise CaptureError(
            "a matrix product was captured on a stream that cuBLAS has no workspace for; fix: run the step once on that "
            "stream, or call gpucnn.backend.cublas.prepare() there, before the capture begins"
        )


def _check(status: int, what: str) -> None:
    if status:
        text = f"cuBLAS: {what} with CUBLAS_STATUS_{_STATUS.get(status, status)}"
        if status == _OUT_OF_MEMORY:
            raise MemoryError(text)
        raise DeviceError(f"{text}; fix: {_FIXES.get(status, 'look at what `gpucnn doctor` says')}")
