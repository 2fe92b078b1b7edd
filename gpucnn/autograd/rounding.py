"""What a `backend.precision` rounds: operands of products, and what bf16 keeps in bfloat16."""

from collections.abc import Sequence

import numpy as np

from gpucnn.autograd.tensor import Tensor
from gpucnn.backend import Array, chosen_precision, device_of, xp_of
from gpucnn.kernels.rounding import round_to


def product_operand(tensor: Tensor) -> Array:
    """The array of a tensor as the precision has it multiplied: rounded, unless it is already, or to TF32, as cuBLAS does that."""
    return tensor.array if tensor.is_bf16 else _rounded(tensor.array)


def product_gradient(gradient: Array) -> Array:
    """The same for the gradient of a product, which bf16 has rounded on its way there."""
    return gradient if chosen_precision() == "bf16" else _rounded(gradient)


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
    looks_at = [tensor for tensor in inputs if xp.may_share_memory(output, tensor.array)]
    if looks_at:
        return output if all(tensor.is_bf16 for tensor in looks_at) else round_to("bf16", output), True
    return round_to("bf16", output, out=output if output.flags.c_contiguous else None), True


def _rounded(array: Array) -> Array:
    name = chosen_precision()
    if name == "float32" or array.dtype != np.float32:
        return array
    return array if name == "tf32" and device_of(array).kind != "cpu" else round_to(name, array)
