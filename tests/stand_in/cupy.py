"""A strict stand-in for the part of CuPy that gpucnn uses, on the CPU.

Device arrays never become host arrays by themselves and never meet one in an operation, as in CuPy; here NumPy's
functions refuse them, too. What `empty` gives is poisoned. A name that is not here is an AttributeError.
"""

from types import SimpleNamespace
from typing import Any

import numpy

float16, float32, float64, int32, int64 = numpy.float16, numpy.float32, numpy.float64, numpy.int32, numpy.int64
inf = numpy.inf

_FORWARDED = (
    "all", "any", "argmax", "astype", "copy", "max", "mean", "min", "ravel", "reshape", "sum", "swapaxes", "transpose",
)  # fmt: skip
_current = 0


class ndarray(numpy.lib.mixins.NDArrayOperatorsMixin):
    """A device array around a hidden host array."""

    __slots__ = ("_hidden", "device")

    def __init__(self, hidden: numpy.ndarray, device: int | None = None) -> None:
        self._hidden = hidden
        self.device = SimpleNamespace(id=_current if device is None else device)

    def __array__(self, *_: Any, **__: Any) -> numpy.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called on a device array")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            raise TypeError(f"numpy.{ufunc.__name__}.{method} was called on a device array")
        if out := options.get("out"):
            options["out"] = tuple(_lower(array) for array in out)
        result = ufunc(*map(_lower, inputs), **options)
        return out[0] if out else _raise(result)

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size", "nbytes", "itemsize"):
            return getattr(self._hidden, name)
        if name == "T":
            return _raise(self._hidden.T)
        if name not in _FORWARDED:
            raise AttributeError(f"the stand-in's ndarray has no {name}")
        method = getattr(self._hidden, name)
        return lambda *arguments, **options: _raise(method(*map(_lower, arguments), **options))

    def __getitem__(self, index: Any) -> "ndarray":
        return _raise(self._hidden[_lower_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._hidden[_lower_index(index)] = _lower(value)

    def __len__(self) -> int:
        return len(self._hidden)

    def __float__(self) -> float:
        return float(self._hidden)

    def __int__(self) -> int:
        return int(self._hidden)

    def item(self) -> Any:
        return self._hidden.item()

    def get(self) -> numpy.ndarray:
        return self._hidden.copy()


def _lower(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value._hidden
    if isinstance(value, numpy.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: a host array met a device array")
    return value


def _lower_index(index: Any) -> Any:
    return tuple(_lower(part) for part in index) if isinstance(index, tuple) else _lower(index)


def _raise(value: Any) -> ndarray:
    return ndarray(numpy.asarray(value))


def asarray(value: Any, dtype: Any = None) -> ndarray:
    if isinstance(value, ndarray):
        return value if dtype in (None, value.dtype) else value.astype(dtype)
    return ndarray(numpy.array(value, dtype=dtype))


def empty(shape: Any, dtype: Any = float64) -> ndarray:
    return ndarray(numpy.full(shape, numpy.nan if numpy.dtype(dtype).kind == "f" else -77, dtype))


def zeros(shape: Any, dtype: Any = float64) -> ndarray:
    return ndarray(numpy.zeros(shape, dtype))


def ones(shape: Any, dtype: Any = float64) -> ndarray:
    return ndarray(numpy.ones(shape, dtype))


def full(shape: Any, value: Any, dtype: Any = None) -> ndarray:
    return ndarray(numpy.full(shape, value, dtype))


def zeros_like(array: ndarray) -> ndarray:
    return ndarray(numpy.zeros_like(array._hidden))


def arange(*arguments: Any, dtype: Any = None) -> ndarray:
    return ndarray(numpy.arange(*arguments, dtype=dtype))


def broadcast_to(array: ndarray, shape: Any) -> ndarray:
    return ndarray(numpy.broadcast_to(array._hidden, shape))


def where(condition: ndarray, a: Any, b: Any) -> ndarray:
    return ndarray(numpy.where(condition._hidden, _lower(a), _lower(b)))


def copyto(target: ndarray, source: ndarray, where: ndarray) -> None:
    numpy.copyto(target._hidden, source._hidden, where=where._hidden)


def maximum(a: Any, b: Any, out: ndarray | None = None) -> ndarray:
    return numpy.maximum(a, b, out=out) if out is not None else numpy.maximum(a, b)


def add(a: Any, b: Any, out: ndarray | None = None) -> ndarray:
    return numpy.add(a, b, out=out) if out is not None else numpy.add(a, b)


def exp(array: ndarray) -> ndarray:
    return numpy.exp(array)


def log(array: ndarray) -> ndarray:
    return numpy.log(array)


def sqrt(array: ndarray) -> ndarray:
    return numpy.sqrt(array)


class _Device:
    def __init__(self, index: int) -> None:
        self.id = index

    def use(self) -> None:
        global _current
        _current = self.id


cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: 2), Device=_Device)
