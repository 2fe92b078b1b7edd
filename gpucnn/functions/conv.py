"""Two-dimensional convolution: cross-correlation, as in the chapter."""

from gpucnn.autograd import Operand, Tensor, as_operands, check_float, record
from gpucnn.backend import Array, xp_of
from gpucnn.checks import IntOrPair, shape_text
from gpucnn.errors import ShapeError
from gpucnn.functions.activation import check_activation
from gpucnn.geometry import Window, check_groups, conv2d_shape
from gpucnn.kernels import conv2d as kernel


def conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """Slide each filter over the images and add up the products: (N, O, OH, OW).

    - `x`: images (N, C, H, W). `weight`: filters (O, C / groups, KH, KW). `bias`: (O,) or None.
    - `stride`, `padding` (zeros), `dilation`: an int or (height, width).
    - `groups`: channels and filters are cut into so many parts that do not see each other.
    - `activation`: None, or "relu", which gives relu(conv2d(...)) in fewer passes over memory.

    OH = floor((H + 2 * padding - dilation * (KH - 1) - 1) / stride) + 1, and OW likewise. Raises ShapeError where the
    shapes do not go together, ArgumentError for a stride, padding, dilation, group count or activation that is none.
    Source: chapter 5, "The Convolution Operation" and "Gradient Flow Through Convolution".
    """
    inputs = as_operands(x, weight) if bias is None else as_operands(x, weight, bias)
    x, weight = inputs[:2]
    check_float("conv2d", weight)
    if weight.ndim != 4 or 0 in weight.shape:
        raise ShapeError(f"conv2d: expected weight (O, C / groups, KH, KW), no size 0, got {shape_text(weight.shape)}")
    out_channels, _, *kernel_size = weight.shape
    window = Window.of(kernel_size, stride, padding, dilation)
    check_groups("conv2d", groups, out_channels)
    conv2d_shape("conv2d", x.shape, weight.shape, window, groups)
    offsets = None if bias is None else inputs[2].data
    if offsets is not None and offsets.shape != (out_channels,):
        raise ShapeError(f"conv2d: expected bias ({out_channels},), one per filter, got {shape_text(offsets.shape)}")
    relu = check_activation("conv2d", activation)
    output = kernel.conv2d(x.data, weight.data, offsets, window, groups, relu)
    filters, image_shape, needs_images = weight.data, x.shape, x.requires_grad
    images = x.data if weight.requires_grad else None
    relu_output = output if relu else None

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        empty = xp_of(gradient).empty
        images_gradient = empty(image_shape, gradient.dtype) if needs_images else None
        own_gradients = [tensor.gradient_buffer() if tensor.requires_grad else None for tensor in inputs[1:]]
        kernel.conv2d_gradients(
            gradient, images, filters, image_shape, window, groups, relu_output, images_gradient, *own_gradients
        )
        return (images_gradient, *own_gradients)

    return record("conv2d", output, inputs, backward)
