"""Two-dimensional convolution, which is cross-correlation, as in the chapter, and its transpose."""

from gpucnn.autograd import Operand, Tensor, as_operands, check_float, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.backend.host_memory import empty_beside
from gpucnn.checks import IntOrPair, Pair, Shape, as_pair, check_activation
from gpucnn.errors import ShapeError
from gpucnn.geometry import Padding, Window, as_groups, conv2d_shape, conv_transpose2d_shape
from gpucnn.kernels import convolution as kernel
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.text import shape_text


@operation
def conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """Slide each filter over the images and add up the products: (N, O, OH, OW).

    - `x`: images (N, C, H, W). `weight`: filters (O, C / groups, KH, KW). `bias`: (O,) or None.
    - `stride`, `dilation`: an int or (height, width). `padding` (zeros): the same, or ((top, bottom), (left, right)), "valid"
      for none, or "same" for an output of the images' size, with stride 1.
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
    groups = as_groups("conv2d", groups, out_channels)
    conv2d_shape("conv2d", x.shape, weight.shape, window, groups)
    offsets = None if bias is None else inputs[2].data
    if offsets is not None and offsets.shape != (out_channels,):
        raise ShapeError(f"conv2d: expected bias ({out_channels},), one per filter, got {shape_text(offsets.shape)}")
    relu = check_activation("conv2d", activation)
    output = kernel.conv2d(x.data, weight.data, offsets, window, groups, relu)
    filters, image_shape, needs_images = weight.data, x.shape, x.requires_grad
    images = x.data if weight.requires_grad else None
    relu_output = output if relu else None
    learning = [tensor if tensor.requires_grad else None for tensor in inputs[1:]]

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        images_gradient = empty_beside(gradient, image_shape) if needs_images else None
        own_gradients = [None if tensor is None else tensor.gradient_buffer() for tensor in learning]
        if 0 in image_shape[2:]:  # all that the windows see is padding
            for own, tensor in zip(own_gradients, inputs[1:], strict=True):
                if own is not None:
                    own[...] = gradient.sum(axis=(0, 2, 3)) if tensor is not weight else 0
            return (images_gradient, *own_gradients)
        kernel.conv2d_gradients(
            gradient, images, filters, image_shape, window, groups, relu_output, images_gradient, *own_gradients
        )
        return (images_gradient, *own_gradients)

    return record("conv2d", output, inputs, backward)


@operation
def conv_transpose2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> Tensor:
    """The transpose of `conv2d`: what its gradient does to images, as a function forwards. (N, I, H, W) to (N, O, OH, OW).

    - `x`: images (N, I, H, W). `weight`: (I, O / groups, KH, KW). `bias`: (O,) or None.
    - `stride`, `padding`, `dilation`: those of the convolution that it turns round; an int or (height, width).
    - `output_padding`: rows and columns to add at the end, fewer than the stride or the dilation.

    OH = (H - 1) * stride - 2 * padding + dilation * (KH - 1) + output_padding + 1, and OW likewise. Raises ShapeError where
    the shapes do not go together, ArgumentError for arguments out of range.
    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", chapter 4.
    """
    inputs = as_operands(x, weight) if bias is None else as_operands(x, weight, bias)
    x, weight = inputs[:2]
    check_float("conv_transpose2d", weight)
    if weight.ndim != 4 or 0 in weight.shape:
        raise ShapeError(
            f"conv_transpose2d: expected weight (I, O / groups, KH, KW), no size 0, got {shape_text(weight.shape)}"
        )
    in_channels, per_group, *kernel_size = weight.shape
    groups = as_groups("conv_transpose2d", groups, in_channels)
    window = Window.of(kernel_size, stride, as_pair(padding, "padding", 0), dilation)
    shape = conv_transpose2d_shape("conv_transpose2d", x.shape, weight.shape, window, output_padding, groups)
    if bias is not None and inputs[2].shape != shape[1:2]:
        raise ShapeError(
            f"conv_transpose2d: expected bias ({per_group * groups},), one per output channel, got {shape_text(inputs[2].shape)}"
        )
    window, reached = _turned_round(window, shape, as_pair(output_padding, "output_padding", 0))
    output = empty_beside(x.data, reached)
    kernel.conv2d_gradients(x.data, None, weight.data, reached, window, groups, images_gradient=output)
    if reached != shape:
        output, inner = xp_of(output).zeros(shape, x.dtype), output
        output[:, :, : reached[2], : reached[3]] = inner
    if bias is not None:
        output += inputs[2].data[:, None, None]
    images, filters = x.data, weight.data
    needs_images, *learning = [tensor if tensor.requires_grad else None for tensor in inputs]

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        inner = gradient[:, :, : reached[2], : reached[3]]
        x_gradient = None if needs_images is None else kernel.conv2d(inner, filters, None, window, groups)
        own_gradients = [None if tensor is None else tensor.gradient_buffer() for tensor in learning]
        kernel.conv2d_gradients(images, inner, filters, reached, window, groups, weight_gradient=own_gradients[0])
        if bias is not None and own_gradients[1] is not None:
            flat = xp_of(gradient).ascontiguousarray(gradient).reshape(*shape[:2], shape[2] * shape[3])
            channel_sums(flat, out=own_gradients[1])
        return (x_gradient, *own_gradients)

    return record("conv_transpose2d", output, inputs, backward)


def _turned_round(window: Window, shape: Shape, extra: Pair) -> tuple[Window, Shape]:
    """The window of the convolution that a transposed one turns round, and the part of `shape` that it reaches.

    Output padding first takes back padding at the end; what is left of it is rows and columns that no window reaches.
    """
    padding = tuple((before, max(after - more, 0)) for (before, after), more in zip(window.padding, extra, strict=True))
    sizes = [shape[2 + axis] - max(extra[axis] - window.padding[axis][1], 0) for axis in (0, 1)]
    return window._replace(padding=(padding[0], padding[1])), (*shape[:2], *sizes)
