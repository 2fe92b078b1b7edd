"""The stand-in's cuBLAS: the functions that `gpucnn.backend.cublas` calls, on raw addresses.

It refuses what cuBLAS refuses, by the same status, and with a KernelError what cuBLAS would not notice: memory that
is not there, or of another device, a product without a workspace, a result that overlaps.
"""

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend.blas import one_blas_thread
from gpucnn.errors import KernelError
from gpucnn.testing.cupy_memory import block_at

_SUCCESS, _NOT_INITIALIZED, _INVALID_VALUE, _NOT_SUPPORTED = 0, 1, 7, 15
_NONE, _TRANSPOSED = 0, 1
_TYPES: dict[int, np.dtype] = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 2: np.dtype(np.float16)}
_COMPUTES = {68: (0, 2), 70: (1,), 75: (0,), 77: (0,)}
"""The types of arrays that each way to compute takes."""

_BF16, _TF32 = 75, 77
_INT_MAX = 2**31 - 1


class _Handle:
    def __init__(self, device: int) -> None:
        self.device = device
        self.stream = 0
        self.has_workspace = False


class _Matrices(NamedTuple):
    """A batch of matrices, column by column in memory."""

    name: str
    address: int
    rows: int
    columns: int
    leading: int
    distance: int
    batch: int
    dtype: np.dtype

    @property
    def end(self) -> int:
        """Behind the last byte."""
        elements = self.leading * (self.columns - 1) + self.rows + self.distance * (self.batch - 1)
        return self.address + elements * self.dtype.itemsize

    def array(self) -> np.ndarray:
        """(batch, columns, rows): what lies together is the last axis."""
        shape, steps = (self.batch, self.columns, self.rows), (self.distance, self.leading, 1)
        return np.asarray(_Memory(self.address, shape, [step * self.dtype.itemsize for step in steps], self.dtype))


class _Memory:
    """What NumPy takes for an array."""

    def __init__(self, address: int, shape: tuple[int, ...], strides: list[int], dtype: np.dtype) -> None:
        self.__array_interface__ = {
            "version": 3, "data": (address, False), "shape": shape, "strides": tuple(strides), "typestr": dtype.str,
        }  # fmt: skip


class CublasStandIn:
    """cuBLAS for a `CupyStandIn`. The functions have the names and parameters of C, and return a status.

    Each product is one operation in the log, with `(batch, m, n, k)` as cuBLAS is given them.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._handles: dict[int, _Handle] = {}
        self._made = 0

    def cublasCreate_v2(self, handle: int) -> int:
        """Make a handle of the current device and put it at an address of the host."""
        self._made += 1
        self._handles[self._made] = _Handle(self._cupy._current.index)
        ctypes.c_void_p.from_address(handle).value = self._made
        return _SUCCESS

    def cublasDestroy_v2(self, handle: int) -> int:
        """Forget a handle."""
        return _NOT_INITIALIZED if self._handles.pop(handle, None) is None else _SUCCESS

    def cublasSetStream_v2(self, handle: int, stream: int) -> int:
        """Work on that stream from now on, with no workspace of the caller's."""
        if handle not in self._handles:
            return _NOT_INITIALIZED
        self._handles[handle].stream, self._handles[handle].has_workspace = stream, False
        return _SUCCESS

    def cublasSetWorkspace_v2(self, handle: int, workspace: int, size: int) -> int:
        """Use that memory."""
        if handle not in self._handles:
            return _NOT_INITIALIZED
        self._check_memory("the workspace", workspace, workspace + size)
        self._handles[handle].has_workspace = True
        return _SUCCESS

    def cublasGemmStridedBatchedEx(
        self, handle: int, transa: int, transb: int, m: int, n: int, k: int,
        alpha: int, a: int, atype: int, lda: int, stridea: int,
        b: int, btype: int, ldb: int, strideb: int,
        beta: int, c: int, ctype: int, ldc: int, stridec: int,
        batch: int, compute: int, algorithm: int,
    ) -> int:  # fmt: skip
        """C = alpha op(A) op(B) + beta C, `batch` times; op(A) is (m, k), op(B) (k, n)."""
        if handle not in self._handles:
            return _NOT_INITIALIZED
        for number in (transa, transb, m, n, k, lda, ldb, ldc, batch):
            if not -_INT_MAX <= number <= _INT_MAX:
                raise KernelError(f"cublasGemmStridedBatchedEx: {number} is no int of 32 bits")
        if min(m, n, k, batch) < 0 or not {transa, transb} <= {_NONE, _TRANSPOSED}:
            return _INVALID_VALUE
        rows_a, columns_a = (k, m) if transa else (m, k)
        rows_b, columns_b = (n, k) if transb else (k, n)
        if lda < max(1, rows_a) or ldb < max(1, rows_b) or ldc < max(1, m):
            return _INVALID_VALUE
        if not atype == btype == ctype or ctype not in _COMPUTES.get(compute, ()):
            return _NOT_SUPPORTED
        if 0 in (m, n, batch):
            return _SUCCESS
        dtype = _TYPES[ctype]
        first = _Matrices("A", a, rows_a, columns_a, lda, stridea, batch, dtype)
        second = _Matrices("B", b, rows_b, columns_b, ldb, strideb, batch, dtype)
        result = _Matrices("C", c, m, n, ldc, stridec, batch, dtype)
        self._check_order(self._handles[handle])
        read = (first, second) if k else ()
        for operand in (*read, result):  # all of them first: what goes beyond its array may overlap whatever lies there
            self._check_operand(operand)
        for operand in read:
            if operand.address < result.end and result.address < operand.end:
                raise KernelError(f"cuBLAS: {operand.name} and the result, C, overlap")
        if result.array().size > 1 and _meets_itself(result):
            raise KernelError("cuBLAS: the matrices of the result, C, overlap")
        scalar = ctypes.c_double if ctype == 1 else ctypes.c_float
        factors = [scalar.from_address(address).value for address in (alpha, beta)]

        def multiply() -> None:
            left, right = second.array(), first.array()  # row by row: C^T = op(B)^T op(A)^T
            left = left.swapaxes(1, 2) if transb else left
            right = right.swapaxes(1, 2) if transa else right
            _multiply(left, right, result.array(), ROUNDED.get(compute), *factors)

        self._cupy._log("product", "gemm", (batch, m, n, k))
        self._perform(multiply)
        return _SUCCESS

    def _perform(self, work: Callable[[], None]) -> None:
        """Do what the GPU is asked to do."""
        self._cupy._do(work)

    def _check_order(self, handle: _Handle) -> None:
        here = self._cupy._current.index
        if handle.device != here:
            raise KernelError(f"cuBLAS: the handle is of cuda:{handle.device}, the current device is cuda:{here}")
        stream = self._cupy.cuda.get_current_stream().ptr
        if handle.stream != stream:
            raise KernelError(f"cuBLAS: the handle works on stream {handle.stream}, the current stream is {stream}")
        if not handle.has_workspace:
            raise KernelError(
                "cuBLAS: the handle has no workspace; cublasSetWorkspace comes after cublasSetStream, which takes it away"
            )

    def _check_operand(self, matrices: _Matrices) -> None:
        if matrices.address % matrices.dtype.itemsize:
            raise KernelError(f"cuBLAS: {matrices.name} is not aligned to its elements of {matrices.dtype}")
        if matrices.distance < 0:
            raise KernelError(f"cuBLAS: {matrices.name} has a negative distance of matrices")
        self._check_memory(matrices.name, matrices.address, matrices.end)

    def _check_memory(self, name: str, start: int, end: int) -> None:
        """That a stretch of memory lies in one living allocation of the current device."""
        found = block_at(start)
        if found is None:
            raise KernelError(f"cuBLAS: {name} is not in memory of a device: it was given back, or is the host's")
        here = self._cupy._current.index
        if found.device != here:
            raise KernelError(f"cuBLAS: {name} is on cuda:{found.device}, the current device is cuda:{here}")
        if end > found.end:
            raise KernelError(
                f"cuBLAS: {name} goes {end - found.end} bytes beyond its array of {found.end - found.start} bytes"
            )
        capture = self._cupy._stream()._capture
        if capture is not None:
            capture.touch(found)


def _multiply(
    left: np.ndarray, right: np.ndarray, out: np.ndarray, rounded: Callable[[np.ndarray], np.ndarray] | None,
    alpha: float, beta: float,
) -> None:  # fmt: skip
    if rounded is not None:
        left, right = rounded(left), rounded(right)
    if out.dtype == np.float16:
        left, right = left.astype(np.float32), right.astype(np.float32)
    with one_blas_thread(), np.errstate(all="ignore"):
        if alpha == 1 and beta == 0 and out.dtype == left.dtype:
            np.matmul(left, right, out=out)
        else:
            product = out.dtype.type(alpha) * (left @ right)
            out[...] = product + out.dtype.type(beta) * out if beta else product


def as_tf32(values: np.ndarray) -> np.ndarray:
    """float32 values with 10 bits of mantissa, rounded to the nearest, in the middle away from 0; what is not finite stays."""
    bits = (np.ascontiguousarray(values).view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(values), bits.view(np.float32), values)


def as_bf16(values: np.ndarray) -> np.ndarray:
    """float32 values with 7 bits of mantissa, rounded to the nearest, in the middle to the even one; what is not finite stays."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)


ROUNDED = {_TF32: as_tf32, _BF16: as_bf16}
"""What each of the faster ways makes of float32 before it multiplies."""


def _meets_itself(matrices: _Matrices) -> bool:
    """Whether elements of different matrices of a batch, or of their columns, lie in the same place."""
    if matrices.batch == 1:
        return False
    columns = matrices.leading * (matrices.columns - 1) + matrices.rows
    if matrices.distance >= columns:
        return False
    # Matrices between one another's columns.
    return not matrices.rows <= matrices.distance <= (matrices.leading - matrices.rows) // (matrices.batch - 1)
