"""A strict stand-in for CuPy that computes on the CPU.

    cupy = CupyStandIn(Emulator(), devices=2)
    with backend.cuda.use_in_place_of_cupy(cupy), cupy.operation_log.recorded() as operations:
        model.to("cuda:1")(images)

With it the whole GPU path runs without a GPU: devices, transfers, array functions on NumPy, CUDA kernels on an emulator.
It refuses what CuPy refuses, in CuPy's words: names and parameters that only NumPy has, host arrays among device arrays,
arrays of another device, more memory than there is. It gives what CuPy gives where NumPy gives something else, see
`cupy_results.py`: float32 numbers below the smallest normal one are zeros, casts to integers stop at the limits, `round`
rounds in float64, and what `argsort`, `nonzero` and some sums return is not C-contiguous. Where CuPy would only be slow
or lucky it is stricter, so that a mistake shows:

- NumPy's functions do not take device arrays. CuPy has them dispatched; what means the device must say so.
- `empty` gives NaN or large negative integers. CuPy gives what was in the memory before.
- An index array that is out of bounds is an error, and so it is in `take`, `take_along_axis` and assignments. CuPy takes
  it modulo the size, and says nothing: row 7 of 3 is row 1.
- An index that is no integer is an error. CuPy cuts it off: `array[1.9]` is row 1.
- Host arrays cannot be indices, nor be assigned, even if they are 0-d; `asarray` takes no list of device arrays. CuPy
  copies them to the device or to the host, one by one.
- `array == None` is an error. CuPy gives an array of False.
- Integers to negative integer powers are an error. CuPy gives 0 for all but 1 and -1.
- `full` with a Python number that the dtype cannot hold is an error. CuPy gives the nearest integer.
- Shapes are not assigned (`array.shape = ...`), and `flags` has three entries. CuPy takes both, and ignores
  `flags.writeable`.
- Products of floats, `a @ b` among them, are refused: CuPy makes none while a step is captured. `gpucnn.kernels.gemm`
  asks cuBLAS for them, whose part `cublas_library` plays.

It writes down what a GPU would have had to do, in `operation_log`. A function that CuPy puts together from several
kernels (`var`, `allclose`, `pad` ...) counts as one. Streams do their work at once, one after another; in a capture it
is noted, see `cupy_graph.py`. Nothing is said about speed or about the last bits of a result.
"""

import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from gpucnn.testing.cublas_stand_in import CublasStandIn
from gpucnn.testing.cupy_array import NUMBERS, DeviceArray, Function, owner_of, poison, stride_tricks
from gpucnn.testing.cupy_cuda import RawKernel, RawModule, SourceLoader, make_cuda, make_module
from gpucnn.testing.cupy_graph import UNSUPPORTED, Capture, PinnedCopies, Stream
from gpucnn.testing.cupy_memory import NO_LIMIT, Allocation, Current, DeviceMemory, MemoryPool
from gpucnn.testing.cupy_names import (
    CONSTANTS,
    COPIES,
    CREATION,
    FUNCTIONS,
    NOT_MODELLED,
    PRODUCTS,
    QUERIES,
    SORTING,
    SYNCHRONIZING,
    SYNCHRONIZING_WITH,
    TYPES,
    UFUNC_PARAMETERS,
    UFUNCS,
    VIEWS,
)
from gpucnn.testing.cupy_results import as_copied, as_in_cupy, calculate, cast, choose
from gpucnn.testing.cupy_words import in_cupys_words
from gpucnn.testing.operation_log import Kind, OperationLog

_JOINS = frozenset({"column_stack", "concat", "concatenate", "dstack", "hstack", "row_stack", "stack", "vstack"})
_ANY_ORDER = COPIES | {
    *("argpartition", "argsort", "astype", "cumprod", "cumsum", "nan_to_num", "pad", "roll"),
    *("amax", "amin", "max", "mean", "min", "prod", "sum"),
}
"""Their results lie in memory as NumPy's do, or as `cupy_results` has them."""


class CupyStandIn(ModuleType):
    """A module to be used in place of CuPy, see `gpucnn.backend.cuda.use_in_place_of_cupy`.

    - `emulator`: runs the kernels of `RawModule` and `RawKernel`, e.g. a `gpucnn.testing.emulator.Emulator`.
    - `devices`: how many GPUs there are. Arrays of another than the current one are refused, as CuPy does where the GPUs
      cannot read each other's memory; where they can it warns, and reads them through the wire.
    - `memory_bytes`: the memory of each GPU; an allocation beyond it is a `cuda.memory.OutOfMemoryError`. None is no
      limit. Counted as CuPy counts: in units of 512 bytes, a view with its base, until the last view goes.

    `operation_log` has what the GPUs were asked to do; `cublas_library` stands for the library that CuPy has loaded.
    """

    def __init__(self, emulator: SourceLoader, devices: int = 2, memory_bytes: int | None = None) -> None:
        super().__init__("cupy")
        self.__version__ = "14.2.0"
        self.emulator = emulator
        self.operation_log = OperationLog()
        self.cublas_library: Any = CublasStandIn(self)
        self._current = Current()
        self._memory = DeviceMemory(devices, NO_LIMIT if memory_bytes is None else memory_bytes, self._current)
        self._captures: list[Capture] = []
        self._copies = PinnedCopies()
        bound = {"_cupy": self, "__slots__": (), "__module__": "cupy"}
        self.ndarray: Any = type("ndarray", (DeviceArray,), bound)
        self.cuda = make_cuda(self, devices)
        self._pool: MemoryPool = self.cuda.MemoryPool()
        self.lib = make_module("cupy.lib", stride_tricks=make_module("cupy.lib.stride_tricks", **stride_tricks()))

    def __getattr__(self, name: str) -> Any:
        # Only what is not found otherwise comes here, and only once.
        found: Any
        if name in UFUNCS and hasattr(np, name):
            found = self._ufunc(getattr(np, name))
        elif name in FUNCTIONS and hasattr(np, name):
            function = as_in_cupy(name, getattr(np, name), FUNCTIONS[name])
            found = functools.partial(self._call, name, function, FUNCTIONS[name])
        elif name in CONSTANTS or (name in TYPES and hasattr(np, name)):
            found = getattr(np, name)
        elif name in NOT_MODELLED | UFUNCS | TYPES or name in FUNCTIONS:
            raise AttributeError(f"the CuPy stand-in does not model cupy.{name}")
        else:
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        setattr(self, name, found)
        return found

    # Creation.

    def array(
        self, obj: Any, dtype: Any = None, copy: bool | None = True, order: Any = "K", subok: bool = False,
        ndmin: int = 0, *, blocking: bool = False,
    ) -> Any:  # fmt: skip
        if isinstance(obj, self.ndarray):
            with np.errstate(all="ignore"):
                hidden = cast(obj._hidden, dtype or obj.dtype, order or "K", bool(copy))
            if hidden is obj._hidden and obj._block.device == self._current.index:
                array = obj
            elif copy is False:
                raise ValueError("Unable to avoid copy while creating an array as requested.")
            else:
                self._touch(obj)
                work = functools.partial(cast, obj._hidden, dtype or obj.dtype, order or "K")
                array = self._compute(work, any_order=True)
                self._log("launch", "copy" if array.dtype == obj.dtype else "astype", array.shape)
        elif copy is False:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        else:
            hidden = np.array(obj, dtype)
            if hidden.dtype.kind not in "biufc":
                raise ValueError(f"Unsupported dtype {hidden.dtype}")
            if order in ("A", "K", None):
                order = "F" if hidden.flags.fnc else "C"
            hidden = np.array(hidden, hidden.dtype.newbyteorder("="), order=order, copy=None)
            array = self._own(hidden, any_order=True)
            self._log("upload", "array", array.shape)
        return array.reshape((1,) * (ndmin - array.ndim) + array.shape) if array.ndim < ndmin else array

    def asarray(
        self, a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False
    ) -> Any:
        return self.array(a, dtype, copy, order)

    def asnumpy(
        self, a: Any, stream: Any = None, order: Any = "C", out: np.ndarray | None = None, *, blocking: bool = True
    ) -> Any:
        if isinstance(a, self.ndarray):
            return a.get(stream, order, out)
        host = np.asarray(a, order=order)
        if out is None:
            return host
        out[...] = host
        return out

    def empty(self, shape: Any, dtype: Any = float, order: Any = "C") -> Any:
        return self.ndarray(shape, dtype, order=order)

    def zeros(self, shape: Any, dtype: Any = float, order: Any = "C") -> Any:
        return self.full(shape, 0, dtype, order)

    def ones(self, shape: Any, dtype: Any = float, order: Any = "C") -> Any:
        return self.full(shape, 1, dtype, order)

    def full(self, shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C") -> Any:
        if dtype is None:
            dtype = self._operand(fill_value).dtype if hasattr(fill_value, "dtype") else np.array(fill_value).dtype
        array = self.empty(shape, dtype, order)
        array[...] = as_copied(fill_value, array.dtype)
        return array

    def empty_like(
        self, prototype: Any, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None
    ) -> Any:
        if not isinstance(prototype, self.ndarray):
            raise TypeError(f"Unsupported type {type(prototype)}")
        if order == "K" and shape is None and not prototype._hidden.flags.c_contiguous:
            hidden = np.full_like(prototype._hidden, poison(np.dtype(dtype or prototype.dtype)), dtype)
            return self._own(hidden, any_order=True)
        fortran = order == "F" or (order == "A" and prototype._hidden.flags.fnc)
        return self.empty(
            prototype.shape if shape is None else shape, dtype or prototype.dtype, "F" if fortran else "C"
        )

    def zeros_like(self, a: Any, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None) -> Any:
        return self.full_like(a, 0, dtype, order, subok, shape)

    def ones_like(self, a: Any, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None) -> Any:
        return self.full_like(a, 1, dtype, order, subok, shape)

    def full_like(
        self, a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: None = None, shape: Any = None
    ) -> Any:
        array = self.empty_like(a, dtype, order, subok, shape)
        array[...] = as_copied(fill_value, array.dtype)
        return array

    # Functions whose work on the device depends on how they are called.

    def copyto(self, dst: Any, src: Any, casting: Any = "same_kind", where: Any = None) -> None:
        # Without a mask it copies from one device to another, as well.
        target, source = (self._operand(array, any_device=where is None) for array in (dst, src))
        mask = True if where is None else self._operand(where)
        if hasattr(source, "dtype") and not np.can_cast(source.dtype, dst.dtype, casting):
            raise TypeError(f"Cannot cast {source.dtype} to {dst.dtype} in {casting} casting mode")
        self._write(lambda target: np.copyto(target, as_copied(source, target.dtype), casting, mask), target)
        self._log("launch", "copy" if source is not src else "fill", dst.shape)

    def where(self, condition: Any, x: Any = None, y: Any = None) -> Any:
        if (x is None) != (y is None):
            raise ValueError("Must provide both 'x' and 'y' or neither.")
        if x is None:
            return self.nonzero(condition)
        choice, first, second = (self._operand(operand) for operand in (condition, x, y))
        if condition.dtype != bool:
            self._log("launch", "astype", condition.shape)
        with in_cupys_words():
            array = self._compute(functools.partial(choose, choice, first, second))
        self._log("launch", "where", array.shape)
        return array

    def nonzero(self, a: Any) -> Any:
        """Columns of one array: not contiguous where there are several."""
        if not a.ndim:
            raise ValueError(
                "Calling nonzero on 0d arrays is not allowed. Use cp.atleast_1d(scalar).nonzero() instead."
            )
        places = self._call("nonzero", as_in_cupy("nonzero", np.argwhere, ("a",)), ("a",), a)
        return tuple(places[:, axis] for axis in range(a.ndim))

    # What is neither NumPy's nor an array.

    def is_available(self) -> bool:
        return True

    def get_array_module(self, *args: Any) -> ModuleType:
        return self if any(isinstance(value, self.ndarray) for value in args) else np

    def get_default_memory_pool(self) -> MemoryPool:
        return self._pool

    def RawModule(
        self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc",
        name_expressions: Sequence[str] | None = None,
    ) -> Any:  # fmt: skip
        return RawModule(self, code, options, name_expressions or ())

    def RawKernel(self, code: str, name: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> Any:
        return RawKernel(self, RawModule(self, code, options, ()), name)

    # The only ways in which something is done on a device: at once, or, in a capture, at each launch of the graph.

    def _stream(self) -> Stream:
        stream: Stream = self.cuda.get_current_stream()
        return stream

    def _ask(self, kind: Kind, name: str, shape: tuple[int, ...] = ()) -> None:
        """Write down an operation. Raises what CuPy raises where it is refused in a capture."""
        capture = self._stream()._asked()
        if capture is None:
            self.operation_log.add(kind, name, shape)
        else:
            capture.ask(kind, name)

    def _refuse_waiting(self, name: str) -> None:
        """In a capture the host cannot learn what an array holds: how many elements of a mask are true."""
        capture = self._stream()._asked()
        if capture is not None:
            capture.ask("download", name)

    def _do(self, work: Callable[[], object]) -> None:
        """Do `work`, which has neither a result nor errors."""
        stream = self._stream()
        capture = stream._asked()
        if capture is None:
            work()
        else:
            capture.note(stream, work)

    def _write(self, work: Callable[..., object], *targets: np.ndarray) -> None:
        """Do `work(*targets)`, which writes to these hidden arrays. In a capture its errors are raised at once."""
        if self._stream()._asked() is not None:
            with np.errstate(all="ignore"):
                work(*(target.copy("K") for target in targets))
        with np.errstate(all="ignore"):
            self._do(functools.partial(work, *targets))

    def _compute(self, work: Callable[[], Any], any_order: bool = False) -> Any:
        """New device arrays of what `work()` gives. In a capture it is done for their shapes, and they have no values yet."""
        with np.errstate(all="ignore"):
            result = work()
        found = (
            tuple(self._own(item, any_order) for item in result)
            if isinstance(result, tuple)
            else self._own(result, any_order)
        )
        if self._stream()._asked() is not None:
            self._do(functools.partial(_again, work, found))
        return found

    def _allocate(self, size: int) -> Allocation:
        return (self._current.allocator or self._pool.malloc)(size)

    def _adopt(self, hidden: np.ndarray, block: Allocation) -> None:
        """The memory of a new array."""
        block.owner = hidden
        capture = self._stream()._capture
        if capture is not None:
            capture.adopt(hidden, block.books)

    def _touch(self, array: DeviceArray) -> None:
        """Something will be done with the memory of this array."""
        capture = self._stream()._capture
        if capture is not None:
            capture.touch(array._block)

    # From device arrays to hidden ones and back. Names with an underscore are the stand-in's, the others CuPy's.

    def _check_device(self, array: DeviceArray) -> None:
        if array._block.device != self._current.index:
            raise ValueError(
                "Array device must be same as the current device: "
                f"array device = {array._block.device} while current = {self._current.index}"
            )

    def _operand(self, value: Any, any_device: bool = False) -> Any:
        """The hidden array of a device array, or a number itself."""
        if type(value) is self.ndarray:
            self._touch(value)
            if not any_device:
                self._check_device(value)
            return value._hidden
        if isinstance(value, NUMBERS):
            return value
        raise TypeError(f"Unsupported type {type(value)}")

    def _lower(self, value: Any, sources: list[DeviceArray]) -> Any:
        """Any argument, with hidden arrays in place of device arrays, which are appended to `sources`."""
        if type(value) is self.ndarray:
            self._touch(value)
            sources.append(value)
            return value._hidden
        if type(value) in (list, tuple):
            return type(value)([self._lower(item, sources) for item in value])
        if isinstance(value, np.ndarray):
            raise TypeError(f"Unsupported type {type(value)}")
        return value

    def _lower_index(self, index: Any) -> tuple[tuple[Any, ...], bool, bool]:
        """An index for a hidden array; whether it makes a copy; whether the device must tell how large that is."""
        lowered: list[Any] = []
        advanced = masked = ellipsis = False
        for part in index if type(index) is tuple else (index,):
            hidden = part
            if part is Ellipsis:
                ellipsis = True
            elif isinstance(part, (self.ndarray, np.ndarray)):
                hidden = self._operand(part)
            elif isinstance(part, (list, tuple, bool, np.bool_)):
                hidden = np.asarray(part) if not isinstance(part, list | tuple) or part else np.zeros(0, np.int32)
                self._ask("upload", "index", hidden.shape)
            if hidden is not part:
                advanced = True
                masked = masked or hidden.dtype == bool
            lowered.append(hidden)
        if not ellipsis:
            lowered.append(Ellipsis)  # so that NumPy, too, gives a 0-d view where only integers are given
        return tuple(lowered), advanced, masked

    def _own(self, result: Any, any_order: bool = False) -> Any:
        """A result as a device array with memory of its own, C-contiguous as CuPy's results are."""
        hidden = result if type(result) is np.ndarray else np.asarray(result)
        if hidden.base is not None:
            hidden = hidden.copy("K" if any_order else "C")
        elif not any_order and not hidden.flags.c_contiguous:
            hidden = np.ascontiguousarray(hidden)
        block = self._allocate(hidden.nbytes)
        self._adopt(hidden, block)
        return self.ndarray._wrap(hidden, block)

    def _log(self, kind: Kind, name: str, shape: tuple[int, ...]) -> None:
        if 0 not in shape:  # CuPy launches nothing where there is nothing to do
            self._ask(kind, name, shape)

    def _ufunc(self, ufunc: np.ufunc) -> Function:
        def function(*operands: Any, out: Any = None, **options: Any) -> Any:
            if not options.keys() <= set(UFUNC_PARAMETERS):
                raise TypeError(f"Wrong arguments {options}")
            if len(operands) > ufunc.nin:
                operands, out = operands[: ufunc.nin], operands[ufunc.nin :]
            return self._apply(ufunc, operands, out, **options)

        return function

    def _apply(self, ufunc: np.ufunc, operands: tuple[Any, ...], out: Any = None, **options: Any) -> Any:
        lowered = [self._operand(operand) for operand in operands]
        result: Any
        work = functools.partial(self._calculate, ufunc, *lowered, **options)
        with in_cupys_words(lowered):
            if out is None:
                result = self._compute(work)
            else:
                outs = out if isinstance(out, tuple) else (out,)
                for target in outs:
                    if not isinstance(target, self.ndarray):
                        raise TypeError(f"Unsupported type {type(target)}")
                self._write(lambda *outs: work(out=outs), *map(self._operand, outs))
                result = outs if ufunc.nout > 1 else outs[0]
        self._log("launch", ufunc.__name__, (result[0] if ufunc.nout > 1 else result).shape)
        return result

    _calculate: ClassVar[Function] = staticmethod(calculate)
    """What a ufunc gives."""

    def _call(
        self, name: str, function: Function, parameters: tuple[str, ...], /, *arguments: Any, **options: Any
    ) -> Any:
        """A NumPy function, or a method of its arrays, on device arrays."""
        for keyword in options:
            if keyword not in parameters:
                raise TypeError(f"{name}() got an unexpected keyword argument {keyword!r}")
        sources: list[DeviceArray] = []
        lowered = [self._lower(argument, sources) for argument in arguments]
        if name in PRODUCTS:
            _refuse_products_of_floats(name, sources)
        settings = {keyword: self._lower(value, sources) for keyword, value in options.items()}
        if name in QUERIES:
            return function(*lowered, **settings)
        if not sources and name not in CREATION:
            raise TypeError(
                f"cupy.{name} takes device arrays, got {', '.join(type(value).__name__ for value in arguments)}; "
                "make them with cupy.asarray"
            )
        if name not in VIEWS and name != "copy":  # which take arrays of any device
            for source in sources:
                self._check_device(source)
        waits = name in SYNCHRONIZING or self._waits_for_argument(name, arguments, options)
        capture = self._stream()._asked()
        if capture is not None:
            self._refuse_in_capture(capture, name, waits)
        work = functools.partial(function, *lowered, **settings)
        with in_cupys_words(), np.errstate(all="ignore"):  # a GPU warns of nothing
            result = work() if capture is None else _rehearsed(work, [source._hidden for source in sources])
        found, shape = self._raise(result, sources, name in _ANY_ORDER)
        if shape is not None:
            if capture is not None:
                self._do(functools.partial(_again, work, found))
            if name in VIEWS:
                for source in sources:
                    self._check_device(source)
            self._log_call(name, lowered, settings, shape)
        if waits:
            self._ask("synchronize", name)
        return found

    def _refuse_in_capture(self, capture: Capture, name: str, waits: bool) -> None:
        if name in SORTING:
            capture.fail(UNSUPPORTED)
        if waits:
            self._refuse_waiting(name)

    def _waits_for_argument(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
        if name not in SYNCHRONIZING_WITH:
            return False
        values = {**dict(zip(FUNCTIONS[name], arguments, strict=False)), **options}
        return isinstance(values.get(SYNCHRONIZING_WITH[name]), self.ndarray)

    def _raise(self, result: Any, sources: list[DeviceArray], any_order: bool) -> tuple[Any, tuple[int, ...] | None]:
        """A result with device arrays in place of hidden ones; the shape of what was computed, if anything was."""
        if result is None:
            return None, sources[0].shape
        if isinstance(result, tuple | list):
            pairs = [self._raise(item, sources, any_order) for item in result]
            arrays = [array for array, _ in pairs]
            shape = next((shape for _, shape in pairs if shape is not None), None)
            if hasattr(result, "_fields"):
                return type(result)(*arrays), shape
            return type(result)(arrays), shape
        hidden = np.asarray(result)
        for position, source in enumerate(sources):
            if hidden is source._hidden:
                # The first argument as it was, or an `out`, which may be the first argument as well.
                again = any(hidden is other._hidden for other in sources[position + 1 :])
                return source, hidden.shape if position or again else None
        if hidden.base is not None:
            owner = owner_of(hidden)
            for source in sources:
                if owner is source._block.owner:
                    return source._view(hidden), None
        array = self._own(hidden, any_order)
        return array, array.shape

    def _log_call(self, name: str, lowered: list[Any], settings: dict[str, Any], shape: tuple[int, ...]) -> None:
        if name in _JOINS:
            self._log_join(name, lowered[0] if lowered else settings["tup"], shape)
        else:
            self._log("launch", "copy" if name in VIEWS or name in COPIES else name, shape)

    def _log_join(self, name: str, arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> None:
        # Many small arrays are copied by one kernel, which finds their addresses in a table.
        alike = len({array.dtype for array in arrays}) == 1
        if len(arrays) > 8 and alike and sum(array.nbytes for array in arrays) < len(arrays) << 21:
            self._ask("upload", name, (len(arrays),))
            self._log("launch", name, shape)
        else:
            for array in arrays:
                self._log("launch", name, array.shape)


def _rehearsed(work: Callable[[], Any], operands: list[np.ndarray]) -> Any:
    """The result of a function that may write to its operands: they stay as they were."""
    before = [operand.copy() for operand in operands]
    result = work()
    for operand, values in zip(operands, before, strict=True):
        if operand.flags.writeable:
            operand[...] = values
    return result


def _again(work: Callable[[], Any], found: Any) -> None:
    """Do once more what the arrays `found` come from, into their memory."""
    _put(work(), found)


def _put(result: Any, found: Any) -> None:
    if isinstance(found, DeviceArray):
        np.copyto(found._hidden, result)
    elif found is not None:
        for values, array in zip(result, found, strict=True):
            _put(values, array)


def _refuse_products_of_floats(name: str, sources: Sequence[DeviceArray]) -> None:
    for source in sources:
        if source.dtype.kind == "f":
            raise TypeError(
                f"cupy.{name} of {source.dtype} goes to cuBLAS, which CuPy does not ask while a step is captured; "
                "use gpucnn.kernels.gemm.matmul"
            )
