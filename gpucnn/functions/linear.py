"""The fully connected layer's function."""

from gpucnn.autograd import Operand, Tensor, as_operand, as_tensor, record
from gpucnn.backend import Array
from gpucnn.errors import ShapeError
from gpucnn.geometry import linear_shape, shape_text


def linear(x: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """x @ weight^T + bias: input (N, in), weight (out, in), bias (out,) or None give (N, out).

    Raises ShapeError where the shapes do not go together.
    """
    weight = as_tensor(weight)
    x = as_operand(x, weight)
    bias = None if bias is None else as_operand(bias, weight)
    if weight.ndim != 2:
        raise ShapeError(f"linear: expected weight (out, in), got {shape_text(weight.shape)}")
    linear_shape("linear", x.shape, weight.shape)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: expected bias ({weight.shape[0]},), one per output, got {shape_text(bias.shape)}")
    output = x.data @ weight.data.T
    if bias is not None:
        output += bias.data
    inputs = (x, weight) if bias is None else (x, weight, bias)
    vectors = x.data if weight.requires_grad else None
    matrix = weight.data if x.requires_grad else None

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        x_gradient = None if matrix is None else gradient @ matrix
        weight_gradient = None if vectors is None else gradient.T @ vectors
        return (x_gradient, weight_gradient, gradient.sum(axis=0))[: len(inputs)]

    return record("linear", output, inputs, backward)
