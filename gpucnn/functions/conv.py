"""Two-dimensional convolution, which is cross-correlation, as in the chapter, and its transpose."""

from gpucnn.autograd import Operand, Tensor, as_operands, check_float, operation, record
from gpucnn.autograd.rounding import product_gradient, product_operand, stored_operand
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
    - `groups`: channels and filters are cut into `groups` parts that do not see each other.
    - `activation`: None, or "relu", which gives relu(conv2d(...)) in fewer passes over memory.

    OH = floor((H + 2 * padding - dilation * (KH - 1) - 1) / stride) + 1, and OW likewise. Raises ShapeError where the
    shapes do not go together, ArgumentError for an invalid stride, padding, dilation, group count or activation.
    Source: chapter 5, "The Convolution Operation" and "Gradient Flow Through Convolution".
    """
    inputs = _operands("conv2d", "(O, C / groups, KH, KW)", x, weight, bias)
    image_shape, weight_shape = inputs[0].shape, inputs[1].shape
    window = Window.of(weight_shape[2:], stride, padding, dilation)
    groups = as_groups("conv2d", groups, weight_shape[0])
    shape = conv2d_shape("conv2d", image_shape, weight_shape, window, groups)
    _check_bias("conv2d", inputs, weight_shape[0], "filter")
    task = kernel.Convolution(image_shape, weight_shape, shape, window, groups, check_activation("conv2d", activation))
    held = stored_operand(inputs[0])
    if held is None:
        images, filters = product_operand(inputs[0]), product_operand(inputs[1])
    else:
        images, filters = held, inputs[1].array
    output = kernel.conv2d(task, images, filters, None if bias is None else inputs[2].array)
    needs_images = inputs[0].requires_grad
    learning = [tensor if tensor.requires_grad else None for tensor in inputs[1:]]
    kept_images, kept_output = images if learning[0] is not None else None, output if task.relu else None

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        images_gradient = empty_beside(gradient, image_shape) if needs_images else None
        found = kernel.Gradients(images_gradient, *gradient_buffers(learning))
        fill_gradients(task, gradient, kept_images, filters, kept_output, found)
        return found[: 1 + len(learning)]  # two without a bias

    return record("conv2d", output, inputs, backward, is_bf16=True, stored=held is not None)


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
    inputs = _operands("conv_transpose2d", "(I, O / groups, KH, KW)", x, weight, bias)
    image_shape, weight_shape = inputs[0].shape, inputs[1].shape
    groups = as_groups("conv_transpose2d", groups, weight_shape[0])
    window = Window.of(weight_shape[2:], stride, as_pair(padding, "padding", 0), dilation)
    shape = conv_transpose2d_shape("conv_transpose2d", image_shape, weight_shape, window, output_padding, groups)
    _check_bias("conv_transpose2d", inputs, shape[1], "output channel")
    window, reached = _turned_round(window, shape, as_pair(output_padding, "output_padding", 0))
    task = kernel.Convolution(reached, weight_shape, image_shape, window, groups)
    images, filters = product_operand(inputs[0]), product_operand(inputs[1])
    output = empty_beside(images, reached)
    kernel.conv2d_gradients(task, images, None, filters, None, kernel.Gradients(output))
    if reached != shape:
        output, inner = xp_of(output).zeros(shape, output.dtype), output
        output[:, :, : reached[2], : reached[3]] = inner
    if bias is not None:
        output += inputs[2].array[:, None, None]
    needs_images = inputs[0].requires_grad
    learning = [tensor if tensor.requires_grad else None for tensor in inputs[1:]]

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        inner = product_gradient(gradient)[:, :, : reached[2], : reached[3]]
        images_gradient = kernel.conv2d(task, inner, filters, None) if needs_images else None
        own = gradient_buffers(learning)
        kernel.conv2d_gradients(task, images, inner, filters, None, kernel.Gradients(weight=own[0]))
        if len(own) > 1 and own[1] is not None:
            planes = xp_of(gradient).ascontiguousarray(gradient).reshape(*shape[:2], shape[2] * shape[3])
            channel_sums(planes, out=own[1])
        return (images_gradient, *own)

    return record("conv_transpose2d", output, inputs, backward, is_bf16=True)


def fill_gradients(
    task: kernel.Convolution, gradient: Array, images: Array | None, filters: Array, output: Array | None,
    found: kernel.Gradients,
) -> None:  # fmt: skip
    """`conv2d_gradients` in the precision: products of a rounded gradient, and the bias's sum of the gradient itself."""
    rounded = product_gradient(gradient)
    if rounded is not gradient and found.bias is not None:
        kernel.conv2d_gradients(task, gradient, None, filters, output, kernel.Gradients(bias=found.bias))
        found = found._replace(bias=None)
    kernel.conv2d_gradients(task, rounded, images, filters, output, found)


def _operands(owner: str, weight_axes: str, x: Operand, weight: Operand, bias: Operand | None) -> list[Tensor]:
    """Images, weight and, if there is one, bias as tensors of one float dtype; ShapeError unless the weight has four axes."""
    inputs = as_operands(x, weight) if bias is None else as_operands(x, weight, bias)
    check_float(owner, inputs[1])
    if inputs[1].ndim != 4 or 0 in inputs[1].shape:
        raise ShapeError(f"{owner}: expected weight {weight_axes}, no size 0, got {shape_text(inputs[1].shape)}")
    return inputs


def _check_bias(owner: str, inputs: list[Tensor], channels: int, each: str) -> None:
    if len(inputs) > 2 and inputs[2].shape != (channels,):
        raise ShapeError(f"{owner}: expected bias ({channels},), one per {each}, got {shape_text(inputs[2].shape)}")


def gradient_buffers(learning: list[Tensor | None]) -> list[Array | None]:
    """Where the gradients of these tensors belong; None for one that needs none."""
    return [None if tensor is None else tensor.gradient_buffer() for tensor in learning]


def _turned_round(window: Window, shape: Shape, extra: Pair) -> tuple[Window, Shape]:
    """The window of the convolution that a transposed one turns round, and the part of `shape` that it reaches.

    Output padding first takes back padding at the end; what is left of it is rows and columns that no window reaches.
    """
    padding = tuple((before, max(after - more, 0)) for (before, after), more in zip(window.padding, extra, strict=True))
    sizes = [shape[2 + axis] - max(extra[axis] - window.padding[axis][1], 0) for axis in (0, 1)]
    return window._replace(padding=(padding[0], padding[1])), (*shape[:2], *sizes)
