"""The stand-in's `cupy.ndarray`: a host array that only device code can reach."""

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np

from gpucnn.testing.cupy_memory import Allocation
from gpucnn.testing.cupy_names import METHODS, METHODS_NOT_MODELLED
from gpucnn.testing.cupy_results import as_in_cupy, as_stored
from gpucnn.testing.cupy_words import in_cupys_words

Function: TypeAlias = Callable[..., Any]

NUMBERS = (int, float, complex, np.generic)
"""What meets device arrays in an operation beside other device arrays."""

_COMPARISONS = (np.less, np.less_equal, np.equal, np.not_equal, np.greater, np.greater_equal)


class Flags(NamedTuple):
    """`cupy.ndarray.flags`."""

    c_contiguous: bool
    f_contiguous: bool
    owndata: bool


class MemoryPointer(NamedTuple):
    """`cupy.ndarray.data`."""

    ptr: int
    device_id: int


class DeviceArray:
    """What `CupyStandIn.ndarray` is derived from. Public names are those of `cupy.ndarray`.

    `_hidden` is the host array that stands for the device's memory, `_block` the allocation that it is part of.
    """

    __slots__ = ("__weakref__", "_block", "_hidden")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    _cupy: ClassVar[Any]  # the CupyStandIn that it belongs to
    shape: tuple[int, ...]
    dtype: np.dtype
    ndim: int
    _hidden: np.ndarray
    _block: Allocation

    def __init__(self, shape: int | Sequence[int], dtype: Any = float, *, order: Any = "C") -> None:
        dtype = np.dtype(dtype)
        size = math.prod((shape,) if isinstance(shape, int | np.integer) else shape) * dtype.itemsize
        # Before the host's memory is touched: what does not fit the device may not fit the host.
        self._block = self._cupy._allocate(size)
        with in_cupys_words():
            self._hidden = np.full(shape, poison(dtype), dtype, order)
        self._cupy._adopt(self._hidden, self._block)

    @property
    def flags(self) -> Flags:
        flags = self._hidden.flags
        return Flags(flags.c_contiguous, flags.f_contiguous, self._hidden is self._block.owner)

    @property
    def device(self) -> Any:
        return self._cupy.cuda.Device(self._block.device)

    @property
    def data(self) -> MemoryPointer:
        return MemoryPointer(_address(self._hidden), self._block.device)

    @property
    def base(self) -> Self | None:
        owner = self._block.owner
        return None if owner is None or self._hidden is owner else self._wrap(owner, self._block)

    @property
    def T(self) -> Self:
        return self._view(self._hidden.T)

    def __getattr__(self, name: str) -> Any:
        if name in METHODS_NOT_MODELLED:
            raise AttributeError(f"the CuPy stand-in does not model cupy.ndarray.{name}")
        raise AttributeError(f"'ndarray' object has no attribute {name!r}")

    @classmethod
    def _wrap(cls, hidden: np.ndarray, block: Allocation) -> Self:
        array = cls.__new__(cls)
        array._hidden, array._block = hidden, block
        return array

    def _view(self, hidden: np.ndarray) -> Self:
        """An array of the same memory."""
        return self._wrap(hidden, self._block)

    # What crosses to the host, and what does not.

    def get(self, stream: Any = None, order: Any = "C", out: np.ndarray | None = None, blocking: bool = True) -> Any:
        if not self._hidden.flags.c_contiguous:
            self._cupy._log("launch", "copy", self.shape)
        self._download("get")
        if out is None:
            return self._hidden.copy(order)
        np.copyto(out, self._hidden, casting="equiv")
        return out

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self._hidden.flags.c_contiguous or self._hidden.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        self._cupy._log("upload", "set", self.shape)
        self._cupy._copies.begin(arr)
        np.copyto(self._hidden, arr)

    def item(self) -> Any:
        return self._download("item").item()

    def tolist(self) -> Any:
        return self._download("tolist").tolist()

    def _download(self, name: str) -> np.ndarray:
        self._cupy._log("download", name, self.shape)
        return self._hidden

    def __format__(self, specification: str) -> str:
        return format(self._download("format"), specification)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, function: Function, *_: Any) -> Any:
        raise TypeError(_numpy_called(function.__name__))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        # This is where the operators of NumPy's arrays and scalars arrive, too, with `self` on their right.
        first, *rest = inputs
        if type(first) is np.ndarray and first.ndim == 0 and ufunc in _COMPARISONS:
            first = first[()]  # NumPy makes arrays of the scalars it compares
        if method == "__call__" and isinstance(first, np.generic) and len(rest) == 1 and not options:
            return self._cupy._apply(ufunc, (first, self))
        for operand in (*inputs, *options.get("out", ())):
            if isinstance(operand, np.ndarray):
                raise TypeError(f"Unsupported type {type(operand)}")
        raise TypeError(_numpy_called(ufunc.__name__))

    # Elements.

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[position] for position in range(self.shape[0]))

    def __getitem__(self, index: Any) -> Any:
        lowered, advanced, masked = self._cupy._lower_index(index)
        if not advanced:
            with in_cupys_words():
                return self._view(self._hidden[lowered])
        if masked:
            self._cupy._refuse_waiting("getitem")
        hidden = self._cupy._operand(self)
        with in_cupys_words():
            array = self._cupy._compute(lambda: hidden[lowered])
        self._cupy._log("launch", "take", array.shape)
        if masked:
            self._cupy._log("synchronize", "getitem", ())
        return array

    def __setitem__(self, index: Any, value: Any) -> None:
        cupy = self._cupy
        lowered, advanced, masked = cupy._lower_index(index)
        if isinstance(value, np.ndarray) and value.ndim and not advanced:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        hidden, source = cupy._operand(self), cupy._operand(value)
        is_number = source is value
        if advanced:
            if masked:
                cupy._refuse_waiting("setitem")
            if is_number:  # CuPy makes a device array of it
                cupy._log("upload", "setitem", ())
            if masked:
                cupy._log("synchronize", "setitem", ())
            name, target = "put", hidden
        else:
            with in_cupys_words():
                name, target = "fill" if is_number else "copy", hidden[lowered]
            if not is_number and _is_same_memory(target, source):
                return  # the second half of array[index] += ...
            lowered = (Ellipsis,)
        with in_cupys_words():
            cupy._write(lambda target: target.__setitem__(lowered, as_stored(source, target.dtype)), target)
        cupy._log("launch", name, target.shape)

    def nonzero(self) -> Any:
        return self._cupy.nonzero(self)

    def __matmul__(self, other: Any) -> Any:
        return self._cupy.matmul(self, other)

    def fill(self, value: Any) -> None:
        self[...] = value

    def __copy__(self) -> Any:
        return self.__deepcopy__({})

    def __deepcopy__(self, _: Any) -> Any:
        with self.device:
            return self._cupy.copy(self)


def _operator(ufunc: np.ufunc, reflected: bool = False) -> Function:
    def apply(self: DeviceArray, other: Any) -> Any:
        if _takes_over(other):
            return NotImplemented
        return self._cupy._apply(ufunc, (other, self) if reflected else (self, other))

    return apply


_OPERANDS = (DeviceArray, *NUMBERS)


def _takes_over(other: Any) -> bool:
    if isinstance(other, _OPERANDS):
        return False
    if hasattr(other, "__array_ufunc__"):
        return other.__array_ufunc__ is None
    return bool(getattr(other, "__array_priority__", 0) > DeviceArray.__array_priority__)


def _in_place_operator(ufunc: np.ufunc) -> Function:
    return lambda self, other: self._cupy._apply(ufunc, (self, other), self)


def _unary_operator(ufunc: np.ufunc) -> Function:
    return lambda self: self._cupy._apply(ufunc, (self,))


def _conversion(function: Function) -> Function:
    return lambda self: function(self._download(function.__name__))


def _method(name: str, parameters: tuple[str, ...]) -> Function:
    function = as_in_cupy(name, getattr(np.ndarray, name), ("self", *parameters))

    def method(self: DeviceArray, *arguments: Any, **options: Any) -> Any:
        return self._cupy._call(name, function, parameters, self, *arguments, **options)

    return method


_ufunc: np.ufunc
for _name, _ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "floordiv": np.floor_divide,
    "mod": np.remainder, "pow": np.power, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "lshift": np.left_shift, "rshift": np.right_shift,
}.items():  # fmt: skip
    setattr(DeviceArray, f"__{_name}__", _operator(_ufunc))
    setattr(DeviceArray, f"__r{_name}__", _operator(_ufunc, reflected=True))
    setattr(DeviceArray, f"__i{_name}__", _in_place_operator(_ufunc))
for _name, _ufunc in zip(("lt", "le", "eq", "ne", "gt", "ge"), _COMPARISONS, strict=True):
    setattr(DeviceArray, f"__{_name}__", _operator(_ufunc))
for _name, _ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items():
    setattr(DeviceArray, f"__{_name}__", _unary_operator(_ufunc))
for _function in (float, int, bool, repr, str):
    setattr(DeviceArray, f"__{_function.__name__}__", _conversion(_function))
for _name in ("shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides"):
    setattr(DeviceArray, _name, property(operator.attrgetter(f"_hidden.{_name}")))
for _name, _parameters in METHODS.items():
    if not hasattr(DeviceArray, _name):
        setattr(DeviceArray, _name, _method(_name, _parameters))


def _numpy_called(name: str) -> str:
    return (
        f"numpy.{name} was called on a device array; the CuPy stand-in dispatches nothing, "
        f"so that code which means the device says so: xp.{name}"
    )


@functools.cache
def poison(dtype: np.dtype) -> Any:
    """What memory holds that nobody has written to: NaN, or a negative integer of large size."""
    if dtype.kind in "fc":
        return np.nan
    return True if dtype.kind == "b" else np.frombuffer(b"\xaa" * dtype.itemsize, dtype)[0]


def owner_of(array: Any) -> Any:
    """The array, or what else it is, whose memory `array` is a view of."""
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def stride_tricks() -> dict[str, Function]:
    """The functions of `cupy.lib.stride_tricks`."""

    def as_strided(x: DeviceArray, shape: Any = None, strides: Any = None) -> DeviceArray:
        return x._view(np.lib.stride_tricks.as_strided(x._hidden, shape, strides))

    def sliding_window_view(x: DeviceArray, window_shape: Any, axis: Any = None) -> DeviceArray:
        x._cupy._log("upload", "sliding_window_view", np.shape(window_shape))  # CuPy looks for negative sizes there
        x._cupy._log("download", "sliding_window_view", ())
        return x._view(np.lib.stride_tricks.sliding_window_view(x._hidden, window_shape, axis))

    return {"as_strided": as_strided, "sliding_window_view": sliding_window_view}


def _is_same_memory(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and first.strides == second.strides and _address(first) == _address(second)
