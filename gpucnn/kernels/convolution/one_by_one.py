"""Convolution with 1x1 filters, which needs no columns: the images themselves are the matrices.

With stride 1 an image's channels (C, H * W) are the columns that im2col would make, and the product with the filters is
the output as layers want it; with a larger stride a slice of the image is. On a GPU that is one product of a batch.
"""

from collections.abc import Callable, Iterator

from gpucnn.backend import Array, xp_of
from gpucnn.geometry import Window
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.convolution.stacks import add_products, by_group
from gpucnn.kernels.gemm import matmul
from gpucnn.kernels.tiling import slices


def convolve(task: Convolution, images: Array, weight: Array, output: Array, byte_cap: int) -> Iterator[slice]:
    """`conv2d` without bias and ReLU, into `output`; yields each tile of the batch as soon as it is there.

    Images and outputs of a tile stay under `byte_cap` bytes together, unless it is a single image.
    """
    filters = weight.reshape(task.groups, len(weight) // task.groups, -1)
    for tile in _tiles(task, output, byte_cap):
        seen = _seen(images[tile], task.window)
        matmul(filters, _matrices(seen, task.groups), out=_matrices(output[tile], task.groups))
        yield tile


def find_gradients(
    task: Convolution,
    gradient: Array,
    images: Array | None,
    weight: Array,
    found: Gradients,
    byte_cap: int,
    as_rows: Callable[[Array], Array],
) -> None:
    """`conv2d_gradients`, from the gradient before ReLU.

    `as_rows` lays images (N, C, H, W) out as a stack of matrices (S, C, positions), as the device likes them.
    """
    filters, bias_gradient = weight.reshape(task.groups, len(weight) // task.groups, -1).swapaxes(1, 2), found.bias
    for tile in _tiles(task, gradient, byte_cap, weight.nbytes):
        passed = xp_of(gradient).ascontiguousarray(gradient[tile])
        if bias_gradient is not None:
            sums = channel_sums(_matrices(passed, 1)[:, 0], out=None if tile.start else bias_gradient)
            if tile.start:
                bias_gradient += sums
        if found.weight is not None and images is not None:
            rows, columns = as_rows(passed), as_rows(_seen(images[tile], task.window))
            total = found.weight.reshape(task.groups, len(weight) // task.groups, -1)
            columns = by_group(columns, task.groups).swapaxes(2, 3)
            add_products(by_group(rows, task.groups), columns, total, tile.start == 0)
        if found.images is not None:
            _fill(found.images[tile], filters, _matrices(passed, task.groups), task.window)


def _tiles(task: Convolution, output: Array, byte_cap: int, bytes_per_image: int = 1) -> Iterator[slice]:
    """Tiles of the batch that `output` is of, or its gradient."""
    _, channels, height, width = output.shape
    values_per_image = (task.image_shape[1] + channels) * height * width
    return slices(len(output), max(1, byte_cap // max(bytes_per_image, values_per_image * output.itemsize)))


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
        matmul(filters, gradient, out=_matrices(images_gradient, len(filters)))
        return
    images_gradient[...] = 0
    seen = _seen(images_gradient, window)
    seen[...] = matmul(filters, gradient).reshape(seen.shape)
