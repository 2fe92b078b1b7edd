"""What CuPy's functions give where NumPy's give something else, on hidden arrays: small numbers, casts, rounding, layouts.

CuPy compiles its kernels with `-ftz=true`: a float32 number below the smallest normal one is a zero of its sign, read
or written. What only moves numbers keeps them, and so do the reductions that CUB does, which was compiled otherwise.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpucnn.testing.cupy_names import COPIES, FUNCTIONS, MOVES, PRODUCTS, VIEWS

Function: TypeAlias = Callable[..., Any]

TINY = np.finfo(np.float32).tiny
"""The smallest normal number of float32."""

_MOVING_UFUNCS: tuple[Any, ...] = (np.positive, np.conjugate, np.copysign, np.signbit)


def flushed(values: Any) -> Any:
    """A float32 array with zeros for subnormal numbers; anything else, and an array without any, itself."""
    if not isinstance(values, np.ndarray | np.generic) or values.dtype != np.float32:
        return values
    small = (np.abs(values) < TINY) & (values != 0)
    if not small.any():
        return values
    values = np.array(values, order="K")
    values[small] *= 0
    return values


def _all_flushed(value: Any) -> Any:
    """`flushed`, and of the arrays in a list or a tuple."""
    if not isinstance(value, tuple | list):
        return flushed(value)
    items = [_all_flushed(item) for item in value]
    if all(item is before for item, before in zip(items, value, strict=True)):
        return value
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def calculate(ufunc: np.ufunc, *operands: Any, out: tuple[np.ndarray, ...] | None = None, **options: Any) -> Any:
    """The results of a ufunc; written to `out`, if that is given."""
    if out is not None and options.get("casting") == "unsafe":
        del options["casting"]
        for target, values in zip(out, _as_tuple(calculate(ufunc, *operands, **options)), strict=True):
            target[...] = as_stored(values, target.dtype)
        return out
    written = {} if out is None else {"out": out}
    if ufunc in _MOVING_UFUNCS:
        return ufunc(*operands, **written, **options)
    operands = _flushed_operands(operands)
    results = ufunc(*operands, **written, **options)
    if ufunc is np.nextafter and results.dtype == np.float32:  # next to 0 is the smallest normal number
        results[(operands[0] == 0) & (results != 0)] *= TINY / np.finfo(np.float32).smallest_subnormal
    for target in out or ():
        _flush(target)
    return results if out is not None else _all_flushed(results)


def _as_tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def _flushed_operands(operands: Sequence[Any]) -> tuple[Any, ...]:
    found = [flushed(operand) for operand in operands]
    small = [type(operand) is float and 0 < abs(operand) < TINY for operand in found]
    if any(small) and np.result_type(*found) == np.float32:  # a number is as the array that it meets
        found = [operand * 0 if is_small else operand for operand, is_small in zip(found, small, strict=True)]
    return tuple(found)


def _flush(target: np.ndarray) -> None:
    values = flushed(target)
    if values is not target:
        target[...] = values


def as_copied(source: Any, dtype: np.dtype) -> Any:
    """What `copyto` and `full` write: numbers, too, are cast on the device."""
    is_cast = dtype == np.float32 and isinstance(source, int | float | np.number) and type(source) is not np.float32
    if is_cast and 0 < abs(source) < TINY:
        return source * 0
    return as_stored(source, dtype)


def choose(condition: Any, first: Any, second: Any) -> Any:
    """`cupy.where`."""
    if np.result_type(first, second) != np.float32:  # they are converted
        first, second = flushed(first), flushed(second)
    return np.where(flushed(condition), first, second)


def cast(values: np.ndarray, dtype: Any, order: Any = "K", copy: bool = True) -> np.ndarray:
    """An array of another dtype. What an integer cannot hold becomes the nearest one of 32 or 64 bits, then its low bits."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {dtype}")
    if dtype == values.dtype or dtype.kind == "c":
        return values.astype(dtype, order, copy=copy)
    if values.dtype.kind == "f" and dtype.kind in "iu":
        return _integers(values, dtype, order)
    converted: np.ndarray = flushed(flushed(values).astype(dtype, order))
    return converted


def _integers(values: np.ndarray, dtype: np.dtype, order: Any) -> np.ndarray:
    """As the instruction `cvt.rzi` has it."""
    wide = dtype if dtype.itemsize == 8 else np.dtype(f"{dtype.kind}4")
    limits = np.iinfo(wide)
    whole = np.trunc(values.astype(np.float64))
    above, below = whole >= float(limits.max) + (wide.itemsize < 8), whole < limits.min
    unknown = np.isnan(whole)
    found = np.empty_like(values, wide, order)
    found[...] = np.where(above | below | unknown, 0, whole).astype(wide)
    found[above], found[below] = limits.max, limits.min
    if wide.itemsize == 8 or values.dtype == np.float64:
        found[unknown] = np.left_shift(wide.type(1), wide.type(8 * wide.itemsize - 1))
    return found.astype(dtype, copy=False)


def as_stored(source: Any, dtype: np.dtype) -> Any:
    """What is assigned to an array of `dtype`: a number, or an array that is cast."""
    return cast(source, dtype, copy=False) if isinstance(source, np.ndarray) else source


def as_in_cupy(name: str, function: Function, parameters: Sequence[str]) -> Function:
    """A function, or a method of arrays, that gives what CuPy's gives; NumPy's is `function`.

    `parameters`: all names of parameters, in order, of a method `self`, too.
    """
    if name in _OWN:
        function = functools.partial(_OWN[name], function)
    if name in MOVES | VIEWS | COPIES | PRODUCTS | _REDUCTIONS.keys() | {"astype", "clip"}:
        return function

    def flushing(*arguments: Any, **settings: Any) -> Any:
        out = {**dict(zip(parameters, arguments, strict=False)), **settings}.get("out")
        given = [value if value is out else _all_flushed(value) for value in arguments]
        named = {keyword: value if value is out else _all_flushed(value) for keyword, value in settings.items()}
        result = function(*given, **named)
        if out is None:
            return _all_flushed(result)
        _flush(out)
        return result

    return flushing


def _astype(
    _: Function,
    values: np.ndarray,
    dtype: Any,
    order: Any = "K",
    casting: Any = None,
    subok: Any = None,
    copy: Any = True,
) -> np.ndarray:
    for name, value in (("casting", casting), ("subok", subok)):
        if value is not None:
            raise TypeError(f"{name} is not supported yet")
    return cast(values, dtype, order, copy)


def _round(function: Function, values: np.ndarray, decimals: int = 0, out: np.ndarray | None = None) -> Any:
    """In float64, whatever the dtype."""
    if decimals == 0 or values.dtype.kind != "f":
        return function(values, decimals, out)
    scale = np.float64(10) ** abs(decimals)
    rounded = np.rint(values / scale) * scale if decimals < 0 else np.rint(values * scale) / scale
    if out is None:
        return rounded.astype(values.dtype)
    np.copyto(out, rounded.astype(values.dtype), "same_kind")
    return out


def _clip(function: Function, values: np.ndarray, *limits: Any, **options: Any) -> Any:
    """Small numbers are compared as zeros, and kept."""
    compared = flushed(values)
    found = function(compared, *limits, **options)
    if compared is values:
        return found
    found[...] = np.where((compared != values) & (found == compared), values, found)
    return found


def _argsort(_: Function, a: np.ndarray, axis: int | None = -1, kind: Any = None) -> np.ndarray:
    """Equal elements stay in order. The axis lies innermost in memory."""
    return _innermost(np.argsort(a, axis, kind="stable"), axis)


def _argpartition(function: Function, a: np.ndarray, kth: Any, axis: int | None = -1) -> np.ndarray:
    return _innermost(function(a, kth, axis), axis)


def _innermost(found: np.ndarray, axis: int | None) -> np.ndarray:
    axis = -1 if axis is None else axis
    return np.moveaxis(np.asarray(np.moveaxis(found, axis, -1), order="C"), -1, axis)


def _scan(function: Function, a: np.ndarray, axis: int | None = None, *rest: Any, **options: Any) -> Any:
    """Over rows: those of other axes are copied to where they lie one after another, if a reshape copies."""
    found = function(a, axis, *rest, **options)
    if axis is None or any(value is not None for value in (*rest[1:], options.get("out"))):
        return found
    rows = np.moveaxis(np.asarray(found, order="C"), axis, -1)
    return np.moveaxis(rows.reshape(-1, rows.shape[-1]).reshape(rows.shape), -1, axis)


_REDUCTIONS = {
    "sum": "SUM", "prod": "PROD", "max": "MAX", "amax": "MAX", "min": "MIN", "amin": "MIN", "argmax": "ARGMAX", "argmin": "ARGMIN",
    "mean": "MEAN",
}  # fmt: skip
"""What CUB has them by. A mean is its sum, divided by a kernel of CuPy's."""


def _reduce(name: str, function: Function, a: np.ndarray, axis: Any = None, *rest: Any, **options: Any) -> Any:
    """A reduction that CUB does where it can."""
    operation = _REDUCTIONS[name]
    bound = {**dict(zip(FUNCTIONS[name][2:], rest, strict=False)), **options}
    order = _cub_order(operation, a, axis, bound.get("dtype"))
    if bound.get("dtype") is not None and operation != "MEAN":
        a = cast(a, bound["dtype"], copy=False)
    try:
        found = function(a if order else flushed(a), axis, *rest, **options)
    except ValueError as error:
        if a.size or isinstance(error, np.exceptions.AxisError):
            raise
        kernel = f"CUPY_CUB_{operation}" if order else f"cupy_{operation.lower()}"
        raise ValueError(f"zero-size array to reduction operation {kernel} which has no identity") from None
    is_kept = order and operation != "MEAN"
    if (out := bound.get("out")) is None:
        return np.asarray(found if is_kept else flushed(found), order=order or "C")
    if not is_kept:
        _flush(out)
    return found


def _cub_order(operation: str, a: np.ndarray, axis: Any, dtype: Any) -> Any:
    """The order in which CUB writes the result; None if it does not do this reduction."""
    if operation == "MEAN":
        possible = a.dtype.kind == "f"
    elif operation in ("SUM", "PROD"):
        possible = a.dtype.kind in "fc" or a.dtype in (np.int64, np.uint64) or dtype == a.dtype
    else:
        possible = a.dtype != bool or operation.startswith("ARG")
    if not possible or dtype not in (None, a.dtype) or not (a.flags.c_contiguous or a.flags.f_contiguous):
        return None
    axes = axis if isinstance(axis, tuple) else (axis,)
    reduced = set(range(a.ndim) if axis is None else (operator.index(axis) % max(a.ndim, 1) for axis in axes))
    if len(reduced) == a.ndim:
        return "C"
    if operation.startswith("ARG") or not a.size:
        return None
    if a.flags.c_contiguous:
        return "C" if min(reduced, default=a.ndim) == a.ndim - len(reduced) else None
    return "F" if max(reduced, default=-1) == len(reduced) - 1 else None


_OWN: dict[str, Function] = {
    "astype": _astype,
    "round": _round,
    "around": _round,
    "argsort": _argsort,
    "argpartition": _argpartition,
    "clip": _clip,
    "cumsum": _scan,
    "cumprod": _scan,
    **{name: functools.partial(_reduce, name) for name in _REDUCTIONS},
}
"""What is more than NumPy's function, with small numbers as zeros. Each takes that function before the arguments."""
