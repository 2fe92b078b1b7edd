"""The fully connected layer's function."""

import math

from gpucnn.autograd import Operand, Tensor, as_operands, check_float, operation, record
from gpucnn.autograd.rounding import product_gradient, product_operand
from gpucnn.backend import Array
from gpucnn.checks import check_activation
from gpucnn.errors import ShapeError
from gpucnn.geometry import linear_shape
from gpucnn.kernels import linear as kernel
from gpucnn.text import shape_text


@operation
def linear(x: Operand, weight: Operand, bias: Operand | None = None, activation: str | None = None) -> Tensor:
    """x @ weight^T + bias: input (..., in), weight (out, in), bias (out,) or None give (..., out).

    There may be any leading axes, or none. With `activation="relu"` it gives relu(linear(...)) in fewer passes over memory.
    Raises ShapeError where the shapes do not go together, ArgumentError for another activation.
    """
    inputs = as_operands(x, weight) if bias is None else as_operands(x, weight, bias)
    x, weight = inputs[:2]
    check_float("linear", weight)
    if weight.ndim != 2:
        raise ShapeError(f"linear: expected weight (out, in), got {shape_text(weight.shape)}")
    shape, input_shape = linear_shape("linear", x.shape, weight.shape), x.shape
    offsets = None if bias is None else inputs[2].array
    if offsets is not None and offsets.shape != weight.shape[:1]:
        raise ShapeError(f"linear: expected bias ({weight.shape[0]},), one per output, got {shape_text(offsets.shape)}")
    relu = check_activation("linear", activation)
    rows = math.prod(shape[:-1])
    images, filters = product_operand(x), product_operand(weight)
    images = images if x.ndim == 2 else images.reshape(rows, weight.shape[1])
    output = kernel.linear(images, filters, offsets, relu)
    relu_output = output if relu else None
    vectors = images if weight.requires_grad else None
    matrix = filters if x.requires_grad else None
    learned_bias = inputs[2] if bias is not None and inputs[2].requires_grad else None

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        own = tuple(
            None if tensor is None else tensor.gradient_buffer()
            for tensor in (None if vectors is None else weight, learned_bias)
        )
        gradient = gradient.reshape(rows, shape[-1])
        rounded = product_gradient(gradient)
        products = own
        if rounded is not gradient and own[1] is not None:  # which has a sum, and no product
            kernel.bias_gradient(gradient, relu_output, own[1])
            products = (own[0], None)
        x_gradient = kernel.linear_gradients(rounded, vectors, matrix, relu_output, *products)
        return (None if x_gradient is None else x_gradient.reshape(input_shape), *own)[: len(inputs)]

    return record("linear", output.reshape(shape), inputs, backward, is_bf16=True)
