"""Convolution with 1x1 filters, which needs no columns: the images themselves are the matrices.

With stride 1 an image's channels (C, H * W) are the columns that im2col would make, and the product with the filters is
the output as layers want it; with a larger stride a slice of the image is. On a GPU that is one product of a batch.
"""

from collections.abc import Iterator

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape
from gpucnn.geometry import Window
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.convolution.stacked_product import add_products, by_group, product
from gpucnn.kernels.convolution.tiles import column_byte_cap
from gpucnn.kernels.elementwise.bias_relu import add_channel_bias, images_to_rows, relu_gradient
from gpucnn.kernels.tiling import pieces


def is_pointwise(window: Window) -> bool:
    """Whether a convolution with this window reads one pixel for each of its output positions, and no padding."""
    return window.kernel == (1, 1) and window.padding == ((0, 0), (0, 0))


def pointwise_conv2d(
    images: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int,
    relu: bool,
    byte_cap: int | None,
    output: Array,
) -> None:
    """`conv2d` of images (N, C, H, W) with weight (O, C / groups, 1, 1), into `output` (N, O, OH, OW)."""
    out_channels = weight.shape[0]
    filters = weight.reshape(groups, out_channels // groups, -1)
    for part in _parts(images, images.shape, output.shape, byte_cap):
        product(filters, _matrices(_seen(images[part], window), groups), out=_matrices(output[part], groups))
        add_channel_bias(output[part], bias, relu)


def pointwise_conv2d_gradients(
    gradient: Array,
    images: Array | None,
    weight: Array,
    image_shape: Shape,
    window: Window,
    groups: int,
    relu_output: Array | None,
    images_gradient: Array | None,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
    byte_cap: int | None,
) -> None:
    """`conv2d_gradients` for weight (O, C / groups, 1, 1)."""
    xp = xp_of(gradient)
    out_channels = weight.shape[0]
    filters = weight.reshape(groups, out_channels // groups, -1).swapaxes(1, 2)
    for part in _parts(gradient, image_shape, gradient.shape, byte_cap, weight.nbytes):
        passed = xp.ascontiguousarray(gradient[part])
        if relu_output is not None:
            passed = relu_gradient(passed, relu_output[part])
        if bias_gradient is not None:
            sums = channel_sums(_matrices(passed, 1)[:, 0], out=None if part.start else bias_gradient)
            if part.start:
                bias_gradient += sums
        if weight_gradient is not None and images is not None:
            rows, columns = images_to_rows(passed, None), images_to_rows(_seen(images[part], window), None)
            total = weight_gradient.reshape(groups, out_channels // groups, -1)
            add_products(by_group(rows, groups), by_group(columns, groups).swapaxes(2, 3), total, part.start == 0)
        if images_gradient is not None:
            _fill(images_gradient[part], filters, _matrices(passed, groups), window)


def _parts(
    like: Array, image_shape: Shape, output_shape: Shape, byte_cap: int | None, bytes_per_image: int = 1
) -> Iterator[slice]:
    """Slices of the batch whose images and outputs stay under the cap together; at the least one image."""
    values_per_image = (image_shape[1] + output_shape[1]) * output_shape[2] * output_shape[3]
    cap = column_byte_cap(like) if byte_cap is None else byte_cap
    return pieces(image_shape[0], max(1, cap // max(bytes_per_image, values_per_image * like.itemsize)))


def _seen(images: Array, window: Window) -> Array:
    """The pixels of images (N, C, H, W) that a 1x1 window stops at: (N, C, OH, OW)."""
    return images[:, :, :: window.stride[0], :: window.stride[1]]


def _matrices(images: Array, groups: int) -> Array:
    """Images (N, groups * C, H, W) as a stack of matrices (N, groups, C, H * W), in the same memory if contiguous."""
    batch, channels, height, width = images.shape
    return images.reshape(batch, groups, channels // groups, height * width)


def _fill(images_gradient: Array, filters: Array, gradient: Array, window: Window) -> None:
    """Put the products of filters and the gradient of the output where the window stopped, and 0 elsewhere."""
    if window.stride == (1, 1):
        product(filters, gradient, out=_matrices(images_gradient, len(filters)))
        return
    images_gradient[...] = 0
    seen = _seen(images_gradient, window)
    seen[...] = product(filters, gradient).reshape(seen.shape)
