"""A convolution and the max pooling that follows it, as one operation where a GPU does both in one launch.

`layers` has it where nobody looks at what lies between the two; the values are those of `conv2d` and `max_pool2d`.
"""

import numpy as np

from gpucnn.autograd import Tensor, as_operands, grad_enabled, operation, record
from gpucnn.autograd.rounding import product_operand
from gpucnn.backend import Array, chosen_precision, xp_of
from gpucnn.backend.host_memory import empty_beside
from gpucnn.errors import ShapeError
from gpucnn.functions.conv import fill_gradients, gradient_buffers
from gpucnn.geometry import Window, conv2d_shape, pool2d_shape
from gpucnn.kernels import convolution as kernel
from gpucnn.kernels.convolution import PooledConvolution
from gpucnn.kernels.pooling import Pooling, max_pool_gradient


def pooled_convolution(
    x: Tensor, weight: Tensor, window: Window, groups: int, relu: bool, pooling: Window
) -> PooledConvolution | None:
    """The task, for `conv2d_max_pool2d`; None where both are better computed one after the other, or raise an error."""
    if chosen_precision() == "bf16" or xp_of(x.array) is np or x.dtype != weight.dtype:
        return None
    try:
        shape = conv2d_shape("conv2d", x.shape, weight.shape, window, groups)
        pool2d_shape("max_pool2d", shape, pooling)
    except ShapeError:
        return None
    convolution = kernel.Convolution(x.shape, weight.shape, shape, window, groups, relu)
    task = PooledConvolution(convolution, Pooling(shape, pooling.within((shape[2], shape[3]))))
    return task if kernel.pools(task, x.array, weight.array) else None


@operation
def conv2d_max_pool2d(task: PooledConvolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """max_pool2d(conv2d(x, weight, bias)): (N, O, PH, PW), see there; `task` is what `pooled_convolution` has found."""
    inputs = as_operands(x, weight) if bias is None else as_operands(x, weight, bias)
    images, filters = product_operand(inputs[0]), product_operand(inputs[1])
    learns = grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    offsets = None if bias is None else inputs[2].array
    output, argmax = kernel.conv2d_max_pool(task, images, filters, offsets, learns)
    needs_images, image_shape = inputs[0].requires_grad, inputs[0].shape
    learning = [tensor if tensor.requires_grad else None for tensor in inputs[1:]]
    kept_images = images if learning[0] is not None else None
    before = task.convolution._replace(relu=False)  # which argmax knows of

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        gradient = max_pool_gradient(task.pooling, gradient, argmax)
        images_gradient = empty_beside(gradient, image_shape) if needs_images else None
        found = kernel.Gradients(images_gradient, *gradient_buffers(learning))
        fill_gradients(before, gradient, kept_images, filters, None, found)
        return found[: 1 + len(learning)]  # two without a bias

    return record("conv2d_max_pool2d", output, inputs, backward, is_bf16=True)
