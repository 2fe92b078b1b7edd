"""The same values in another dtype, or in memory of their own."""

from typing import Any

from gpucnn.autograd import Operand, Tensor, as_tensor, operation, record
from gpucnn.backend import Array, converted
from gpucnn.checks import as_dtype


@operation
def astype(x: Operand, dtype: Any) -> Tensor:
    """x in another dtype, of floats, integers or bools; x itself if it has it.

    Between floats the gradient goes back in x's own dtype. Integers and bools have no gradient. DTypeError for other dtypes.
    """
    x = as_tensor(x)
    wanted, own = as_dtype(dtype, "astype: dtype", "fiub"), x.dtype
    if wanted == own:
        return x
    values = converted(x.array, wanted)
    if wanted.kind != "f":
        return Tensor(values)
    return record("astype", values, (x,), lambda gradient: (converted(gradient, own),))


@operation
def clone(x: Operand) -> Tensor:
    """x in memory of its own; gradients find their way back."""
    x = as_tensor(x)
    return record("clone", x.array.copy(), (x,), _as_it_is)


def _as_it_is(gradient: Array) -> tuple[Array]:
    return (gradient,)
