"""A GPU that is only asked: arrays have shapes and dtypes and no contents, nothing is computed, and the log has the bytes.

    with untouched_gpu() as gpu, gpu.operation_log.recorded() as operations:
        model.to("cuda")(images)

What a step of any size does on a GPU is so known within seconds, without a GPU, g++ or the memory: of large arrays the
operating system has only promised some. Small ones are zeros; what depends on contents, such as the size of `nonzero`, is
that of zeros.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from math import prod
from typing import Any, ClassVar

import numpy as np

from gpucnn.backend import cuda
from gpucnn.kernels.kernel import Kernel, Variant
from gpucnn.kernels.launch import use_runner
from gpucnn.testing.cublas_stand_in import _TYPES, CublasStandIn
from gpucnn.testing.cupy_array import DeviceArray, Function
from gpucnn.testing.cupy_cuda import make_module
from gpucnn.testing.cupy_names import COPIES, METHODS, VIEWS
from gpucnn.testing.cupy_stand_in import _JOINS, CupyStandIn
from gpucnn.testing.emulator import Emulator
from gpucnn.testing.kernel_traffic import sizes_of, traffic
from gpucnn.testing.nccl_stand_in import make_nccl
from gpucnn.testing.operation_log import Kind, Operation, OperationLog

_COPIES = COPIES | {"astype"}
_REDUCTIONS = frozenset(
    ("all", "amax", "amin", "any", "argmax", "argmin", "max", "mean", "min", "prod", "std", "sum", "var")
)

_TO_C_ORDER = (np.ascontiguousarray, np.ndarray.copy, np.ndarray.flatten)
"""Unless they are told otherwise."""

_GEMM = tuple(signature(CublasStandIn.cublasGemmStridedBatchedEx).parameters)[1:]

LARGEST_ZEROS = 1 << 20
"""Bytes of the arrays that do hold zeros, so that small ones can be indices."""


@contextmanager
def untouched_gpu() -> Iterator["UntouchedCupy"]:
    """Inside, "cuda" is a GPU that computes nothing and notes everything. Gives the stand-in for CuPy, with its `operation_log`."""
    stand_in = UntouchedCupy()
    with cuda.use_in_place_of_cupy(stand_in), use_runner(_NotingRunner(stand_in)):
        cuda.find_problem()  # it computes; its answer is kept
        stand_in.operation_log.clear()
        stand_in.computes = False
        yield stand_in


class ExplainedLog(OperationLog):
    """A log whose operations are told afterwards what they moved."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        """How many operations there have been."""

    def add(
        self, kind: Kind, name: str, detail: tuple[int, ...] = (), read: int = 0, written: int = 0, flops: int = 0
    ) -> None:
        """See OperationLog."""
        super().add(kind, name, detail, read, written, flops)
        self.total += 1

    def explain(self, since: int, read: int, written: int, flops: int = 0) -> None:
        """Say what the latest launch or product moved and computed that was added since `total` was `since`."""
        for back in range(1, self.total - since + 1):
            if self[-back].kind in ("launch", "product"):
                if _is_unexplained(self[-back]):
                    self._replace(back, self[-back]._replace(read=read, written=written, flops=flops))
                return

    def explain_copies(self, since: int, itemsize: int) -> None:
        """Say that what was added since then, and is not explained, copied as many elements as its shape has."""
        for back in range(1, self.total - since + 1):
            operation = self[-back]
            if _is_unexplained(operation):
                nbytes = prod(operation.detail) * itemsize
                read, written = operation.kind != "upload", operation.kind != "download"
                self._replace(back, operation._replace(read=nbytes * read, written=nbytes * written))

    def _replace(self, back: int, operation: Operation) -> None:
        for log in (self, *self._recordings):
            if back <= len(log):
                log[-back] = operation


def _is_unexplained(operation: Operation) -> bool:
    return operation.kind != "synchronize" and operation.read == operation.written == 0


class _NotingRunner:
    """Runs no kernel, and notes each in the log."""

    def __init__(self, cupy: "UntouchedCupy") -> None:
        self._cupy = cupy

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        detail = (blocks,) if kernel.clocks is None else (blocks, kernel.clocks(sizes_of(kernel, variant, arguments)))
        self._cupy.operation_log.add("launch", kernel.name, detail, *traffic(kernel, variant, arguments))


class _ExplainedCublas(CublasStandIn):
    """cuBLAS, whose products tell their bytes: a matrix that serves for many is read once."""

    def cublasGemmStridedBatchedEx(self, *arguments: int) -> int:
        """See CublasStandIn. There is no `beta`, for which the result would be read."""
        log: ExplainedLog = self._cupy.operation_log
        since, given = log.total, dict(zip(_GEMM, arguments, strict=True))
        status = super().cublasGemmStridedBatchedEx(*arguments)
        m, n, k, batch = (given[name] for name in ("m", "n", "k", "batch"))
        elements = m * k * (batch if given["stridea"] else 1) + k * n * (batch if given["strideb"] else 1)
        itemsize = _TYPES[given["ctype"]].itemsize
        log.explain(since, elements * itemsize, batch * m * n * itemsize, 2 * batch * m * n * k)
        return status


class UntouchedArray(DeviceArray):
    """An array that nothing is written to, and that is not read."""

    __slots__ = ()
    _cupy: ClassVar["UntouchedCupy"]

    def __init__(self, shape: int | Sequence[int], dtype: Any = float, *, order: Any = "C") -> None:
        if self._cupy.computes:
            super().__init__(shape, dtype, order=order)
            return
        self._hidden = _unwritten(shape, dtype, order)
        self._block = self._cupy._allocate(self._hidden.nbytes)
        self._cupy._adopt(self._hidden, self._block)

    def get(self, *arguments: Any, **options: Any) -> Any:
        since = self._cupy.operation_log.total
        host = super().get(*arguments, **options)
        self._cupy.operation_log.explain_copies(since, self.itemsize)
        return host

    def _download(self, name: str) -> np.ndarray:
        since = self._cupy.operation_log.total
        host = super()._download(name)
        self._cupy.operation_log.explain_copies(since, self.itemsize)
        return host

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        since = self._cupy.operation_log.total
        if self._cupy.computes:
            super().set(arr, stream)
        else:
            self._cupy._log("upload", "set", self.shape)
        self._cupy.operation_log.explain_copies(since, self.itemsize)

    def __getitem__(self, index: Any) -> Any:
        since = self._cupy.operation_log.total
        found = super().__getitem__(index)
        self._cupy.operation_log.explain(since, found.nbytes + _nbytes(_arrays(index)), found.nbytes)
        return found

    def __setitem__(self, index: Any, value: Any) -> None:
        since = self._cupy.operation_log.total
        parts = index if type(index) is tuple else (index,)
        target = self._hidden[tuple(map(_host, parts))]
        _checked(target, np.shape(_host(value)))
        super().__setitem__(index, value)
        self._cupy.operation_log.explain(since, _nbytes(_arrays((index, value))), target.nbytes)
        self._cupy.operation_log.explain_copies(since, self.itemsize)


class UntouchedCupy(CupyStandIn):
    """A stand-in for CuPy whose arrays are `UntouchedArray`s, and whose log tells bytes and FLOPs of all operations.

    While `computes` is set it is an ordinary one: a GPU is only taken if it computes when it is first asked.
    """

    operation_log: ExplainedLog

    def __init__(self) -> None:
        super().__init__(Emulator(), devices=1)
        self.computes = True
        self.operation_log = ExplainedLog()
        self.cublas_library = _ExplainedCublas(self)
        vars(self.cuda)["nccl"] = make_nccl(self, make_module, alone=True)
        self.ndarray = type("ndarray", (UntouchedArray,), {"_cupy": self, "__slots__": (), "__module__": "cupy"})

    def array(self, obj: Any, *arguments: Any, **options: Any) -> Any:
        since = self.operation_log.total
        array = super().array(obj, *arguments, **options)
        self.operation_log.explain(since, _nbytes(_arrays(obj)), array.nbytes)
        self.operation_log.explain_copies(since, array.itemsize)
        return array

    def copyto(self, dst: Any, src: Any, casting: Any = "same_kind", where: Any = None) -> None:
        since = self.operation_log.total
        _checked(dst._hidden, np.shape(_host(src)))
        super().copyto(dst, src, casting, where)
        self.operation_log.explain(since, _nbytes(_arrays((src, where))), _nbytes([dst]))

    def where(self, condition: Any, x: Any = None, y: Any = None) -> Any:
        since = self.operation_log.total
        found = super().where(condition, x, y)
        if x is not None:
            self.operation_log.explain(since, _nbytes(_arrays((condition, x, y))), found.nbytes, found.size)
            self.operation_log.explain_copies(since, 1)
        return found

    def _do(self, work: Callable[[], object]) -> None:
        if self.computes:
            super()._do(work)

    def _write(self, work: Callable[..., object], *targets: np.ndarray) -> None:
        if self.computes:
            super()._write(work, *targets)

    def _own(self, result: Any, any_order: bool = False) -> Any:
        array = super()._own(result, any_order)
        if not self.computes:
            array._hidden.flags.writeable = False
        return array

    def _apply(self, ufunc: Any, operands: tuple[Any, ...], out: Any = None, **options: Any) -> Any:
        if self.computes:
            return super()._apply(ufunc, operands, out, **options)
        since = self.operation_log.total
        of_shapes: Any = _UfuncOfShapes(ufunc)
        if out is not None:  # what is not written is not checked, either
            of_shapes(*map(_host, operands), out=tuple(map(_host, out if isinstance(out, tuple) else (out,))))
        found = super()._apply(of_shapes, operands, out, **options)
        self._explain(since, _arrays(operands), _arrays(found))
        return found

    @staticmethod
    def _calculate(ufunc: Function, *operands: Any, **options: Any) -> Any:
        return ufunc(*operands, **options)

    def _call(
        self, name: str, function: Function, parameters: tuple[str, ...], /, *arguments: Any, **options: Any
    ) -> Any:
        if self.computes:
            return super()._call(name, function, parameters, *arguments, **options)
        names = ("a", *parameters) if parameters is METHODS.get(name) else parameters
        since = self.operation_log.total
        found = super()._call(name, _of_shapes(name, function, names), parameters, *arguments, **options)
        read = _arrays((arguments, {**options, "out": None}))
        if name in _COPIES:
            self.operation_log.explain(since, _nbytes(read[:1]), found.nbytes)
        elif name not in _JOINS | VIEWS:
            self._explain(since, read, _arrays(found) or read[:1])
        self.operation_log.explain_copies(since, max([array.itemsize for array in read], default=1))
        return found

    def _explain(self, since: int, read: list[DeviceArray], written: list[DeviceArray]) -> None:
        largest = max(prod(array.shape) for array in (*read, *written))
        self.operation_log.explain(since, _nbytes(read), _nbytes(written), largest)


class _UfuncOfShapes:
    """A ufunc that finds shape and dtype of its results, and leaves their values out."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self.__name__, self.nin, self.nout, self._ufunc = ufunc.__name__, ufunc.nin, ufunc.nout, ufunc

    def __call__(self, *operands: Any, out: tuple[np.ndarray, ...] | None = None, **options: Any) -> Any:
        shape = np.broadcast_shapes(*map(np.shape, operands))
        single = [np.ones(1, one.dtype) if isinstance(one, np.ndarray) else one for one in operands]
        if out is not None:
            for target in out:
                _checked(target, shape)
            self._ufunc(*single, out=tuple(np.empty(1, target.dtype) for target in out), **options)
            return out
        found = self._ufunc(*single, **options)
        results = [_unwritten(shape, one.dtype) for one in (found if self.nout > 1 else (found,))]
        return tuple(results) if self.nout > 1 else results[0]


def _of_shapes(name: str, function: Function, names: tuple[str, ...]) -> Function:
    """A function of NumPy's, or one that gives arrays of the same shapes and dtypes and computes nothing.

    What is not known here does compute, on zeros, and writes into memory of its own.
    """

    def call(*arguments: Any, **options: Any) -> Any:
        given = {**dict(zip(names, arguments, strict=False)), **options}
        out, found = given.get("out"), None
        if name in _REDUCTIONS:
            found = _reduction(function, given)
        elif name in _COPIES:
            found = _copy(name, function, given)
        if found is not None:
            return found if out is None else _checked(out, found.shape)
        scratch = [np.empty_like(value) if value is out else value for value in (*arguments, *options.values())]
        count = len(arguments)
        found = function(*scratch[:count], **dict(zip(options, scratch[count:], strict=True)))
        return found if out is None else out

    return call


def _reduction(function: Function, given: dict[str, Any]) -> np.ndarray | None:
    """Along some axes or all; the dtype is that for an array of one element. None for an empty array."""
    array, axis, dtype = given["a"], given.get("axis"), given.get("dtype")
    if not array.size:
        return None
    every = range(array.ndim)
    axes = every if axis is None else {every[one] for one in (axis if isinstance(axis, tuple) else (axis,))}
    kept = bool(given.get("keepdims"))
    shape = [1 if place in axes else size for place, size in enumerate(array.shape) if kept or place not in axes]
    single = function(np.zeros(1, array.dtype), **({} if dtype is None else {"dtype": dtype}))
    return _unwritten(shape, np.asarray(single).dtype)


def _copy(name: str, function: Function, given: dict[str, Any]) -> np.ndarray | None:
    """Of an array in its own order or in C order; the array itself where no copy is made. None for a stranger order."""
    array: np.ndarray = given["a"] if "a" in given else given["x"]
    dtype = np.dtype(given.get("dtype") or array.dtype)
    order = given.get("order", "C" if function in _TO_C_ORDER else "F" if name == "asfortranarray" else "K")
    if order == "K" and array.flags.forc:
        order = "C" if array.flags.c_contiguous else "F"
    if order != "C" and not (order == "F" and array.flags.f_contiguous):
        return None
    fits = array.flags.c_contiguous if order == "C" else array.flags.f_contiguous
    keeps = name in ("ascontiguousarray", "asfortranarray") or (name == "astype" and given.get("copy", True) is False)
    if keeps and dtype == array.dtype and fits:
        return array
    return _unwritten(array.size if name == "flatten" else array.shape, dtype, order)


def _unwritten(shape: Any, dtype: Any, order: Any = "C") -> np.ndarray:
    """An array that nobody writes to: zeros, or, where making them would take time, whatever is there."""
    array = np.empty(shape, dtype, order)
    if array.nbytes <= LARGEST_ZEROS:
        array[...] = 0
    array.flags.writeable = False
    return array


def _checked(target: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`target`, if an array of `shape` can be put there; else ValueError."""
    if np.broadcast_shapes(shape, target.shape) != target.shape:
        raise ValueError(f"could not broadcast from shape {shape} into shape {target.shape}")
    return target


def _host(value: Any) -> Any:
    """What stands for the memory of a device array; anything else as it is."""
    return value._hidden if isinstance(value, DeviceArray) else value


def _arrays(value: Any) -> list[DeviceArray]:
    """All device arrays among arguments."""
    if isinstance(value, DeviceArray):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [array for item in value for array in _arrays(item)] if isinstance(value, tuple | list) else []


def _nbytes(arrays: Iterable[DeviceArray]) -> int:
    """Bytes of memory; what a view repeats counts once."""
    return sum(min(array._hidden.nbytes, array._block.size) for array in arrays)
