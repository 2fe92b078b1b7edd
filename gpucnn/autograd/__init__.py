"""Automatic differentiation: tensors, the tape that remembers how they came to be, and a check of gradients."""

from gpucnn.autograd.function import Function as Function
from gpucnn.autograd.gradcheck import gradcheck as gradcheck
from gpucnn.autograd.gradients import grad as grad
from gpucnn.autograd.gradients import gradients_of as gradients_of
from gpucnn.autograd.operation import as_float_tensor as as_float_tensor
from gpucnn.autograd.operation import as_operand as as_operand
from gpucnn.autograd.operation import as_operands as as_operands
from gpucnn.autograd.operation import as_tensor as as_tensor
from gpucnn.autograd.operation import check_float as check_float
from gpucnn.autograd.operation import on_their_device as on_their_device
from gpucnn.autograd.operation import operation as operation
from gpucnn.autograd.operation import record as record
from gpucnn.autograd.tape import backward_number as backward_number
from gpucnn.autograd.tape import enable_grad as enable_grad
from gpucnn.autograd.tape import grad_enabled as grad_enabled
from gpucnn.autograd.tape import no_grad as no_grad
from gpucnn.autograd.tape import watching_gradients as watching_gradients
from gpucnn.autograd.tensor import Operand as Operand
from gpucnn.autograd.tensor import Tensor as Tensor
from gpucnn.autograd.tensor import from_dlpack as from_dlpack
from gpucnn.checks import public_names as _public_names

__all__ = _public_names(globals(), "Operand")


def __dir__() -> list[str]:
    return __all__
