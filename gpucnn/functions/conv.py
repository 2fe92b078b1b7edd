"""Two-dimensional convolution (cross-correlation, as in the chapter), on tensors and on a plain image."""

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_operand, as_tensor, record
from gpucnn.backend import Array, xp_of
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.geometry import IntOrPair, Window, conv2d_shape, is_int, shape_text
from gpucnn.kernels import conv2d as kernel


def conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter over the images and add up the products: (N, O, OH, OW).

    - `x`: images (N, C, H, W). `weight`: filters (O, C / groups, KH, KW). `bias`: (O,) or None.
    - `stride`, `padding` (zeros), `dilation`: an int or (height, width).
    - `groups`: channels and filters are cut into so many parts that do not see each other.

    OH = floor((H + 2 * padding - dilation * (KH - 1) - 1) / stride) + 1, and OW likewise. Raises ShapeError where the
    shapes do not go together, ArgumentError for a stride, padding, dilation or group count that is none.
    Source: chapter 5, "The Convolution Operation" and "Gradient Flow Through Convolution".
    """
    weight = as_tensor(weight)
    x = as_operand(x, weight)
    bias = None if bias is None else as_operand(bias, weight)
    if weight.ndim != 4:
        raise ShapeError(f"conv2d: expected weight (O, C / groups, KH, KW), got {shape_text(weight.shape)}")
    out_channels, _, *kernel_size = weight.shape
    window = Window.of(kernel_size, stride, padding, dilation)
    check_groups("conv2d", groups, out_channels)
    conv2d_shape("conv2d", x.shape, weight.shape, window, groups)
    if bias is not None and bias.shape != (out_channels,):
        raise ShapeError(f"conv2d: expected bias ({out_channels},), one per filter, got {shape_text(bias.shape)}")
    images, filters = x.data, weight.data
    x_needs, weight_needs = x.requires_grad, weight.requires_grad

    def backward(gradient: Array) -> tuple[Array | None, ...]:
        x_gradient = weight_gradient = None
        if x_needs:
            x_gradient = kernel.conv2d_image_gradient(gradient, filters, images.shape[2:4], window, groups)
        if weight_needs:
            weight_gradient = kernel.conv2d_weight_gradient(gradient, images, window, groups)
        return x_gradient, weight_gradient, *([] if bias is None else [gradient.sum(axis=(2, 3)).sum(axis=0)])

    output = kernel.conv2d(images, filters, None if bias is None else bias.data, window, groups)
    return record("conv2d", output, (x, weight) if bias is None else (x, weight, bias), backward)


def check_groups(owner: str, groups: int, out_channels: int) -> None:
    """ArgumentError, which names `owner`, unless `groups` is a positive int that divides the filters."""
    if not is_int(groups) or groups < 1 or out_channels % groups:
        raise ArgumentError(f"{owner}: groups must be an int >= 1 that divides {out_channels} filters, got {groups!r}")


def convolve2d(image: Array, kernel: Array, stride: int = 1, padding: int = 0) -> Array:
    """The chapter's convolution of one image (H, W) with one kernel (KH, KW), plain arrays in and out: (OH, OW).

    Integers are computed in float64, as in the chapter. Raises ShapeError if either is not two-dimensional or the
    kernel is larger than the padded image. Source: chapter 5, "Convolution Implementation".
    """
    image, kernel = plain_image("convolve2d", "image", image), plain_image("convolve2d", "kernel", kernel)
    dtype = np.result_type(image.dtype, kernel.dtype)
    image, kernel = image.astype(dtype, copy=False), kernel.astype(dtype, copy=False)
    return conv2d(image[None, None], kernel[None, None], stride=stride, padding=padding).data[0, 0]


def plain_image(owner: str, name: str, image: Array) -> Array:
    """`image` as a float array (H, W); ShapeError, which names `owner` and argument, if it has other axes."""
    try:
        xp_of(image)
    except TypeError:
        image = np.asarray(image)
    if image.ndim != 2:
        raise ShapeError(
            f"{owner}: {name} must be a plain (H, W) array, got {shape_text(image.shape)}; "
            f"for batches and channels use functions.conv2d and functions.max_pool2d"
        )
    return image if image.dtype.kind == "f" else image.astype(np.float64)
