"""How operands meet: plain arrays, numbers and tensors become tensors of one dtype on one device, or are refused."""

import numpy as np

from gpucnn.autograd.tensor import Operand, Tensor
from gpucnn.backend import as_array, converted, to_device, to_host
from gpucnn.errors import DeviceError, DTypeError


def as_tensor(value: "Operand") -> Tensor:
    """`value` itself if it is a tensor, else a tensor of it."""
    return value if isinstance(value, Tensor) else Tensor(value)


def as_operand(value: "Operand", like: Tensor) -> Tensor:
    """`value` as a partner for the tensor `like`, e.g. images for a layer's weight.

    Plain arrays and numbers take on its dtype and device, and tensors without history its device. Where that would
    lose something it is refused: DTypeError for a tensor of another dtype, and for floats that meet integers;
    DeviceError for a tensor with history on another device.
    """
    device = like.device
    if not isinstance(value, Tensor):
        array = as_array(value, like.dtype)
        if array.dtype.kind == "f" and like.dtype.kind != "f":
            raise _dtypes_met(array.dtype, like.dtype)
        there = converted(to_device(array, device), like.dtype)
        if like.dtype.kind != "f" and isinstance(array, np.ndarray) and (to_host(there) != array).any():
            raise DTypeError(f"{array.dtype} values that {like.dtype} cannot hold met it; convert with array.astype")
        return Tensor(there)
    if value.dtype != like.dtype:
        raise _dtypes_met(value.dtype, like.dtype)
    if value.device == device:
        return value
    if value.requires_grad:
        raise DeviceError(
            f"tensors on {value.device} and {device} met in one operation; move the model and the images to one device"
        )
    return Tensor(to_device(value.data, device))


def as_operands(*values: "Operand") -> list[Tensor]:
    """`values` as tensors of one dtype and device: those of the first that needs a gradient, else of the first tensor.

    Plain arrays and numbers alone take on the common dtype of the floats among them.
    """
    tensors = [value for value in values if isinstance(value, Tensor)]
    if tensors:
        like = next((tensor for tensor in tensors if tensor.requires_grad), tensors[0])
        return [value if value is like else as_operand(value, like) for value in values]
    arrays = [as_array(value) for value in values]
    floats = [array.dtype for array in arrays if array.dtype.kind == "f"]
    dtype = np.result_type(*(floats or [array.dtype for array in arrays]))
    return [Tensor(array.astype(dtype, copy=False)) for array in arrays]


def check_float(owner: str, tensor: Tensor) -> None:
    """DTypeError, which names `owner`, unless the tensor's dtype is a float."""
    if tensor.dtype.kind != "f":
        raise DTypeError(f"{owner}: expected floats, got {tensor.dtype}; convert with array.astype('float32')")


def _dtypes_met(a: np.dtype, b: np.dtype) -> DTypeError:
    wide, narrow = sorted((a, b), key=lambda dtype: (dtype.kind == "f", dtype.itemsize), reverse=True)
    fix = f"array.astype('{wide}')"
    if narrow.kind == "f":
        fix = f"array.astype('{narrow}') or model.astype('{wide}')"
    return DTypeError(f"{wide} and {narrow} met in one operation; make them one dtype, e.g. {fix}")
