"""The fully connected layer's function."""

from gpucnn.autograd import Operand, Tensor, as_operands, check_float, record
from gpucnn.backend import Array
from gpucnn.checks import shape_text
from gpucnn.errors import ShapeError
from gpucnn.geometry import linear_shape


def linear(x: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """x @ weight^T + bias: input (N, in), weight (out, in), bias (out,) or None give (N, out).

    Raises ShapeError where the shapes do not go together.
    """
    inputs = as_operands(x, weight) if bias is None else as_operands(x, weight, bias)
    x, weight = inputs[:2]
    check_float("linear", weight)
    if weight.ndim != 2:
        raise ShapeError(f"linear: expected weight (out, in), got {shape_text(weight.shape)}")
    linear_shape("linear", x.shape, weight.shape)
    offsets = None if bias is None else inputs[2].data
    if offsets is not None and offsets.shape != weight.shape[:1]:
        raise ShapeError(f"linear: expected bias ({weight.shape[0]},), one per output, got {shape_text(offsets.shape)}")
    output = x.data @ weight.data.T
    if offsets is not None:
        output += offsets
    vectors = x.data if weight.requires_grad else None
    matrix = weight.data if x.requires_grad else None

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        x_gradient = None if matrix is None else gradient @ matrix
        weight_gradient = None if vectors is None else gradient.T @ vectors
        return (x_gradient, weight_gradient, gradient.sum(axis=0))[: len(inputs)]

    return record("linear", output, inputs, backward)
