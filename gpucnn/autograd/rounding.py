"""What a `backend.precision` rounds: operands of products, and what bf16 keeps in bfloat16."""

from collections.abc import Sequence

import numpy as np

from gpucnn.autograd.tensor import Tensor
from gpucnn.backend import Array, chosen_precision, device_of, xp_of
from gpucnn.kernels.rounding import narrowed, round_to


def product_operand(tensor: Tensor) -> Array:
    """The array of a tensor as the precision has it multiplied: rounded, unless it is already, or to TF32, as cuBLAS does that."""
    return tensor.array if tensor.is_bf16 else _rounded(tensor.array)


def product_gradient(gradient: Array) -> Array:
    """The same for the gradient of a product, which bf16 has rounded on its way there."""
    return gradient if chosen_precision() == "bf16" else _rounded(gradient)


def stored(*tensors: Tensor) -> list[Array] | None:
    """What tensors hold, as bfloat16 in two bytes: for an operation of a GPU's kernels that takes such arrays, and gives one.

    None unless the precision is bf16, one of them holds it so, and the values of all are rounded to it; and without values.
    """
    if not any(tensor.is_stored for tensor in tensors) or chosen_precision() != "bf16" or not tensors[0].size:
        return None
    return [_stored(tensor) for tensor in tensors] if all(tensor.is_bf16 for tensor in tensors) else None


def stored_operand(tensor: Tensor) -> Array | None:
    """The same of a product's first operand, whose values are rounded if they are not; None where it is not to be held so.

    A gradient of what bf16 has not rounded is float32, and that of arrays in two bytes is not.
    """
    if chosen_precision() != "bf16" or tensor.dtype != np.float32 or not tensor.size or tensor.device.kind == "cpu":
        return None
    return None if tensor.requires_grad and not tensor.is_bf16 else _stored(tensor)


def kept(output: Array, inputs: Sequence[Tensor], is_bf16: bool | None) -> tuple[Array, bool]:
    """An operation's output as the precision keeps it, and whether that is rounded to bfloat16. See `record`.

    It is rounded in place, as its backward function may have it, unless it looks at an input's array.
    """
    if chosen_precision() != "bf16" or output.dtype != np.float32:
        return output, False
    if not (any(tensor.is_bf16 for tensor in inputs) if is_bf16 is None else is_bf16):
        return output, False
    if isinstance(output, np.generic):  # NumPy has a scalar where an array is of no axes
        return round_to("bf16", np.asarray(output)), True
    xp = xp_of(output)
    looks_at = [tensor for tensor in inputs if xp.may_share_memory(output, tensor.held)]
    if looks_at:
        return output if all(tensor.is_bf16 for tensor in looks_at) else round_to("bf16", output), True
    return round_to("bf16", output, out=output if output.flags.c_contiguous else None), True


def _stored(tensor: Tensor) -> Array:
    return tensor.held if tensor.is_stored else narrowed(tensor.array)


def _rounded(array: Array) -> Array:
    name = chosen_precision()
    if name == "float32" or array.dtype != np.float32:
        return array
    return array if name == "tf32" and device_of(array).kind != "cpu" else round_to(name, array)
