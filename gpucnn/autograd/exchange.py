"""Tensors for other libraries: NumPy's functions, DLPack, the interface of CUDA arrays. A gradient is never lost without a word."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpucnn.autograd.tape import grad_enabled
from gpucnn.backend import Array, beside, choose_device, current
from gpucnn.errors import DeviceError, DTypeError, GpucnnError, GradientError
from gpucnn.text import value_text

WITHOUT_GRADIENT = frozenset(
    ("argmax", "argmin", "argsort", "isfinite", "isinf", "isnan", "shape", "ndim", "size", "sign")
)
"""NumPy's functions whose results have no gradient anyway."""


def array_of(tensor: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """The values as NumPy asks for them; DTypeError where that would lose a gradient, DeviceError for those on a GPU."""
    if tensor.requires_grad and grad_enabled():
        raise DTypeError(
            "a tensor does not become an array by itself, as its gradient would be lost; use tensor.numpy(), or compute "
            "inside no_grad()"
        )
    if tensor.device.kind != "cpu":
        raise DeviceError(
            f"a tensor on {tensor.device} does not become NumPy's array by itself; use tensor.numpy(), which copies it to the CPU"
        )
    values: np.ndarray = tensor.numpy()
    if dtype is not None and np.dtype(dtype) != values.dtype:
        if copy is False:
            raise ValueError(f"{values.dtype} values do not become {np.dtype(dtype)} without a copy")
        return values.astype(dtype)
    return values.copy() if copy else values


def call_numpy(name: str, function: Callable[..., Any], args: Any, options: Mapping[str, Any]) -> Any:
    """A function of NumPy on the values; DTypeError, which names it, where a gradient would be lost."""
    losing = name not in WITHOUT_GRADIENT and grad_enabled()
    try:
        return function(
            *(_value(one, losing) for one in args), **{key: _value(one, losing) for key, one in options.items()}
        )
    except _LosesError:
        raise DTypeError(
            f"np.{name} has no gradient in gpucnn; use gpucnn.functions, or tensor.numpy() for the values"
        ) from None


class _LosesError(Exception):
    """A tensor that has a gradient to lose."""


def _value(one: Any, losing: bool) -> Any:
    if isinstance(one, list | tuple):
        return type(one)(_value(inner, losing) for inner in one) if type(one) in (list, tuple) else one
    if not hasattr(type(one), "__dlpack_device__") or not hasattr(one, "requires_grad"):
        return one
    if losing and one.requires_grad:
        raise _LosesError
    return array_of(one.detach())


def as_capsule(tensor: Any, options: Mapping[str, Any]) -> Any:
    """The array in DLPack's form, shared, not copied. GradientError for a tensor that learns, as others could write to it."""
    _check_exported("__dlpack__", tensor)
    array = tensor.in_float32()
    with beside(array):
        return array.__dlpack__(**options)


def capsule_device(tensor: Any) -> tuple[int, int]:
    """Where the array is, in DLPack's numbers."""
    kind, number = tensor.held.__dlpack_device__()
    return int(kind), int(number)


def cuda_interface(tensor: Any) -> dict[str, Any]:
    """What Numba and PyTorch ask of arrays on a GPU; AttributeError for others."""
    if tensor.device.kind == "cpu":
        raise AttributeError("a tensor on the CPU has no __cuda_array_interface__", name="__cuda_array_interface__")
    _check_exported("__cuda_array_interface__", tensor)
    interface: dict[str, Any] = tensor.in_float32().__cuda_array_interface__
    return interface


def _check_exported(how: str, tensor: Any) -> None:
    if tensor.requires_grad:
        raise GradientError(
            f"{how} of a tensor that has gradients: they do not go to another library, which could also write to what is "
            f"learned; give tensor.detach(), or tensor.detach().clone() for a copy"
        )


ON_CPU = (1, 3)
"""DLPack's numbers of the CPU, and of memory there that a GPU reads directly."""
ON_GPU = (2, 13)
"""Those of a CUDA GPU, and of memory that CUDA manages."""


def shared_array(array: Any) -> Array:
    """The array of NumPy or CuPy that shares memory with another library's; DTypeError or DeviceError where there is none."""
    if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
        raise DTypeError(
            f"from_dlpack: expected an array or tensor that knows DLPack, got {value_text(array)}; give Tensor a list or an array"
        )
    try:
        kind, number = array.__dlpack_device__()
        if kind in ON_CPU:
            own = np.from_dlpack(array)
            return own if own.flags.writeable else own.copy()
        if kind in ON_GPU:
            there = choose_device(f"cuda:{number}").device
            with current(there):
                return there.xp.from_dlpack(array)
    except (
        BufferError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # e.g. a tensor with a gradient, a dtype unknown to NumPy
        if isinstance(error, GpucnnError):
            raise
        raise DTypeError(
            f"from_dlpack: this {type(array).__name__} cannot be shared ({error}); give a detached copy"
        ) from None
    raise DeviceError(
        f"from_dlpack: got an array on a device that DLPack calls {kind}; bring it to the CPU or a CUDA GPU"
    )
