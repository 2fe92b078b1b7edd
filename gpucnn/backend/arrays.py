"""Arrays and their module: numpy for host arrays, cupy for device arrays."""

import sys
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from gpucnn.checks import LARGEST_FLOAT
from gpucnn.errors import DeviceError, DTypeError

Array: TypeAlias = Any
"""A numpy.ndarray or a cupy.ndarray. CuPy has no types without a GPU wheel, so checkers see `Any`."""

stand_in: ModuleType | None = None
"""What is taken for CuPy, see `cuda.use_in_place_of_cupy`."""

_NUMPY = (np.ndarray, np.generic)
_NUMBERS = frozenset(map(np.dtype, "?bhilqBHILQefd"))
"""The dtypes of arrays that are taken as they are: in the machine's own order of bytes, floats of at most 64 bits."""
_HERE = nullcontext()


def loaded() -> ModuleType | None:
    """The cupy module if something has imported it, else None: then no array can be one of its own."""
    return stand_in or sys.modules.get("cupy")


def xp_of(*arrays: Array) -> ModuleType:
    """The module, numpy or cupy, that all `arrays` belong to.

    Raises DeviceError if they are of both modules, or on different GPUs, TypeError if one is no array at all.
    """
    for array in arrays:
        if not isinstance(array, _NUMPY):
            return _common_module(arrays)
    return np if arrays else _common_module(arrays)


def _common_module(arrays: tuple[Array, ...]) -> ModuleType:
    module: ModuleType | None = None
    device: int | None = None
    for array in arrays:
        own = np if isinstance(array, _NUMPY) else _foreign_module(array)
        if module is not None and own is not module:
            raise DeviceError(
                f"arrays of {module.__name__} and {own.__name__} met in one operation; "
                f'bring them together first, e.g. Tensor.to("cuda") or model.to("cpu")'
            )
        if own is not np and len(arrays) > 1:
            index = array.data.device_id
            if device is not None and index != device:
                raise DeviceError(
                    f"arrays on cuda:{device} and cuda:{index} met in one operation; bring them to one device first, "
                    f'e.g. Tensor.to("cuda:{device}") or model.to("cuda:{index}")'
                )
            device = index
        module = own
    if module is None:
        raise TypeError("xp_of needs at least one array")
    return module


def wide(dtype: np.dtype) -> np.dtype:
    """The dtype to add up numbers of `dtype` in: float16 overflows at 65,504, and has 11 bits."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _foreign_module(array: Array) -> ModuleType:
    module = loaded()
    if module is None or not isinstance(array, getattr(module, "ndarray", ())):
        raise TypeError(f"expected a numpy or cupy array, got {type(array).__name__}")
    return module


def are_together(a: Array, b: Array) -> bool:
    """Whether two arrays are on one device."""
    if isinstance(a, _NUMPY) or isinstance(b, _NUMPY):
        return isinstance(a, _NUMPY) and isinstance(b, _NUMPY)
    return bool(a.data.device_id == b.data.device_id)


def beside(array: Array) -> AbstractContextManager[Any]:
    """Inside, new arrays of CuPy are made where `array` is, and work is done there. Costs next to nothing for NumPy's arrays."""
    if isinstance(array, _NUMPY):
        return _HERE
    index, cupy_cuda = array.data.device_id, _foreign_module(array).cuda
    return _HERE if cupy_cuda.runtime.getDevice() == index else cupy_cuda.Device(index)


def as_array(data: Any, dtype: np.dtype | None = None) -> Array:
    """`data` as an array: arrays keep their dtype; lists and numbers become int64 if integers, else floats.

    Those floats are of `dtype` if it is a float dtype, and float32 otherwise. Raises DTypeError for what is not an array of
    numbers, for numbers that the dtype cannot hold, and for floats of more than 64 bits.
    """
    if type(data) is np.ndarray and data.dtype in _NUMBERS:  # the usual case, at once
        return data
    return _made_array(data, dtype)


def _made_array(data: Any, dtype: np.dtype | None) -> Array:
    try:
        xp_of(data)
        array = np.asarray(data) if isinstance(data, _NUMPY) else data
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
    except TypeError:
        try:
            array = np.asarray(data)
        except ValueError:
            raise DTypeError(
                f"expected numbers, got a {type(data).__name__} of rows of uneven length, or of more than 64 axes"
            ) from None
        except (TypeError, RuntimeError) as error:  # e.g. another library's tensor with a gradient
            raise DTypeError(f"expected numbers, got a {type(data).__name__} that becomes no array ({error})") from None
        if array.dtype == np.float64:
            array = _narrowed(array, np.dtype(np.float32) if dtype is None or dtype.kind != "f" else dtype)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"expected numbers, got {type(data).__name__} of dtype {array.dtype}")
    if array.dtype.kind == "f" and array.dtype.itemsize > LARGEST_FLOAT:
        raise DTypeError(f"expected floats of at most 64 bits, got {array.dtype}; convert with array.astype('float64')")
    return array


def _narrowed(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    try:
        with np.errstate(over="raise"):
            return numbers.astype(dtype)
    except FloatingPointError:
        raise DTypeError(
            f"expected numbers that {dtype} can hold, got {np.abs(numbers[np.isfinite(numbers)]).max():g}; "
            f"give an array of float64"
        ) from None


def converted(array: Array, dtype: np.dtype) -> Array:
    """`array` in another dtype, on its device: itself if it has it, else a copy."""
    with beside(array):
        return array.astype(dtype, copy=False)
